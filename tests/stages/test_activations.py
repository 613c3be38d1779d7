"""Activations: values, gradients, ranges, and the targets that decoders with them can restore."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from stacked import InputError, StackSpec
from stacked.components.losses import LOSSES
from stacked.stages.activations import ACTIVATIONS, RANGES, covers
from stacked.stages.dense import Dense
from tests.helpers.trainable import spec, trains

EVERYWHERE = torch.cat([torch.linspace(-50, 50, 2001, dtype=torch.float64), torch.tensor([-1.0, 0, 1]).double()])


def test_the_scaled_tanh_is_that_of_the_paper() -> None:
    scaled = ACTIVATIONS["scaled-tanh"]()
    x = EVERYWHERE.clone().requires_grad_()
    assert torch.equal(scaled(x), 1.7159 * torch.tanh(2 / 3 * x))
    # LeCun et al. 1998, section 4.4: 1 at 1, -1 at -1, where the second derivative is largest
    assert scaled(torch.tensor([-1.0, 1])).tolist() == pytest.approx([-1, 1], abs=1e-4)
    (slope,) = torch.autograd.grad(scaled(x).sum(), x)
    torch.testing.assert_close(slope, 1.7159 * 2 / 3 / torch.cosh(2 / 3 * x.detach()).square(), rtol=1e-10, atol=1e-14)


def test_saturating_linear_cuts_to_0_and_1_and_has_the_slope_1_between() -> None:
    x = torch.tensor([-2.0, -1e-6, 0, 1e-6, 0.3, 1 - 1e-6, 1, 1.5], requires_grad=True)
    cut = ACTIVATIONS["saturating-linear"]()
    assert torch.equal(cut(x), x.clamp(0, 1))
    (slope,) = torch.autograd.grad(cut(x).sum(), x)
    assert slope.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_fill_the_range_and_do_not_leave_it(name: str) -> None:
    assert list(RANGES) == list(ACTIVATIONS)
    for dtype in (torch.float32, torch.float64):
        values, (low, high) = ACTIVATIONS[name]()(EVERYWHERE.to(dtype)), RANGES[name]
        rounding = 1e-6 if dtype == torch.float32 else 1e-12
        assert low - rounding <= values.min()
        assert values.max() <= high + rounding
        for end, found in ((low, values.min()), (high, values.max())):
            assert abs(found) >= 49 if math.isinf(end) else abs(found - end) < 1e-6


@pytest.mark.parametrize(
    ("output", "restored"),
    [
        ("scaled-tanh", {None, "sigmoid", "tanh", "scaled-tanh", "saturating-linear"}),
        ("saturating-linear", {None, "sigmoid", "saturating-linear"}),
        ("tanh", {None, "sigmoid", "tanh", "saturating-linear"}),
        ("relu", {None, "relu", "sigmoid", "softplus", "saturating-linear"}),
    ],
)
def test_a_decoder_restores_what_its_range_covers(output: str, restored: set[str | None]) -> None:
    assert {read for read in (None, *ACTIVATIONS) if covers(output, read)} == restored


def test_tanh_cannot_restore_codes_of_the_scaled_tanh() -> None:
    message = (
        "a tanh decoder cannot restore what stage 2 reads .* scaled-tanh activation: choose from scaled-tanh, linear"
    )
    with pytest.raises(InputError, match=message):
        spec(stack=StackSpec.of("dense", 6, 4, activation="scaled-tanh", decoder="tanh", output="scaled-tanh"))
    trains(spec(stack=StackSpec.of("dense", 6, 4, activation="scaled-tanh", output="scaled-tanh")))


@pytest.mark.parametrize("loss", LOSSES)
def test_saturating_linear_codes_are_targets_as_those_of_a_sigmoid_are(loss: str) -> None:
    """A cross-entropy takes them; its own decoder stays a sigmoid, of which it needs the logits."""
    stack = StackSpec.of("conv", 6, 4, activation="saturating-linear", decoder="sigmoid")
    if loss in ("softplus-quadratic", "ssim-l1"):  # for a decoder of its own, and for pixels
        with pytest.raises(InputError):
            spec(stack=stack, loss=loss)
        return
    trains(spec(stack=stack, loss=loss))
    if loss == "bce":
        with pytest.raises(InputError, match=r"by a saturating-linear decoder: use 'mse' there, or .* sigmoid"):
            spec("joint", StackSpec.of("conv", 6, output="saturating-linear"), loss=loss)


def test_saturating_linear_pixels_have_a_structural_similarity() -> None:
    trains(spec("joint", StackSpec.of("conv", 6, output="saturating-linear"), loss="ssim-l1"))


def test_a_sparsity_target_fits_codes_in_0_to_1() -> None:
    trains(spec(stack=StackSpec.of("dense", 6, 4, activation="saturating-linear"), penalties={"kl": 0.1}))
    with pytest.raises(InputError, match="it needs a code in"):
        spec(stack=StackSpec.of("dense", 6, 4, activation="scaled-tanh", output="linear"), penalties={"kl": 0.1})


def test_a_stage_encodes_and_decodes_with_the_ones_named() -> None:
    stage = Dense.of((4,), 6, activation="scaled-tanh", output="saturating-linear")
    x = torch.rand(3, 4)
    linear = F.linear(x, stage.get_parameter("encoder.1.weight"), stage.get_parameter("encoder.1.bias"))
    assert torch.equal(stage.encode(x), 1.7159 * torch.tanh(2 / 3 * linear))
    code = stage.encode(x)
    assert torch.equal(stage.decode(code), stage.decode_linear(code).clamp(0, 1))
