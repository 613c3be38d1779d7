"""Marks every test of this folder as one of robustness, which `pytest` leaves out unless `-m` asks for them; a record."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark those of this folder: pytest gives all that were collected."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.robustness)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of four runs, one of which failed."""
    from tests.helpers.damaged_tables import make_record

    out = tmp_path_factory.mktemp("made")
    make_record(out)
    return out


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a record that the tests of a module damage."""
    return tmp_path_factory.mktemp("out")
