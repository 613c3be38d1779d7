"""Detectors and denoisers of vectors, signals, images, volumes and tables in their own units; a codec stores images of bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from stacked import Budget, Codec, Denoiser, Detector, InputError, Optimisation, RunSpec, StackSpec
from stacked.apps import anomaly, denoise
from stacked.runtime.rng import generator

N = 60
RANDOM = np.random.default_rng(0)
#: rows on a line in 6 dimensions, in units of thousands
VECTORS = (1000 * (RANDOM.normal(size=(200, 1)) * np.arange(1, 7) + 0.1 * RANDOM.normal(size=(200, 6)))) + 5000
HOW = {"budget": Budget(3, 3, "updates"), "optimisation": Optimisation(batch_size=16)}
CONV = RunSpec(stack=StackSpec.of("conv", 3, 4, output="linear"), **HOW)  # type: ignore[arg-type]
DENSE = RunSpec(stack=StackSpec.of("dense", 5, 3, output="linear"), **HOW)  # type: ignore[arg-type]
FRAME = pd.DataFrame(
    {"age": RANDOM.normal(40, 9, N), "kind": RANDOM.choice(["a", "b"], N), "old": RANDOM.random(N) > 0.5}
)
KINDS: dict[str, tuple[Any, RunSpec]] = {
    "vectors": (VECTORS[:N], DENSE),
    "integers": (VECTORS[:N].astype(int), DENSE),
    "signals": (RANDOM.normal(3, 9, (N, 2, 8)), CONV),
    "images": (torch.rand(N, 1, 8, 8) * 300, CONV),
    "volumes": (RANDOM.normal(size=(N, 1, 4, 4, 4)), CONV),
    "table": (FRAME, DENSE),
    "signals of bytes": (RANDOM.integers(0, 256, (N, 2, 4)).astype(np.uint8), CONV),
}


@pytest.mark.parametrize("kind", KINDS)
def test_detectors_of_data_of_any_kind_are_kept_in_a_file(kind: str, tmp_path: Path) -> None:
    values, spec = KINDS[kind]
    detector = Detector(spec, false_alarms=0.2).fit(values)
    found = detector.score(values)
    assert found.shape == (N,)
    assert np.isfinite(found).all()
    detector.save(tmp_path / "detector.safetensors")
    again = Detector.load(tmp_path / "detector.safetensors")
    assert np.array_equal(again.score(values), found)
    assert np.array_equal(again.heat_map(values), detector.heat_map(values))
    assert again.stack is not None
    assert detector.stack is not None
    assert again.stack.scaling == detector.stack.scaling


@pytest.mark.parametrize("kind", KINDS)
def test_denoisers_of_data_of_any_kind_are_kept_in_a_file(kind: str, tmp_path: Path) -> None:
    values, spec = KINDS[kind]
    denoiser = Denoiser(spec, level=0.1).fit(values)
    found = denoiser.denoise(values)
    assert len(found) == N
    denoiser.save(tmp_path / "denoiser.safetensors")
    assert torch.equal(Denoiser.load(tmp_path / "denoiser.safetensors").denoise(values), found)


def test_a_detector_finds_rows_off_the_line_whatever_their_units() -> None:
    detector = Detector(false_alarms=0.05, held_out=0.4).fit(VECTORS)
    assert detector.spec.stack == anomaly.default_spec((6,), "linear").stack
    new = 1000 * RANDOM.normal(size=(50, 1)) * np.arange(1, 7) + 5000
    off = new.copy()
    off[:, 2] = -off[:, 2]
    assert detector.predict(off).mean() > 0.8
    assert detector.predict(new).mean() < 0.3


def test_the_scaling_is_fitted_to_the_rows_that_are_trained_on() -> None:
    detector = Detector(DENSE, false_alarms=0.2).fit(VECTORS[:N])
    order = torch.randperm(N, generator=generator(DENSE.seed, "calibration")).numpy()
    assert detector.stack is not None
    assert detector.stack.scaling is not None
    np.testing.assert_allclose(detector.stack.scaling.offset, VECTORS[order[12:]].mean(0))


def test_a_denoiser_restores_in_the_units_of_the_data() -> None:
    denoiser = Denoiser(level=0.3).fit(VECTORS)
    assert denoiser.spec.stack == denoise.default_spec((6,), "linear").stack
    noisy = VECTORS + 0.3 * VECTORS.std(0) * RANDOM.normal(size=VECTORS.shape)
    restored = denoiser.denoise(noisy).numpy()
    assert ((restored - VECTORS) ** 2).mean() < 0.5 * ((noisy - VECTORS) ** 2).mean()


def test_missing_values_of_a_table_are_filled_in_by_choice() -> None:
    frame = FRAME.assign(age=FRAME.age.mask(FRAME.index % 9 == 0))
    with pytest.raises(InputError, match="the data has missing values, 7 in column 'age'"):
        Detector(DENSE, false_alarms=0.2).fit(frame)
    assert np.isfinite(Detector(DENSE, false_alarms=0.2).fit(frame, missing="median").score(frame)).all()
    assert Denoiser(DENSE).fit(frame, missing="mean").denoise(frame).isfinite().all()


BAD: dict[str, tuple[Any, str]] = {
    "nan": (np.full((N, 3), np.nan), "180 values that are not finite"),
    "constant": (np.ones((2 * N, 3)), "the same value in all"),
    "text": (np.array([["a"]] * N), "holds text"),
    "a list": ([1, 2], "in a list cannot be read"),
    "one axis": (np.ones(N), "single column is"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("use", [Detector, Denoiser])
def test_bad_data_are_refused_in_one_line(case: str, use: Any) -> None:
    values, expected = BAD[case]
    with pytest.raises(InputError, match=expected):
        use(DENSE).fit(values)


def test_other_data_than_those_of_the_training_are_refused() -> None:
    detector = Detector(DENSE, false_alarms=0.2).fit(FRAME)
    with pytest.raises(InputError, match="the table has no column 'age'"):
        detector.score(FRAME.drop(columns="age"))
    with pytest.raises(InputError, match=r"shape \[3\] cannot be scored: give numbers of \[5\]"):
        detector.score(VECTORS[:, :3])
    with pytest.raises(InputError, match="missing 'mean' is for tables"):
        Detector(DENSE).fit(VECTORS, missing="mean")
    with pytest.raises(InputError, match=r"scale 'minmax' is for floats, and the data are bytes"):
        Denoiser(CONV).fit(KINDS["signals of bytes"][0], scale="minmax")


@pytest.mark.parametrize(
    ("values", "kind"), [(np.zeros((9, 1, 8, 8)), "float64"), (FRAME, "a table")], ids=["floats", "table"]
)
def test_a_codec_stores_images_of_bytes(values: Any, kind: str) -> None:
    with pytest.raises(InputError, match=f"a codec stores images of bytes, and these are {kind}: give uint8"):
        Codec.fit(values)
