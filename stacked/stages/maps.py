"""What stages that convolve maps and halve their height and width have in common."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any, ClassVar

from torch import Tensor, nn

from stacked.stages.stage import Shape, Stage
from stacked.stages.tied import TiedConvTranspose2d
from stacked.util.checks import need, whole

#: side of a kernel, in pixels
MOST_KERNEL = 999


class Halving(Stage):
    """A stage whose code [width, ceil(H/2), ceil(W/2)] is a map of half the height and width of the map it reads.

    Its `kernel`, if it has a choice of one, is odd, so that (kernel - 1) / 2 pixels of padding keep it centred. It is batch
    normalised unless a spec says otherwise.
    """

    norms: ClassVar[tuple[str, ...]] = ("batch", "group", "layer", "none")
    halves = True

    @classmethod
    def check(cls, width: int, *, kernel: int = 3, **options: Any) -> None:
        super().check(width, **options)
        ok = isinstance(kernel, Integral) and kernel >= 3 and kernel % 2 == 1
        need(ok, f"kernel {kernel!r} of a {cls.kind} stage is not allowed: give an odd integer of at least 3")
        whole(kernel, f"kernel of a {cls.kind} stage", most=MOST_KERNEL)

    def output_shape(self, in_shape: Shape) -> Shape:
        return (self.width, (in_shape[1] + 1) // 2, (in_shape[2] + 1) // 2)


def odd_padding(in_shape: Shape) -> tuple[int, int]:
    """The output padding with which a transposed convolution of stride 2 restores height and width of `in_shape`."""
    return (1 - in_shape[1] % 2, 1 - in_shape[2] % 2)


def upsampled(modules: Iterable[nn.Module], code: Tensor, size: Shape | None) -> Tensor:
    """`code` through `modules`, whose transposed convolution gives height and width `size` (None: those it was built for)."""
    for module in modules:
        if size and isinstance(module, (nn.ConvTranspose2d, TiedConvTranspose2d)):
            code = module(code, output_size=list(size))
        else:
            code = module(code)
    return code
