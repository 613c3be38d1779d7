"""torch's convolutions over 1, 2 or 3 spatial dimensions, with faster training on a CPU.

Three operations are slow there (torch 2.14, one thread, maps of digits). The gradient of a bias takes up to 50 times as long as
the plain sum that it is. The bias of a transposed convolution to an odd size makes it take three times as long. A transposed
convolution to one channel takes three times as long as the matrix product and the sum (fold) that it consists of. These are
replaced, the last two for images alone, and equal torch's up to rounding; everything else is torch's, bit for bit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: one number for each spatial dimension
Sizes = tuple[int, ...]


class Convolves(nn.Module):
    """The forward pass of `nn.Conv1d` to `nn.Conv3d` without dilation and groups, with zero padding or none."""

    stride: Any
    padding: Any

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolution(input, weight, bias, self.stride, self.padding)


class Transposes(nn.Module):
    """The forward pass of `nn.ConvTranspose1d` to `nn.ConvTranspose3d` without dilation and groups."""

    weight: Tensor
    bias: Tensor | None
    stride: Any
    padding: Any
    output_padding: Any

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve; `output_size`, such as (H, W), is given if it differs from the size that the module was built for."""
        extra = self.output_padding
        if output_size:
            extra = extra_rows(input, self.weight, output_size, self.stride, self.padding)
        return convolution(input, self.weight, self.bias, self.stride, self.padding, extra)


class Conv1d(Convolves, nn.Conv1d):
    """`nn.Conv1d`, of maps [B, C, L]."""


class Conv2d(Convolves, nn.Conv2d):
    """`nn.Conv2d`, of maps [B, C, H, W]."""


class Conv3d(Convolves, nn.Conv3d):
    """`nn.Conv3d`, of maps [B, C, D, H, W]."""


class ConvTranspose1d(Transposes, nn.ConvTranspose1d):
    """`nn.ConvTranspose1d`, of maps [B, C, L]."""


class ConvTranspose2d(Transposes, nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`, of maps [B, C, H, W]."""


class ConvTranspose3d(Transposes, nn.ConvTranspose3d):
    """`nn.ConvTranspose3d`, of maps [B, C, D, H, W]."""


#: The convolutions by their number of spatial dimensions, and torch's classes of all of them.
CONVOLUTIONS: dict[int, tuple[Any, Any]] = {
    1: (Conv1d, ConvTranspose1d),
    2: (Conv2d, ConvTranspose2d),
    3: (Conv3d, ConvTranspose3d),
}
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
#: torch's functions by the number of spatial dimensions
FORWARD: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
BACK: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes, extra: Sizes | None = None
) -> Tensor:
    """Return the convolution of maps x [B, C, ...], or, if an output padding `extra` is given, the transposed convolution."""
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


def forward(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, padding: Sizes, extra: Sizes | None) -> Tensor:
    """Return the convolution by the faster of two methods; half precision uses torch's, which accumulates in float32."""
    rank = x.dim() - 2
    if extra is None:
        return FORWARD[rank](x, weight, bias, stride, padding)
    fast = rank == 2 and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    if not fast or (weight.shape[1] > 1 and all(extra)):
        return BACK[rank](x, weight, bias, stride, padding, extra)
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
    def forward(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, padding: Sizes, extra: Sizes | None) -> Tensor:
        return forward(x, weight, bias, stride, padding, extra)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.config = inputs[3:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (stride, padding, extra), grad = ctx.saved_tensors, ctx.config, grads[0]
        wanted = [*ctx.needs_input_grad[:2], False]
        spatial = tuple(range(2, x.dim()))
        transposed = (extra is not None, extra or (0,) * len(spatial))
        dx = dw = None
        if any(wanted):
            dx, dw, _ = torch.ops.aten.convolution_backward(
                grad, x, weight, None, stride, padding, (1,) * len(spatial), *transposed, 1, wanted
            )
        return dx, dw, grad.sum((0, *spatial)) if ctx.needs_input_grad[2] else None, None, None, None


# torch asks for the signature in every call, and makes it anew each time unless the function has one
Convolution.forward.__signature__ = inspect.signature(Convolution.forward)  # type: ignore[attr-defined]


def extra_rows(x: Tensor, weight: Tensor, size: list[int], stride: Sizes, padding: Sizes) -> Sizes:
    """Return the output padding for which a transposed convolution of maps x returns `size`, such as (H, W)."""
    kernel = tuple(weight.shape[2:])
    return tuple(wanted - n for wanted, n in zip(size, least(x, kernel, stride, padding), strict=True))


def least(x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes) -> Sizes:
    """Return the size, such as (H, W), of a transposed convolution of maps x without output padding."""
    return tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], stride, padding, kernel, strict=True))
