"""The generated article folder loads and is what its text says."""

from __future__ import annotations

from gnnq_lib.datasets import load_folder
from gnnq_lib.datasets.articles import TOPICS, write_article_folder


def test_it_loads_with_all_topics_and_some_missing_labels(tmp_path):
    graph = load_folder(write_article_folder(tmp_path / "articles", 400, 50))
    assert (graph.num_nodes, graph.num_features, graph.num_classes) == (400, 50, len(TOPICS))
    assert 0.05 < float((graph.labels < 0).float().mean()) < 0.15


def test_links_prefer_their_topic(tmp_path):
    graph = load_folder(write_article_folder(tmp_path / "articles", 1000, 50))
    ends = graph.labels[graph.edge_index]
    known = (ends >= 0).all(dim=0)
    alike = float((ends[0] == ends[1])[known].float().mean())
    assert 0.6 < alike < 0.8


def test_every_article_has_its_words(tmp_path):
    graph = load_folder(write_article_folder(tmp_path / "articles", 60, 20))
    assert set(graph.features.to_dense().sum(1).tolist()) == {16.0}


def test_same_seed_same_files(tmp_path):
    first, second = (write_article_folder(tmp_path / name, 60, 20, seed=3) for name in "ab")
    assert all((first / f.name).read_bytes() == f.read_bytes() for f in second.iterdir())
    other = write_article_folder(tmp_path / "c", 60, 20, seed=4)
    assert (other / "edges.csv").read_bytes() != (first / "edges.csv").read_bytes()


def test_too_small(tmp_path, refuses):
    with refuses("49 articles of 600 words"):
        write_article_folder(tmp_path, 49)
