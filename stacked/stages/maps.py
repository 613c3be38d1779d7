"""Code shared by stages that convolve maps and can halve their height and width."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any, ClassVar

from torch import Tensor, nn

from stacked.stages.convolutions import TRANSPOSED
from stacked.stages.stage import Shape, Stage
from stacked.stages.tied import TiedConvTranspose
from stacked.util.checks import need, whole

#: largest side of a kernel, in pixels
MOST_KERNEL = 999


class Halving(Stage):
    """A stage that halves height and width of maps of any size: its code is [width, ceil(H/2), ceil(W/2)].

    A stage whose options keep the size (stride 1) sets `halves` to False and overrides `output_shape`. With another
    number of spatial dimensions, all of them are halved. A `kernel` is odd, so that (kernel - 1) / 2 values of padding centre
    it. The default norm is batch norm.
    """

    norms: ClassVar[tuple[str, ...]] = ("batch", "group", "layer", "none")
    halves = True
    any_size = True

    @classmethod
    def check(cls, width: int, *, kernel: int = 3, **options: Any) -> None:
        super().check(width, **options)
        ok = isinstance(kernel, Integral) and kernel >= 3 and kernel % 2 == 1
        need(ok, f"kernel {kernel!r} of a {cls.kind} stage is not allowed: give an odd integer of at least 3")
        whole(kernel, f"kernel of a {cls.kind} stage", most=MOST_KERNEL)

    def output_shape(self, in_shape: Shape) -> Shape:
        return (self.width, *((n + 1) // 2 for n in in_shape[1:]))


def check_stride(stride: int, kind: str) -> None:
    """Raise InputError unless the stride of a stage of this kind is 1 or 2."""
    ok = isinstance(stride, int) and not isinstance(stride, bool) and stride in (1, 2)
    need(ok, f"stride {stride!r} of a {kind} stage is not allowed: give 1 or 2")


def odd_padding(in_shape: Shape) -> tuple[int, ...]:
    """Return the output padding for which a transposed convolution of stride 2 restores the size of `in_shape` [C, ...]."""
    return tuple(1 - n % 2 for n in in_shape[1:])


def upsampled(modules: Iterable[nn.Module], code: Tensor, size: Shape | None) -> Tensor:
    """Return `code` after `modules`; their transposed convolution outputs `size` (None: the size it was built for)."""
    for module in modules:
        if size and isinstance(module, (*TRANSPOSED, TiedConvTranspose)):
            code = module(code, output_size=list(size))
        else:
            code = module(code)
    return code
