"""Fixtures for every test: the shared images, unpacked once for all processes of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.corpus import Corpus

# The same examples in every run, and as much time as a busy machine needs.
settings.register_profile("luksmeta", deadline=None, derandomize=True)
settings.load_profile("luksmeta")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """``corpus("made/l2-priority")`` gives the unpacked image; ``corpus.copy`` one to change."""
    return Corpus(_shared_by_workers(tmp_path_factory) / "corpus")


def _shared_by_workers(factory: pytest.TempPathFactory) -> Path:
    """The run's own temporary directory: with xdist each worker's lies inside it."""
    base = factory.getbasetemp()
    return base.parent if base.name.startswith("popen-gw") else base
