"""Norms of stages: each is what it says, learns at every width that it allows, and is refused at others."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from stacked.model.stack import build
from stacked.spec import StackSpec
from stacked.stages import Stage, kinds
from stacked.util.errors import InputError
from tests.helpers.stages import every_kind, make, train


@every_kind
def test_every_norm_is_what_it_says(kind: str) -> None:
    for norm in kinds()[kind].norms:
        found = {type(module).__name__ for module in make(kind, norm=norm).modules() if "Norm" in type(module).__name__}
        allowed = {"batch": {"BatchNorm1d", "BatchNorm2d"}, "group": {"GroupNorm"}, "none": set()}
        assert found <= allowed.get(norm, {"GroupNorm", "LayerNorm"})
        assert bool(found) == (norm != "none")
    with pytest.raises(InputError, match=r"norm of a .* stage 'instance' is not known: choose from"):
        make(kind, norm="instance")


#: of maps whose code has four places, and whose code has one
NARROW = {"four places": (1, 4, 4), "one place": (4, 2, 2)}


def brightening(n: int, shape: tuple[int, ...]) -> Tensor:
    """Grey images that become brighter on one side: all that there is to learn is one number an image."""
    across = torch.linspace(0, 0.8, shape[-1])
    return (0.2 + torch.linspace(0, 1, n)[:, None] * across)[:, None, None].expand(-1, *shape[:2], -1).contiguous()


def tells_apart(stage: Stage, x: Tensor) -> bool:
    """Whether what is restored of images is nearer to them than to others, at some time in a short training."""
    for _ in range(12):
        train(stage, x, 5, lr=0.03)
        with torch.no_grad():
            output = stage(x)
        if (output - x).square().mean() < 0.8 * (output.flip(0) - x).square().mean():
            return True
    return False


@pytest.mark.parametrize("shape", NARROW.values(), ids=NARROW)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 8, 16])
@every_kind
def test_every_norm_of_every_width_learns_or_is_refused(kind: str, width: int, shape: tuple[int, ...]) -> None:
    x = brightening(8, shape)
    for norm in (name for name in kinds()[kind].norms if name != "none"):
        if kind == "transformer" and width % 4:
            continue
        if norm in ("group", "layer") and width < 3 and (kind == "dense" or (shape[1] == 2 and kind != "conv-pool")):
            with pytest.raises(InputError, match=rf"norm '{norm}' needs at least 3 values per example, not {width}:"):
                make(kind, shape, width, norm=norm)
        else:
            assert any(  # now and then a narrow stage begins with units that are silent for all images
                tells_apart(make(kind, shape, width, norm=norm, activation="linear", output="linear", pixels=True), x)
                for _ in range(5)
            ), norm


@pytest.mark.parametrize(
    ("width", "groups"),
    [(3, 1), (4, 1), (6, 1), (7, 1), (8, 2), (10, 2), (12, 2), (16, 4), (20, 4), (24, 4), (32, 8), (40, 8), (64, 8)],
)
def test_groups_hold_four_values_where_there_are_as_many(width: int, groups: int) -> None:
    for stage in (make("dense", (width,), width, norm="group"), make("conv", (width, 2, 2), width, norm="group")):
        norm = stage.encoder[-2]
        assert isinstance(norm, nn.GroupNorm)
        assert norm.num_groups == groups
    wide = make("conv", (width, 6, 6), width, norm="group").encoder[-2]
    assert isinstance(wide, nn.GroupNorm)
    assert wide.num_groups == math.gcd(width, 8)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_norms_that_would_leave_nothing_are_refused_when_a_spec_is_made(norm: str) -> None:
    for width in (1, 2):
        with pytest.raises(InputError, match=rf"norm '{norm}' needs at least 3 values per example, not {width}:"):
            StackSpec.of("dense", 8, width, norm=norm)
        with pytest.raises(InputError, match=rf"norm '{norm}' needs at least 3 values per example, not {width}:"):
            build(StackSpec.of("conv", width, norm=norm), (1, 2, 2))
        build(StackSpec.of("conv", width, norm=norm), (1, 4, 4))
    assert StackSpec.of("dense", 8, 3, norm=norm).norm == norm
