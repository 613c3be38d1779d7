"""Photographs: the crops, and the study in its smoke form."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from sklearn.datasets import load_sample_image

from stacked import data
from stacked.cost.phase_cost import phase_cost
from stacked.data.sources.images import photographs as module
from stacked.model.stack import AutoEncoder224, build
from stacked.spec import StackSpec
from stacked.spec.growth import Phase
from stacked.util.errors import InputError
from studies.applications.photographs import study as photographs
from studies.framework.main import main
from studies.statistics.measurement_rows import load
from tests.helpers.counted import training_bytes


def test_the_crops_are_of_the_photographs() -> None:
    splits = data.load("photographs", image_size=224)
    assert splits.input_shape == (3, 224, 224)
    assert not splits.classes
    count = len(module.TRAIN) * module.MOST_TRAIN
    assert 500 < len(splits.train) + len(splits.valid) <= count
    cat = skimage.data.chelsea().transpose(2, 0, 1)
    flower = load_sample_image("flower.jpg").transpose(2, 0, 1)
    assert np.array_equal(splits.test.inputs[0].numpy(), cat[:, :224, :224])
    assert np.array_equal(splits.test.inputs[-module.MOST_TEST].numpy(), flower[:, :224, :224])
    assert len(splits.test) == 3 * module.MOST_TEST


def test_sides_and_greys() -> None:
    grey = data.load("photographs", image_size=32, grey=True)
    assert grey.input_shape == (1, 32, 32)
    assert len(grey.train) + len(grey.valid) == len(module.TRAIN) * module.MOST_TRAIN
    with pytest.raises(InputError, match=r"image_size=301 is larger than chelsea\.png: choose at most 300"):
        data.load("photographs", image_size=301)


def test_no_two_crops_are_the_same_place() -> None:
    pixels = np.arange(100 * 140).reshape(1, 100, 140)
    crops = module._crops(pixels, 64, 5, "x")  # type: ignore[arg-type]
    assert crops.shape == (5, 1, 64, 64)
    corners = [(int(c[0, 0, 0]) // 140, int(c[0, 0, 0]) % 140) for c in crops]
    assert len(set(corners)) == 5
    assert all(y % module.STEP == 0 and x % module.STEP == 0 for y, x in corners)


def test_without_the_package_a_line_names_the_extra(monkeypatch: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'stacked\[photographs\]'"):
        data.load("photographs")


def test_it_is_the_reference_stack() -> None:
    with torch.device("meta"):
        mine = build(StackSpec.of("conv", *photographs.WIDTHS), (3, 224, 224))
        reference = AutoEncoder224()
    assert {name: t.shape for name, t in mine.state_dict().items()} == {
        name: t.shape for name, t in reference.state_dict().items()
    }


@pytest.mark.slow
def test_the_study_runs(tmp_path: Path) -> None:
    words = ["--smoke", "--updates", "4", "--limit", "40"]
    assert main(photographs.STUDY, [*words, "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]) == 0
    rows = load(tmp_path / "out")
    values = rows.set_index(["arm", "condition", "measure"])["value"]
    assert values["layer-wise", "5", "compression"] == 3 * 64 * 64 / (512 * 2 * 2)
    assert values["layer-wise", "", "whole_psnr"] == values["layer-wise", "5", "psnr"]
    phases = rows[(rows["arm"] == "layer-wise") & (rows["measure"] == "phase_mb")]["condition"]
    assert len(phases) == 6
    assert values["layer-wise", "stage 1", "phase_codes_mb"] == values["joint", "", "codes_mb"] == 0
    images, floats = len(data.load("photographs", limit=40, image_size=64).train), 32 * 32 * 32
    assert values["layer-wise", "stage 2", "phase_codes_mb"] == pytest.approx(4e-6 * images * floats)
    assert values["layer-wise", "", "codes_mb"] == values["layer-wise", "stage 2", "phase_codes_mb"]
    spec = photographs.base_spec(0, photographs.argparse.Namespace(updates=4))
    stack = build(spec.stack, (3, 64, 64)).to(memory_format=torch.channels_last)
    joint = Phase("joint", (1, 5), 0, 1)
    expected = training_bytes(stack, joint, spec.optimisation, photographs.BATCH) / 1e6
    counted = phase_cost(spec, (3, 64, 64), joint, images).peak_bytes / 1e6
    assert values["joint", "joint", "phase_mb"] == pytest.approx(counted, rel=1e-6)
    # on real tensors a CPU's loss kernel makes a map of losses besides
    assert 0.995 * expected < counted <= expected
    assert values["joint", "", "gflop"] < 1.01 * values["layer-wise", "", "gflop"]
    assert values["joint", "", "gflop"] > 0.5 * values["layer-wise", "", "gflop"]
    names = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert names == {"images.png", "depths.png", "costs.png"}
    assert "the PSNR of restored test images is" in (tmp_path / "out" / "README.md").read_text()
