"""Options that would change nothing are refused, and what changed nothing is not shown in MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacked.spec import DataSpec, RunSpec
from studies.applications.anomaly.study import STUDY as ANOMALY
from studies.applications.denoising.study import STUDY as DENOISING
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from studies.record.parameters import parameters


@pytest.mark.parametrize(
    ("study", "words", "says"),
    [
        (STUDY, ["--image-size", "64"], "--image-size has no effect on 'mnist', because only image files are"),
        (STUDY, ["--data", "csv:a.csv", "--image-size=64"], "--image-size has no effect on 'csv:a.csv'"),
        (STUDY, ["--smoke", "--image-size", "64"], "--image-size has no effect on 'digits'"),
        (ANOMALY, ["--image-size", "64"], "--image-size has no effect on 'mnist'"),
        (STUDY, ["--host", "0.0.0.0"], "--host has no effect without --ui, which starts the server: leave it out"),
        (STUDY, ["--port", "5001"], "--port has no effect without --ui"),
    ],
)
def test_an_option_without_effect_is_refused(
    study: object,
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(study, words) == 2  # type: ignore[arg-type]
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_option_with_an_effect_is_taken() -> None:
    for data in ("folder:photos", "photographs", "tar:shards", "rect-img:photos"):
        assert STUDY.given(["--data", data, "--image-size", "64"]).base.data.image_size == 64
    assert STUDY.given(["--ui", "--host", "0.0.0.0", "--port", "5001"]).port == 5001
    DENOISING.session(["--noisy", "folder:photos", "--image-size", "64"]).close()


def test_an_image_size_is_shown_only_where_images_are_cropped_to_it() -> None:
    assert parameters(RunSpec(data=DataSpec("folder:photos", image_size=64)))["data.image_size"] == 64
    shown = parameters(RunSpec(data=DataSpec("mnist")))
    assert "data.image_size" not in shown
    assert shown["data.name"] == "mnist"
