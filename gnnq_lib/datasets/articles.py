"""A realistic folder to start from: a company's articles with their words, links and topics, generated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from gnnq_lib.errors import InputError
from gnnq_lib.files import atomic_write

TOPICS = ("billing", "hardware", "network", "privacy", "returns", "software")
_WORDS_PER_ARTICLE = 16
_OWN_WORDS, _LIKING = 0.08, 4.0  # a topic likes 8 % of the words, four times as much as others do
_INSIDE = 0.7  # share of links that stay in their topic
_LABELLED = 0.9


def write_article_folder(path: Path | str, num_articles: int = 2400, num_words: int = 600, seed: int = 0) -> Path:
    """Write edges.csv, features.csv and labels.csv (see `folder`) of generated articles.

    Few words are frequent and many are rare, each topic has words that it uses more than others, some articles are
    linked to far more often than others, three links in ten leave their topic, and one label in ten is missing.

    Args:
        path: folder to write into; made if missing.
        num_articles: from 50.
        num_words: from 10.
        seed: of everything.

    Raises:
        InputError: sizes below these.

    Example:
        >>> import tempfile
        >>> sorted(f.name for f in write_article_folder(tempfile.mkdtemp(), 60, 20).iterdir())
        ['edges.csv', 'features.csv', 'labels.csv']
    """
    if num_articles < 50 or num_words < 10:
        raise InputError(
            f"{num_articles} articles of {num_words} words were asked for; 50 articles and 10 words or more are "
            "accepted."
        )
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, len(TOPICS), num_articles)
    words = _words(rng, topic, num_words)
    labels = np.where(rng.random(num_articles) < _LABELLED, np.array(TOPICS)[topic], "")
    tables = {
        "edges": pd.DataFrame(_links(rng, topic), columns=["source", "target"]),
        "features": pd.DataFrame(words, columns=[f"word{i}" for i in range(num_words)]),
        "labels": pd.DataFrame({"label": labels}),
    }
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        atomic_write(folder / f"{name}.csv", table.to_csv(index=False))
    return folder


def _words(rng: np.random.Generator, topic: np.ndarray, num_words: int) -> np.ndarray:
    """How often each word occurs in each article, (articles, words)."""
    frequency = 1 / np.arange(1, num_words + 1)  # Zipf's law
    words = np.zeros((len(topic), num_words), dtype=np.int64)
    for number in range(len(TOPICS)):
        chance = frequency * np.where(rng.random(num_words) < _OWN_WORDS, _LIKING, 1.0)
        members = np.flatnonzero(topic == number)
        words[members] = rng.multinomial(_WORDS_PER_ARTICLE, chance / chance.sum(), size=len(members))
    return words


def _links(rng: np.random.Generator, topic: np.ndarray) -> list[tuple[int, int]]:
    """One to five links per article, more to famous ones."""
    fame = rng.pareto(1.5, len(topic)) + 1
    pull = _INSIDE / (1 - _INSIDE) * (len(TOPICS) - 1)
    links = []
    for article in range(len(topic)):
        chance = fame * np.where(topic == topic[article], pull, 1.0)
        chance[article] = 0
        targets = rng.choice(len(topic), size=rng.integers(1, 6), replace=False, p=chance / chance.sum())
        links += [(article, int(target)) for target in targets]
    return links
