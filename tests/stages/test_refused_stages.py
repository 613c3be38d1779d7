"""Stages that cannot be made are refused in one sentence."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stacked.stages import kinds
from stacked.util.errors import InputError
from tests.helpers.stages import MAPS, every_kind, make


@every_kind
def test_bad_width_and_activation_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match=r"width of a .* 0 is not allowed"):
        make(kind, width=0)
    with pytest.raises(InputError, match="'swish' is not known: choose from relu"):
        make(kind, activation="swish")


@pytest.mark.parametrize("kind", sorted(MAPS))
@pytest.mark.parametrize("shape", [(10,), (3, 1, 4), (3, 4, 1), (3, 1), (2, 4, 1, 4), (2, 4, 4, 4, 4)])
def test_vectors_and_maps_too_small_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    if len(shape) == 1 and 0 in kinds()[kind].ranks:  # it reads vectors
        assert make(kind, shape).in_shape == shape
        return
    images = len(shape) == 3 or kinds()[kind].ranks == (2,)
    least = (
        "height x width of at least 2 x 2 pixels"
        if images
        else "1 or 2 or 3 spatial dimensions of at least 2 values each"
    )
    fits = len(shape) - 1 in kinds()[kind].ranks
    instead = "fewer stages or larger images" if fits else "dense stages for these examples"
    with pytest.raises(
        InputError, match=f"a {kind} stage cannot read .*: it needs (a vector, or )?channels .*{least}; use {instead}$"
    ):
        make(kind, shape)
    assert math.prod(make(kind, (3, 2, 2)).code_shape) == 8


def test_signals_and_volumes_are_refused_by_stages_of_images() -> None:
    for shape in ((3, 8), (3, 8, 8, 8)):
        with pytest.raises(InputError, match=r"a residual stage cannot read .*: it needs channels x height x width"):
            make("residual", shape)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("conv", {"kernel": 4}, "kernel 4 of a conv stage is not allowed: give an odd integer of at least 3"),
        ("conv-pool", {"kernel": 1}, "kernel 1 of a conv-pool stage is not allowed: give an odd integer of at least 3"),
        ("conv", {"kernel": 3.0}, "kernel 3.0 of a conv stage is not allowed"),
        ("conv", {"stride": 3}, "stride 3 of a conv stage is not allowed: give 1 or 2"),
        ("conv", {"stride": 0}, "stride 0 of a conv stage is not allowed: give 1 or 2"),
        ("conv-pool", {"unpool": "max"}, "unpool of a .* 'max' is not known: choose from nearest, zeros, switches"),
        ("residual", {"blocks": 0}, "blocks of a residual stage 0 is not allowed: give an integer of at least 1"),
        ("transformer", {"patch": 0}, "patch of a transformer stage 0 is not allowed: give an integer of at least 1"),
        ("transformer", {"patch": 4}, "patch 4 does not divide 30 x 28: choose from 1, 2"),
        (
            "transformer",
            {"heads": 3},
            "width 8 of a transformer stage with 3 heads is not allowed: give a multiple of 12",
        ),
        ("transformer", {"width": 6, "heads": 2}, "width 6 of a .* with 2 heads is not allowed: give a multiple of 4"),
        ("transformer", {"width": 4, "shape": (1, 2, 2, 2)}, "width 4 of a .* has too few features for places along 3"),
        ("transformer", {"norm": "batch"}, "norm of a transformer stage 'batch' is not known: choose from layer"),
        ("transformer", {"norm": "none"}, "norm of a transformer stage 'none' is not known: choose from layer"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        make(kind, **{"shape": (3, 30, 28), **options})
    assert "\n" not in str(refused.value)
