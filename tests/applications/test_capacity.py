"""The study of capacity: what it measures of stacks whose copying is known."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from stacked import data
from stacked.evaluation.evaluate import spread
from stacked.model.stack import build
from studies.applications.capacity import study as capacity
from studies.applications.capacity.figures import answer
from studies.design.measurements import Context
from studies.framework.main import main
from studies.statistics.measurement_rows import load


def test_fvu_of_a_copy_is_zero_and_of_the_mean_one() -> None:
    images = data.load("digits").test.inputs.float().div(255)
    assert capacity.fvu(images, images) == 0
    assert capacity.fvu(images.mean(0).expand_as(images), images) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("regulariser", capacity.REGULARISERS)
def test_arms_differ_only_in_their_regulariser(regulariser: str) -> None:
    spec, plain = capacity.spec_of(regulariser, 20, 3, 50), capacity.spec_of("plain", 20, 3, 50)
    assert spec.stack == plain.stack
    assert spec.budget == plain.budget
    assert (spec.optimisation == plain.optimisation) == (regulariser == "plain")
    build(spec.stack, (1, 8, 8))


def row(arm: str, condition: str, measure: str, value: float) -> dict[str, object]:
    return {"method": arm, "seed": 0, "arm": arm, "condition": condition, "measure": measure, "value": value}


def test_the_answer_names_the_best_width_and_what_is_copied() -> None:
    rows = [row("plain", str(w), "denoised_fvu", v) for w, v in ((4, 0.5), (64, 0.25), (256, 0.375))]
    rows += [row("masking", str(w), "denoised_fvu", v) for w, v in ((4, 0.5), (64, 0.25), (256, 0.125))]
    for arm, values in {"plain": (0.3, 0.5), "masking": (0.2, 0.125)}.items():
        rows += [row(arm, "", f"wide_{name}", v) for name, v in zip(capacity.WIDE, values, strict=True)]
    told = answer(pd.DataFrame(rows))
    assert "plain: 64 units (FVU 0.250; with as many units as pixels, FVU 0.300 and 50 % of the noise copied)" in told
    rows += [row("PCA", "64", "denoised_fvu", 0.5)]
    assert answer(pd.DataFrame(rows)).endswith("; PCA: 64 units (FVU 0.500).")
    assert (
        "masking: 256 units (FVU 0.125; with as many units as pixels, FVU 0.200 and 12 % of the noise copied)" in told
    )


def test_the_noise_that_is_copied_is_the_trace_of_a_linear_autoencoder() -> None:
    """By Hutchinson's estimate, of a projection on 16 of 64 values; and all of it by what copies, nothing by a constant."""
    noise = 0.1 * torch.randn((2000, 64), generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(torch.randn(64, 16, generator=torch.Generator().manual_seed(1)))[0]
    assert capacity.copied(noise @ basis @ basis.T, noise) == pytest.approx(16 / 64, abs=0.01)
    assert capacity.copied(noise, noise) == 1
    assert capacity.copied(0 * noise, noise) == 0


def test_no_noise_falls_where_training_images_do_not_vary() -> None:
    images = torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    training = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    training[1, 0, 1:3, 1] = 9
    noise = capacity.varied_noise(images, training, 0) - images
    varied = torch.zeros(1, 4, 4, dtype=torch.bool)
    varied[0, 1:3, 1] = True
    assert (noise[:, ~varied] == 0).all()
    assert noise[:, varied].std() == pytest.approx(capacity.NOISE, rel=0.2)
    assert not torch.equal(capacity.varied_noise(images, training, 1), capacity.varied_noise(images, training, 0))


@pytest.mark.slow
def test_the_study_runs(tmp_path: Path) -> None:
    words = ["--smoke", "--updates", "3", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(capacity.STUDY, words) == 0
    rows = load(tmp_path / "out")
    table = rows.pivot_table(index=["arm", "condition"], columns="measure", values="value")
    widths = table.drop("", level="condition")
    assert len(widths) == len(capacity.REGULARISERS) * 4 + 3  # there are no 80 components of 64 pixels
    assert set(widths.loc["PCA"].index) == {"1", "16", "64"}
    for arm in capacity.STUDY.arms:
        assert table["wide_copied"][arm, ""] == table["copied"][arm, "64"]
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {"widths.png", "filters.png"}
    assert (
        "the lowest FVU (fraction of variance unexplained) of noisy images"
        in (tmp_path / "out" / "README.md").read_text()
    )


def test_principal_components_restore_and_copy_as_they_must() -> None:
    splits = data.load("digits", limit=300)
    found = list(capacity.components(Context(splits, argparse.Namespace(widths=[2, 16, 64, 65]), Path()), 0))
    values = {(one.condition, one.measure): one.value for one in found}
    images = splits.train.inputs.flatten(1).double() / 255
    spectrum = torch.linalg.svdvals(images - images.mean(0)).square()
    for width in (2, 16):
        assert values[str(width), "train_fvu"] == pytest.approx(
            float(spectrum[width:].sum() / spectrum.sum()), rel=1e-3
        )
    assert values["64", "train_fvu"] < 1e-9
    test = splits.test.inputs[spread(len(splits.test), capacity.IMAGES)].float() / 255
    noise = capacity.varied_noise(test, splits.train.inputs, 0) - test
    left = noise.square().sum() / (test - test.mean(0)).square().sum()  # a copy leaves the noise
    assert values["64", "denoised_fvu"] == pytest.approx(float(left), rel=1e-4)
    assert values["64", "copied"] == values["", "wide_copied"] == pytest.approx(1, abs=1e-5)
    assert values["2", "copied"] < values["16", "copied"] < 0.5
    assert ("65", "copied") not in values
    assert 20 < values["2", "probe"] < values["16", "probe"]


def test_widths_are_taken_once_and_in_order() -> None:
    context = Context(data.load("digits"), argparse.Namespace(widths=[16, 1, 16]), Path())
    assert capacity.widths(context) == [1, 16]


def test_bad_widths_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--smoke", "--widths", "4", "0", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(capacity.STUDY, words) == 2
    assert "widths 0 is not allowed" in capsys.readouterr().err


def test_the_limit_by_default_is_lowered_to_the_number_of_images_and_a_typed_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--data",
        "digits",
        "--methods",
        "plain",
        "--widths",
        "2",
        "--updates",
        "2",
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    words += ["--store", str(tmp_path / "store")]
    assert main(capacity.STUDY, [*words, "--limit", "10000"]) == 2
    assert "limit=10000 does not fit 1372 training images" in capsys.readouterr().err
    assert main(capacity.STUDY, words) == 0
    told = capsys.readouterr().err
    assert "all 1,372 training images are used, fewer than the 10,000 that this study takes by default" in told
    assert json.loads((tmp_path / "out" / "configuration.json").read_text())["limit"] == 1372
    assert "1,372 training images" in (tmp_path / "out" / "README.md").read_text()
    assert main(capacity.STUDY, [*words, "--limit", "1372"]) == 0  # the same configuration
