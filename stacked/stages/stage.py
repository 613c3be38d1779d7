"""The contract of a stage: an encoder/decoder pair, one step of depth."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from stacked.errors import InputError
from stacked.stages.activations import ACTIVATIONS
from stacked.stages.norms import NORMS

Shape = tuple[int, ...]


class Stage(nn.Module):
    """One encoder/decoder pair, trained in place inside the stack it was grown into.

    A subclass sets `kind` (its name in specs) and, in its constructor, `encoder` and `decoder` (sequences of modules,
    so that a stack can show all its encoders as one; the decoder's last module is the output activation), and says in
    `output_shape` what code an input gives without running anything. Maps are reshaped to vectors inside a stage, never
    outside.

    Its constructor takes `in_shape` (what it reads, without the batch), `width` (channels or units of the code), and by
    keyword: `activation` (of the code), `output` (activation of the reconstruction: it must cover the range of what is
    read), `pixels` (True for the first stage, which reconstructs pixels and does not normalise them), `norm` (one of
    `norms`, whose first is the default), and options of its own, each with a default.
    """

    kind: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = ("none", *(name for name in NORMS if name != "none"))
    halves: ClassVar[bool] = False  # whether height and width of the code are half those of what is read, rounded up
    #: whether its code is a map [C, H, W], and not a vector
    gives_maps: ClassVar[bool] = True
    encoder: nn.Sequential
    decoder: nn.Sequential
    in_shape: Shape
    width: int
    frozen: bool

    def __init__(self, in_shape: Shape, width: int, activation: str, output: str, norm: str) -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"width {width} of a {self.kind} stage is not allowed: give a positive integer")
        for name in (activation, output):
            if name not in ACTIVATIONS:
                raise InputError(f"activation {name!r} is not known: choose from {', '.join(ACTIVATIONS)}")
        if norm not in self.norms:
            raise InputError(f"norm {norm!r} is not one of a {self.kind} stage: choose from {', '.join(self.norms)}")
        self.in_shape, self.width = tuple(in_shape), width
        self.activation, self.output = activation, output
        self.frozen = False

    @property
    def code_shape(self) -> Shape:
        """Shape of the code, without the batch, for the input shape the stage was built for."""
        return self.output_shape(self.in_shape)

    def output_shape(self, in_shape: Shape) -> Shape:
        """Shape of the code of an input of `in_shape`, both without the batch, computed without a forward pass."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """The code [B, *code_shape] of x [B, *in_shape]."""
        return self.encoder(x)

    def encode_where(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The code of x, and where in x its values came from if the decoder must be told (pooling switches)."""
        return self.encode(x), None

    def decode_linear(self, code: Tensor, size: Shape | None = None, where: Tensor | None = None) -> Tensor:
        """The reconstruction before the output activation; arguments as of `decode`."""
        for module in self.decoder[:-1]:
            code = module(code)
        return code

    def decode(self, code: Tensor, size: Shape | None = None, where: Tensor | None = None) -> Tensor:
        """The reconstruction of what was read.

        `size` is its (H, W) where that differs from what the stage was built for; `where` is what `encode_where` gave.
        """
        return self.decoder[-1](self.decode_linear(code, size, where))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct x."""
        code, where = self.encode_where(x)
        return self.decode(code, tuple(x.shape[2:]), where)

    def freeze(self, frozen: bool = True) -> Stage:
        """Freeze: no gradients, and eval mode that `train()` does not undo, so that buffers stay as they are too."""
        self.frozen = frozen
        self.requires_grad_(not frozen)
        return self.train(not frozen)

    def train(self, mode: bool = True) -> Stage:
        """Set training mode, unless frozen."""
        super().train(mode and not self.frozen)
        return self
