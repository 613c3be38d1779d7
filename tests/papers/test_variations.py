"""The command that generates the variations of MNIST and draws examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stacked.data.formats.draws import Draws
from stacked.data.formats.generated import digest
from stacked.data.sources.generated import rect
from studies.papers import variations
from tests.helpers.splits import toy_splits


def test_the_command_generates_the_sets_and_draws_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(variations, "NAMES", ("rect",))
    monkeypatch.setattr(rect.Rect, "sizes", (20, 6, 12))
    monkeypatch.setattr(rect.Rect, "sha256", digest(*rect.rectangles(38, Draws(rect.Rect.seed))))
    figure = tmp_path / "figures" / "samples.png"
    assert variations.main(["--data-dir", str(tmp_path), "--out", str(figure)]) == 0
    assert "rect: 20, 6, 12 images for training, validation and testing" in capsys.readouterr().out
    assert (tmp_path / "generated" / "rect.npz").exists()
    assert figure.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "generated" / "rect.npz").write_bytes(b"")
    assert variations.main(["--data-dir", str(tmp_path), "--out", str(figure)]) == 2
    assert "delete it, and it is generated again" in capsys.readouterr().err


def test_the_class_of_each_image_is_above_it_if_it_has_one() -> None:
    toy = toy_splits(16)
    train = replace(toy.train, labels=toy.train.labels * 0 - 1)
    figure = variations.draw({"named": toy, "unnamed": replace(toy, train=train, classes=())})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["named", "unnamed"]
    named, unnamed = ([text.get_text() for text in axes.texts] for axes in figure.axes)
    assert (named, unnamed) == (["nw", "ne", "sw", "se"] * 4, [])
    width = toy.train.inputs.shape[-1]
    places = [text.xy[0] for text in figure.axes[0].texts]  # type: ignore[attr-defined]
    assert places == [k * (width + variations.GAP) + (width - 1) / 2 for k in range(16)]
