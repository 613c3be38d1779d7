"""torch's convolutions, with faster training on a CPU.

Three operations are slow there (torch 2.14, one thread, maps of digits). The gradient of a bias takes up to 50 times as long as
the plain sum that it is. The bias of a transposed convolution to an odd size makes it take three times as long. A transposed
convolution to one channel takes three times as long as the matrix product and the sum (fold) that it consists of. These are
replaced, and equal torch's up to rounding; everything else is torch's, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[int, ...]


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` without dilation and groups, with zero padding or none."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolution(input, weight, bias, pair(self.stride), pair(self.padding))


class ConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` without dilation and groups."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve; `output_size` is (H, W) if that differs from the size that the module was built for."""
        stride, padding, extra = pair(self.stride), pair(self.padding), pair(self.output_padding)
        if output_size:
            extra = extra_rows(input, self.weight, output_size, stride, padding)
        return convolution(input, self.weight, self.bias, stride, padding, extra)


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, extra: Pair | None = None
) -> Tensor:
    """Return the convolution of maps x [B, C, H, W], or, if an output padding `extra` is given, the transposed convolution."""
    if bias is None:
        bias = weight.new_zeros(weight.shape[0 if extra is None else 1])
    x, weight, bias = autocast(x, weight, bias)
    if torch.is_grad_enabled():
        return Convolution.apply(x, weight, bias, stride, padding, extra)
    return forward(x, weight, bias, stride, padding, extra)


def autocast(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in the precision that torch.autocast uses for a convolution of x; float64 tensors are not cast."""
    kind = x.device.type
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        return x, *others
    # cast here, because autocast also casts inside an autograd.Function, whose backward pass would not know of it
    dtype = torch.get_autocast_dtype(kind)
    return tuple(each if each.dtype == torch.float64 else each.to(dtype) for each in (x, *others))


def forward(x: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair, extra: Pair | None) -> Tensor:
    """Return the convolution by the faster of two methods; half precision uses torch's, which accumulates in float32."""
    if extra is None:
        return F.conv2d(x, weight, bias, stride, padding)
    fast = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    if not fast or (weight.shape[1] > 1 and all(extra)):
        return F.conv_transpose2d(x, weight, bias, stride, padding, extra)
    if weight.shape[1] > 1:
        return F.conv_transpose2d(x, weight, None, stride, padding, extra).add_(bias[:, None, None])
    # the product of each input value with the kernel, summed at its position in the output
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)  # a view where maps lie channels-last
    # one product for all images: torch would use one or many depending on whether the weight is trained, and round differently
    columns = (rows.flatten(0, 1) @ weight.flatten(1)).unflatten(0, rows.shape[:2]).transpose(1, 2).contiguous()
    kernel = tuple(weight.shape[2:])
    size = tuple(n + more for n, more in zip(least(x, kernel, stride, padding), extra, strict=True))
    return F.fold(columns, size, kernel, padding=padding, stride=stride).add_(bias)


class Convolution(torch.autograd.Function):
    """The convolution with torch's own gradients except for the bias; it can be differentiated twice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair, extra: Pair | None) -> Tensor:
        return forward(x, weight, bias, stride, padding, extra)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.config = inputs[3:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (stride, padding, extra), grad = ctx.saved_tensors, ctx.config, grads[0]
        wanted = [*ctx.needs_input_grad[:2], False]
        transposed = (extra is not None, extra or (0, 0))
        dx = dw = None
        if any(wanted):
            dx, dw, _ = torch.ops.aten.convolution_backward(
                grad, x, weight, None, stride, padding, (1, 1), *transposed, 1, wanted
            )
        return dx, dw, grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None, None, None


def extra_rows(x: Tensor, weight: Tensor, size: list[int], stride: Pair, padding: Pair) -> Pair:
    """Return the output padding for which a transposed convolution of maps x returns `size` (H, W)."""
    kernel = tuple(weight.shape[2:])
    return tuple(wanted - n for wanted, n in zip(size, least(x, kernel, stride, padding), strict=True))


def least(x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """Return height and width of a transposed convolution of maps x without output padding."""
    return tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], stride, padding, kernel, strict=True))


def pair(value: Any) -> Pair:
    """Return (H, W) for an argument that torch accepts as one number or two."""
    return (value, value) if isinstance(value, int) else tuple(value)
