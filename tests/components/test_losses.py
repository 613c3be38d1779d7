"""Losses: exact values, gradients, and the structural similarity that others compute."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity

from stacked.components.corruption import corrupt
from stacked.components.losses import (
    LOSSES,
    RectifiedMSE,
    bce,
    emphasised,
    l1,
    mse,
    per_example,
    rectified_mse,
    ssim_l1,
)
from stacked.components.ssim import ssim_map
from stacked.cost.live_bytes import LiveBytes
from stacked.runtime.rng import generator
from stacked.util.errors import InputError


@pytest.mark.parametrize("shape", [(64, 784), (7, 3, 13, 9)])
def test_the_mean_squared_error_is_that_of_earlier_versions_bit_for_bit(shape: tuple[int, ...]) -> None:
    output, target = torch.rand(shape), torch.rand(shape)
    assert torch.equal(per_example(mse(output, target)), (output - target).square().flatten(1).mean(1))
    assert torch.equal(
        per_example(LOSSES["mse"].of(output, target)).mean(), (output - target).square().flatten(1).mean(1).mean()
    )


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_one_value_per_example_of_that_example_alone(name: str) -> None:
    """Elementwise ones have a value for each element, and all vanish where the output is the target, but for bce's entropy."""
    loss = LOSSES[name]
    output, target = torch.rand(5, 3, 12, 14), torch.rand(5, 3, 12, 14)
    values = loss.of(output, target)
    assert (values.shape == target.shape) or not loss.elementwise
    whole = per_example(values)
    assert whole.shape == (5,)
    torch.testing.assert_close(whole[2:3], per_example(loss.of(output[2:3], target[2:3])))
    if not loss.logits:
        assert per_example(loss.of(target, target)).abs().max() < 1e-6


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_right_in_float64(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    output = torch.rand(1, 1, 12, 11, generator=random, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 1, 12, 11, generator=random, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda output: per_example(LOSSES[name].of(output, target)), (output,))


def test_values_by_hand() -> None:
    output, target = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 1.0]])
    assert mse(output, target).tolist() == [[1, 4]]
    assert l1(output, target).tolist() == [[1, 2]]
    # equation 6 of Bengio et al. 2007 at reconstruction 3/4 = sigmoid(ln 3) of target 1/2 and 1
    logits = torch.full((1, 2), math.log(3), dtype=torch.float64)
    expected = [-0.5 * math.log(0.75) - 0.5 * math.log(0.25), -math.log(0.75)]
    assert bce(logits, torch.tensor([[0.5, 1.0]], dtype=torch.float64)).tolist()[0] == pytest.approx(
        expected, rel=1e-14
    )


def test_cross_entropy_from_logits_is_that_of_the_sigmoid_and_holds_where_it_saturates() -> None:
    logits, target = torch.randn(8, 20, dtype=torch.float64), torch.rand(8, 20, dtype=torch.float64)
    torch.testing.assert_close(
        bce(logits, target), F.binary_cross_entropy(logits.sigmoid(), target, reduction="none"), rtol=1e-12, atol=1e-12
    )
    far = torch.tensor([[200.0]], requires_grad=True)
    bce(far, torch.zeros(1, 1)).sum().backward()
    assert far.grad is not None
    assert far.grad.item() == 1
    assert bce(far, torch.zeros(1, 1)).item() == 200  # of the sigmoid, torch stops at 100 and the gradient is 0


def test_each_loss_says_what_it_is_defined_for() -> None:
    assert {name for name, loss in LOSSES.items() if loss.logits} == {"bce"}
    assert {name for name, loss in LOSSES.items() if loss.unit_targets} == {"bce", "ssim-l1"}
    assert LOSSES["bce"].outputs == frozenset({"sigmoid"})
    assert LOSSES["ssim-l1"].outputs == frozenset({"sigmoid", "saturating-linear"})
    assert LOSSES["softplus-quadratic"].outputs == frozenset({"softplus"})
    assert LOSSES["mse"].outputs is LOSSES["l1"].outputs is None


@pytest.mark.parametrize("shape", [(11, 11), (28, 28), (17, 40)])
def test_structural_similarity_is_that_of_scikit_image(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    a = random.random((2, 3, *shape))
    b = np.clip(a + 0.3 * random.standard_normal(a.shape), 0, 1)
    b[0, 0], a[1, 2] = a[0, 0], 0  # identical, and black
    ours = ssim_map(torch.from_numpy(a), torch.from_numpy(b))
    assert ours.shape == (2, 3, shape[0] - 10, shape[1] - 10)
    for i, c in np.ndindex(2, 3):
        _, theirs = structural_similarity(
            a[i, c], b[i, c], gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, full=True
        )
        np.testing.assert_allclose(ours[i, c].numpy(), theirs[5:-5, 5:-5], rtol=1e-10, atol=1e-12)
    single = ssim_map(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    torch.testing.assert_close(single.double(), ours, rtol=0, atol=1e-4)  # of a float's cancellation in E x^2 - (E x)^2


def test_structural_loss_is_its_two_parts_and_needs_room_for_a_window() -> None:
    a, b = torch.rand(4, 2, 13, 15, dtype=torch.float64), torch.rand(4, 2, 13, 15, dtype=torch.float64)
    expected = 0.84 * (1 - ssim_map(a, b).mean((1, 2, 3))) + 0.16 * (a - b).abs().mean((1, 2, 3))
    torch.testing.assert_close(per_example(ssim_l1(a, b)), expected, rtol=1e-12, atol=0)
    assert LOSSES["ssim-l1"].least_side == 11
    for shape in [(4, 1, 10, 28), (4, 784)]:
        with pytest.raises(InputError, match=r"at least 11 x 11 pixels, not values of shape \(4, "):
            ssim_map(torch.rand(shape), torch.rand(shape))


def test_emphasis_weights_what_was_hit_and_does_not_renormalise() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    hit = torch.tensor([[True, False, True, False]])
    assert emphasised(values, hit, 1.5, 0.5).tolist() == [[1.5, 1, 6, 4]]
    assert emphasised(values, None, 1.5, 0.5).tolist() == [[1.5, 3, 6, 12]]
    assert per_example(emphasised(values, hit, 1, 0)).item() == 5 / 4  # not 5 / 2
    assert torch.equal(emphasised(values, hit, 1, 1), values)


@pytest.mark.parametrize("name", ["masking", "block-masking", "patch-masking"])
def test_full_emphasis_has_no_gradient_where_the_input_was_whole(name: str) -> None:
    x = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    hit = corrupt(name, x, (0.4,), generator(0, "e"), 4).hit
    assert hit is not None
    output = torch.rand_like(x, requires_grad=True)
    per_example(emphasised(mse(output, x), hit, 1, 0)).mean().backward()
    assert output.grad is not None
    assert torch.equal(output.grad != 0, hit.expand_as(x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_rectified_error_is_that_of_a_rectifier(layout: torch.memory_format) -> None:
    """Its gradient to the bit, also where the rectifier is at its corner, and with less alive at once."""
    linear, target = (torch.randn(8, 6, 10, 10).to(memory_format=layout) for _ in range(2))
    linear[0, 0] = 0
    ours, plain, before = linear.clone().requires_grad_(), linear.clone().requires_grad_(), target.clone()
    with LiveBytes() as less:
        value = rectified_mse(ours, target)
        value.backward()
    with LiveBytes() as more:
        expected = LOSSES["mse"].mean(torch.relu(plain), target)
        expected.backward()
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    assert ours.grad is not None
    assert plain.grad is not None
    assert torch.equal(ours.grad, plain.grad)
    assert less.peak < 1.1 * linear.nbytes
    assert more.peak > 1.9 * linear.nbytes
    assert torch.equal(target, before)
    (third,) = torch.autograd.grad(rectified_mse(ours, target) / 3, ours)
    torch.testing.assert_close(third, ours.grad / 3)


def test_a_second_derivative_of_the_rectified_error_is_refused() -> None:
    linear = torch.randn(4, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(rectified_mse(linear, torch.rand(4, 3)), linear, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        grad.sum().backward()


def test_torch_makes_the_signature_once() -> None:
    assert inspect.signature(RectifiedMSE.forward) is inspect.signature(RectifiedMSE.forward)
