"""The study of capacity: what it measures of stacks whose copying is known."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pytest
import torch

from stacked import data
from stacked.stack import build
from studies import capacity
from studies.report.capacity import answer
from studies.report.uses import load
from studies.uses.study import Setting, main


class Known(torch.nn.Module):
    """Restores by the function `of`."""

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        return self.of(x)


def test_fvu_of_a_copy_is_zero_and_of_the_mean_one() -> None:
    images = data.load("digits").test.images.float().div(255)

    known = Known()
    known.of = lambda x: x
    assert capacity.fvu(known, images, images) == 0
    known.of = lambda x: images.mean(0).expand_as(x)
    assert capacity.fvu(known, images, images) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("cure", capacity.CURES)
def test_arms_differ_in_their_cure_alone(cure: str) -> None:
    spec, plain = capacity.spec_of(cure, 20, 3, 50), capacity.spec_of("plain", 20, 3, 50)
    assert spec.stack == plain.stack
    assert spec.budget == plain.budget
    assert (spec.optimisation == plain.optimisation) == (cure == "plain")
    build(spec.stack, (1, 8, 8))


def row(arm: str, width: int, measure: str, value: float) -> dict[str, object]:
    return {"method": arm, "seed": 0, "arm": arm, "condition": str(width), "measure": measure, "value": value}


def test_the_answer_names_where_copying_begins() -> None:
    rows = [row("plain", w, "copied", v) for w, v in ((4, 0.1), (64, 0.2), (256, 0.5))]
    rows += [row("masking", w, "copied", 0.125) for w in (4, 64, 256)]
    rows += [row("plain", w, "denoised_fvu", v) for w, v in ((4, 0.5), (64, 0.25), (256, 0.375))]
    rows += [row("masking", w, "denoised_fvu", v) for w, v in ((4, 0.5), (64, 0.25), (256, 0.125))]
    told = answer(pd.DataFrame(rows))
    assert "plain up to a width of 64 (FVU 0.250; 0.375 at 256, where 50% of the noise is copied)" in told
    assert "masking up to a width of 256 (FVU 0.125; 0.125 at 256" in told


def test_the_noise_that_is_copied_is_the_trace_of_a_linear_autoencoder() -> None:
    """By Hutchinson's estimate, of a projection on 16 of 64 values; and all of it by what copies, nothing by a constant."""
    images = data.load("digits").test.images.float().div(255)
    noisy = images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(torch.randn(64, 16, generator=torch.Generator().manual_seed(1)))[0]

    known = Known()
    known.of = lambda x: (x.flatten(1) @ basis @ basis.T).view_as(x) + 0.3
    assert capacity.copied(known, noisy, images) == pytest.approx(16 / 64, abs=0.02)
    known.of = lambda x: x
    assert capacity.copied(known, noisy, images) == pytest.approx(1, rel=1e-6)
    known.of = lambda x: images
    assert capacity.copied(known, noisy, images) == 0


def test_the_study_runs(tmp_path: Path) -> None:
    words = ["--smoke", "--updates", "3", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(capacity.USE, words) == 0
    rows = load(tmp_path / "out")
    table = rows.pivot_table(index=["arm", "condition"], columns="measure", values="value")
    assert len(table.drop("", level="condition")) == len(capacity.CURES) * 3
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {"widths.png", "filters.png"}
    assert "Wider codes restore noisy images the better" in (tmp_path / "out" / "README.md").read_text()


def test_widths_are_taken_once_and_in_order() -> None:
    setting = Setting(data.load("digits"), argparse.Namespace(widths=[16, 1, 16]), Path())
    assert capacity.widths(setting) == [1, 16]


def test_bad_widths_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--smoke", "--widths", "4", "0", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(capacity.USE, words) == 2
    assert "widths 0 is not allowed" in capsys.readouterr().err
