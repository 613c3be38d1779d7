"""Marks every test of this folder as one of robustness, which `pytest` leaves out unless `-m` asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark those of this folder: pytest gives all that were collected."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.robustness)
