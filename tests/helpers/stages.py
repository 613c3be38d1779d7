"""Stages of every kind, known ones in all their variants, and a short training of one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from stacked.stages import Stage, kinds
from stacked.util.errors import InputError

KINDS = sorted(kinds())
MAPS = {"conv", "conv-pool", "residual", "transformer"}
ANY_SIZE = {"dense", "conv", "conv-pool", "residual"}
SIZES = [(28, 28), (7, 7), (13, 9), (2, 3), (9, 15), (2, 2), (8, 6)]  # other kinds may refuse some
SMALL = [(3, 4), (4, 6), (6, 3)]

#: kind -> options beside its defaults -> (its parameters for (3, 6, 6) -> 8, of them in norms of the reconstruction); a residual
#: dense stage has as many units as it reads values, 108
VARIANTS: dict[str, list[tuple[dict[str, Any], int, int]]] = {
    "dense": [
        ({}, 108 * 8 + 8 + 8 * 108 + 108, 0),
        ({"tied": True}, 108 * 8 + 8 + 108, 0),
        ({"bias": False}, 108 * 8 + 8 * 108, 0),
        ({"bias": False, "tied": True, "norm": "batch"}, 108 * 8 + 2 * 8 + 2 * 108, 2 * 108),
        ({"norm": "batch"}, 108 * 8 + 8 + 8 * 108 + 108 + 2 * 8 + 2 * 108, 2 * 108),
        ({"norm": "group"}, 108 * 8 + 8 + 8 * 108 + 108 + 2 * 8 + 2 * 108, 2 * 108),
        ({"norm": "layer", "tied": True}, 108 * 8 + 8 + 108 + 2 * 8 + 2 * 108, 2 * 108),
        ({"residual": True}, 2 * (108 * 108 + 108), 0),
        ({"residual": True, "norm": "batch"}, 2 * (108 * 108 + 3 * 108), 2 * 108),
        ({"residual": True, "tied": True, "norm": "layer"}, 108 * 108 + 6 * 108, 2 * 108),
    ],
    "conv": [
        ({}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "none"}, 2 * 216 + 8 + 3, 0),
        ({"norm": "group"}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "layer"}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"kernel": 5}, 2 * 600 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"tied": True}, 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"tied": True, "kernel": 5, "norm": "none"}, 600 + 8 + 3, 0),
        ({"bias": False}, 2 * 216 + 2 * 8 + 2 * 3, 2 * 3),
        ({"stride": 1}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"stride": 1, "tied": True, "bias": False, "norm": "none", "kernel": 5}, 600, 0),
    ],
    "conv-pool": [
        ({}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "none", "unpool": "zeros"}, 2 * 216 + 8 + 3, 0),
        ({"norm": "group", "unpool": "switches"}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "layer", "kernel": 5}, 2 * 600 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"tied": True, "kernel": 5}, 600 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"tied": True, "unpool": "switches"}, 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"tied": True, "bias": False}, 216 + 2 * 8 + 2 * 3, 2 * 3),
    ],
    "residual": [
        ({}, 2 * 216 + 8 + 3 + 4 * (576 + 8) + 5 * 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "none"}, 2 * 216 + 8 + 3 + 4 * (576 + 8), 0),
        ({"norm": "group"}, 2 * 216 + 8 + 3 + 4 * (576 + 8) + 5 * 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "layer", "blocks": 2}, 2 * 216 + 8 + 3 + 8 * (576 + 8) + 9 * 2 * 8 + 2 * 3, 2 * 3),
    ],
    "transformer": [  # a block of width d has 12 d^2 + 13 d parameters, the norm after the last 2 d
        ({}, 2 * 96 + 8 + 3 + 2 * (768 + 104) + 2 * 16, 0),
        ({"patch": 3, "heads": 1}, 2 * 216 + 8 + 3 + 2 * (768 + 104) + 2 * 16, 0),
        ({"blocks": 2, "heads": 2}, 2 * 96 + 8 + 3 + 4 * (768 + 104) + 2 * 16, 0),
        ({"visible_only": True}, 2 * 96 + 8 + 3 + 2 * (768 + 104) + 2 * 16 + 8, 0),
    ],
}

Variant = tuple[str, dict[str, Any]]
CASES: list[Variant] = [(kind, options) for kind in KINDS for options in [v[0] for v in VARIANTS.get(kind, [])] or [{}]]
every_kind = pytest.mark.parametrize("kind", KINDS)


def case_name(case: Variant) -> str:
    return "-".join([case[0], *(f"{name}={value}" for name, value in case[1].items())])


every_variant = pytest.mark.parametrize("case", CASES, ids=case_name)


def make(case: str | Variant, shape: tuple[int, ...] = (3, 6, 6), width: int = 8, **options: Any) -> Stage:
    kind, own = (case, {}) if isinstance(case, str) else case
    width = math.prod(shape) if own.get("residual") else width
    return kinds()[kind].of(shape, width, **own, **options)


def fitting(case: Variant, sizes: list[tuple[int, int]], channels: int = 3, **options: Any) -> list[Stage]:
    """Stages for those of `sizes` that the variant accepts; it must accept one."""
    stages = []
    for size in sizes:
        try:
            stages.append(make(case, (channels, *size), **options))
        except InputError:
            assert case[0] not in ANY_SIZE, f"{case} refuses {size}"
    assert stages, f"{case} accepts none of {sizes}"
    return stages


def blobs(n: int, shape: tuple[int, ...]) -> Tensor:
    """Smooth images in [0, 1]: two soft blobs each, somewhere."""
    channels, height, width = shape
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    centre = torch.rand(2, n, channels, 2, 1, 1) * torch.tensor([height - 1.0, width - 1.0])[:, None, None]
    return torch.exp(-((rows - centre[:, :, :, 0]) ** 2 + (columns - centre[:, :, :, 1]) ** 2) / 4).amax(0)


def train(stage: Stage, x: Tensor, steps: int, until: float = 0.0, lr: float = 1e-2) -> float:
    """Adam on the squared error, until it is below `until`; the last error."""
    optimiser = torch.optim.Adam(stage.parameters(), lr=lr, fused=True)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = (stage(x) - x).square().mean()
        if loss < until:
            break
        loss.backward()
        optimiser.step()
    return float(loss.detach())
