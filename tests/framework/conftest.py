"""A smoke run of the main job, which several modules read."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest

from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from tests.helpers.layerwise import Smoke


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    """A finished smoke run in this process; test_workers has runs in others."""
    folder, stdout, stderr = tmp_path_factory.mktemp("smoke"), io.StringIO(), io.StringIO()
    words = ["--smoke", "--jobs", "1", "--out", str(folder / "out"), "--store", str(folder / "store")]
    with redirect_stdout(stdout), redirect_stderr(stderr):
        code = main(STUDY, words)
    assert code == 0, stderr.getvalue()
    return Smoke(folder / "out", folder / "store", stdout.getvalue(), stderr.getvalue())
