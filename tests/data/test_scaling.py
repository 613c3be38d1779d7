"""Scaling: the numbers of scikit-learn's scalers, back to the units of the data, and what cannot be scaled."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from stacked import InputError
from stacked.data.scaling import Scaling
from stacked.util.serialization import from_dict, parsed, to_json

ROWS = np.random.default_rng(0).normal(1e6, [1.0, 50.0, 1e-3], (40, 3))


@pytest.mark.parametrize(("kind", "scaler"), [("standard", StandardScaler()), ("minmax", MinMaxScaler())])
def test_it_is_that_of_scikit_learn(kind: str, scaler: StandardScaler | MinMaxScaler) -> None:
    """Also far from zero, where float32 has no digits left."""
    scaling = Scaling.fit(kind, ROWS)
    found = scaling.scaled(torch.from_numpy(ROWS))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), scaler.fit_transform(ROWS), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scaling.in_units(found).numpy(), ROWS, rtol=1e-9)


def test_channels_of_maps_are_scaled_alike_at_all_positions() -> None:
    maps = np.random.default_rng(0).normal([[[5.0]], [[-7.0]]], 3.0, (20, 2, 4, 6))
    scaling = Scaling.fit("standard", maps)
    assert scaling.offset == pytest.approx(maps.mean((0, 2, 3)))
    assert scaling.factor == pytest.approx(maps.std((0, 2, 3)))
    found = scaling.scaled(torch.from_numpy(maps)).double()
    assert found.mean((0, 2, 3)).abs().max() < 1e-6
    differences = scaling.difference_in_units(found - found.flip(0)).numpy()
    np.testing.assert_allclose(differences, maps - maps[::-1], atol=1e-5)


def test_values_that_are_not_scaled_stay_as_they_are() -> None:
    rows = torch.from_numpy(ROWS).float()
    scaling = Scaling.fit("none", ROWS)
    assert scaling == Scaling()
    assert torch.equal(scaling.scaled(rows), rows)
    assert torch.equal(scaling.in_units(rows), rows.double())


def test_it_is_a_plain_value() -> None:
    scaling = Scaling.fit("standard", ROWS)
    assert from_dict(Scaling, parsed(to_json(scaling))) == scaling


@pytest.mark.parametrize(
    ("kind", "rows", "names", "says"),
    [
        (
            "standard",
            [[1, 2, 3], [1, 5, 3]],
            ("age", "sex", "weight"),
            "columns 'age', 'weight' have the same value in all 2",
        ),
        (
            "minmax",
            [[1, 2], [1, 5]],
            (),
            "column 0 has the same value in all 2 training rows, which cannot be scaled and",
        ),
        ("standard", [[[1, 2]], [[1, 2]]], (), None),
        ("standard", [[[1, 1]], [[1, 1]]], (), "channel 0 has the same value in all 2 training rows"),
        ("standard", [[1e200], [-1e300]], (), "column 0 has values too large or too close to each other to be scaled"),
        ("minmax", [[1.5e308], [-1.5e308]], (), "column 0 has values too large"),
        ("robust", [[1], [2]], (), "scale 'robust' is not known: choose from standard, minmax, none"),
    ],
)
def test_what_cannot_be_scaled_is_said(kind: str, rows: list[object], names: tuple[str, ...], says: str | None) -> None:
    if says is None:
        Scaling.fit(kind, np.array(rows, dtype=float), names)
        return
    with pytest.raises(InputError, match=says):
        Scaling.fit(kind, np.array(rows, dtype=float), names)


@pytest.mark.parametrize(
    ("kind", "offset", "factor", "says"),
    [
        ("standard", (0.0,), (0.0,), "not all finite, with factors above 0"),
        ("standard", (0.0,), (-1.0,), "not all finite, with factors above 0"),
        ("standard", (math.nan,), (1.0,), "not all finite"),
        ("standard", (0.0,), (math.inf,), "not all finite"),
        ("standard", (0.0,), (1.0, 1.0), "1 offsets and 2 factors do not fit"),
        ("standard", (), (), "0 offsets and 0 factors do not fit scale 'standard'"),
        ("none", (0.0,), (1.0,), "1 offsets and 1 factors do not fit scale 'none'"),
    ],
)
def test_impossible_scalings_are_refused(
    kind: str, offset: tuple[float, ...], factor: tuple[float, ...], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        Scaling(kind, offset, factor)


def test_a_scaling_of_other_columns_is_refused() -> None:
    with pytest.raises(InputError, match=r"of 3 columns or channels does not fit examples of shape \[2, 5\]"):
        Scaling.fit("standard", ROWS).check((2, 5))
