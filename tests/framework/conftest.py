"""A smoke run of the main job, which several modules read."""

from __future__ import annotations

import pytest

from tests.helpers.layerwise import Smoke, layerwise


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    """A finished smoke run."""
    folder = tmp_path_factory.mktemp("smoke")
    done = layerwise("--smoke", "--out", str(folder / "out"), "--store", str(folder / "store"))
    assert done.returncode == 0, done.stderr
    return Smoke(folder / "out", folder / "store", done)
