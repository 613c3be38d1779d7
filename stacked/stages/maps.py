"""What stages that read maps and halve their height and width have in common."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from stacked.checks import need
from stacked.stages.stage import Shape
from stacked.stages.tied import TiedConvTranspose2d

#: Normalisations of maps, batch first: the default of stages that convolve.
MAP_NORMS = ("batch", "group", "layer", "none")


def need_map(kind: str, in_shape: Shape) -> None:
    """Raise InputError unless `in_shape` is that of a map of at least 2 x 2."""
    need(
        len(in_shape) == 3 and min(in_shape[1:]) >= 2,
        f"a {kind} stage cannot read {tuple(in_shape)}: it needs channels x height x width of at least 2 x 2 pixels; "
        "use fewer stages or larger images",
    )


def need_kernel(kind: str, kernel: int) -> None:
    """Raise InputError unless `kernel` is odd, so that (kernel - 1) / 2 pixels of padding keep it centred, and at least 3."""
    ok = isinstance(kernel, int) and kernel >= 3 and kernel % 2 == 1
    need(ok, f"kernel {kernel!r} of a {kind} stage is not allowed: give an odd integer of at least 3")


def halved(width: int, in_shape: Shape) -> Shape:
    """The shape of a code of `width` channels whose height and width are half those of `in_shape`, rounded up."""
    return (width, (in_shape[1] + 1) // 2, (in_shape[2] + 1) // 2)


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
