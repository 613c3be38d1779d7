"""Convolutions that train faster: the same functions as torch's, and the same derivatives of first and second order."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked.stages.convolutions import Conv2d, Convolution, ConvTranspose2d

#: channels read and given, kernel, stride, height and width
SHAPES = [(1, 4, 3, 2, (7, 6)), (3, 5, 3, 2, (8, 9)), (4, 1, 3, 2, (4, 3)), (4, 3, 5, 2, (4, 4)), (2, 1, 2, 2, (3, 3))]


def layers(
    shape: tuple[int, int, int, int, tuple[int, int]], transposed: bool, extra: int = 0
) -> tuple[nn.Module, ...]:
    """Ours and torch's, with the same weights, in float64."""
    read, given, kernel, stride, _ = shape
    more = {"output_padding": extra} if transposed else {}
    ours, torchs = (ConvTranspose2d, nn.ConvTranspose2d) if transposed else (Conv2d, nn.Conv2d)
    mine, other = (
        kind(read, given, kernel, stride, (kernel - 1) // 2, dtype=torch.float64, **more) for kind in (ours, torchs)
    )
    other.load_state_dict(mine.state_dict())
    return mine, other


def gradients(layer: nn.Module, x: Tensor, of: Tensor) -> list[Tensor]:
    """The output for x, the gradients of its product with `of`, and those of the sum of these gradients' squares."""
    output = layer(x)
    inputs = [x, *layer.parameters()]
    first = torch.autograd.grad((output * of).sum() + (output**3).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
    return [output, *first, *second]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_derivatives_are_torchs(
    shape: tuple[int, int, int, int, tuple[int, int]], transposed: bool, extra: int, layout: torch.memory_format
) -> None:
    mine, other = layers(shape, transposed, extra)
    x = torch.randn(3, shape[0], *shape[4], dtype=torch.float64).to(memory_format=layout).requires_grad_()
    of = torch.randn_like(other(x))
    for a, b in zip(gradients(mine, x, of), gradients(other, x, of), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_is_not_computed_otherwise_is_torchs_to_the_bit(layout: torch.memory_format) -> None:
    """In float32: outputs, and the gradients of what is read and of weights; with gradients and without."""
    for transposed in (False, True):
        mine, other = (layer.float().to(memory_format=layout) for layer in layers((3, 5, 3, 2, (8, 8)), transposed, 1))
        x = torch.randn(3, 3, 8, 8).to(memory_format=layout).requires_grad_()
        with torch.no_grad():
            assert torch.equal(mine(x), other(x))
        output, expected = mine(x), other(x)
        assert torch.equal(output, expected)
        of = torch.randn_like(output)
        for a, b in zip(
            torch.autograd.grad(output, [x, mine.weight], of),
            torch.autograd.grad(expected, [x, other.weight], of),
            strict=True,
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_do_not_depend_on_whether_a_weight_learns(
    shape: tuple[int, int, int, int, tuple[int, int]], transposed: bool
) -> None:
    """torch would multiply matrices in one piece or in many: on some CPUs these round otherwise."""
    mine = layers(shape, transposed, int(transposed))[0].float().to(memory_format=torch.channels_last)
    x = torch.rand(40, shape[0], *shape[4]).to(memory_format=torch.channels_last)
    learning = mine(x).detach()
    with torch.no_grad():
        assert torch.equal(mine(x), learning)
        mine.requires_grad_(False)
        assert torch.equal(mine(x), learning)
    assert torch.equal(mine(x), learning)


def test_a_size_may_be_asked_for() -> None:
    mine, other = layers((4, 1, 3, 2, (4, 3)), True)
    x = torch.randn(2, 4, 4, 3, dtype=torch.float64)
    for size in ([7, 5], [8, 5], [7, 6], [8, 6]):
        torch.testing.assert_close(mine(x, output_size=size), other(x, output_size=size), rtol=1e-12, atol=1e-12)


def test_no_bias_no_gradient_and_many_at_once() -> None:
    layer = Conv2d(2, 3, 3, 2, 1, bias=False, dtype=torch.float64)
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, None, 2, 1), rtol=1e-12, atol=1e-12)
    layer(x).sum().backward()
    assert x.grad is None
    assert layer.weight.grad is not None
    back = ConvTranspose2d(2, 1, 3, 2, 1, dtype=torch.float64)
    jacobians = torch.func.vmap(torch.func.jacrev(lambda one: back(one[None])[0]))(x)
    singly = [torch.autograd.functional.jacobian(lambda one: back(one[None])[0], one) for one in x]
    torch.testing.assert_close(jacobians, torch.stack(singly), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("given", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("inside", [None, torch.bfloat16, torch.float16])
def test_precision_is_that_of_torchs_with_and_without_autocast(
    shape: tuple[int, int, int, int, tuple[int, int]],
    transposed: bool,
    given: torch.dtype,
    inside: torch.dtype | None,
) -> None:
    """Layers and maps of one type, outside of autocast or inside: outputs, gradients and their types."""
    mine, other = (layer.to(given) for layer in layers(shape, transposed))
    x = torch.randn(3, shape[0], *shape[4]).to(given)
    of = None
    found = []
    for layer in (mine, other):
        read = x.clone().requires_grad_()
        with torch.autocast("cpu", inside or torch.bfloat16, enabled=inside is not None):
            output = layer(read)
        of = torch.randn_like(output) if of is None else of
        found.append([output, *torch.autograd.grad(output, [read, *layer.parameters()], of)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_torch_makes_the_signature_once() -> None:
    """It asks for it in every call, and making it takes longer than the rest of what Python does there."""
    assert inspect.signature(Convolution.forward) is inspect.signature(Convolution.forward)
