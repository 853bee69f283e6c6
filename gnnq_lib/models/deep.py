"""Baselines for depth (full precision). Written by the deep-baselines helper."""

DEEP_MODELS = ()


def make_deep_model(*a):
    raise NotImplementedError
