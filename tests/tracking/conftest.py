"""A store that the tests of a module share, each in experiments of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacked.tracking.tracker import Store, open_store


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the store."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def store(database: Path) -> Store:
    return open_store(database)
