"""The contract of a stage: an encoder/decoder pair, one step of depth."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from stacked.errors import InputError
from stacked.stages.activations import ACTIVATIONS

Shape = tuple[int, ...]


class Stage(nn.Module):
    """One encoder/decoder pair, trained in place inside the stack it was grown into.

    A subclass sets `kind` (its name in specs) and, in its constructor, `encoder` and `decoder` (sequences of modules,
    so that a stack can show all its encoders as one), and says in `output_shape` what code an input gives without
    running anything. Maps are reshaped to vectors inside a stage, never outside.

    Its constructor takes `in_shape` (what it reads, without the batch), `width` (channels or units of the code), and by
    keyword: `activation` (of the code), `output` (activation of the reconstruction: it must cover the range of what is
    read), `pixels` (True for the first stage, which reconstructs pixels), and options of its own, each with a default.
    """

    kind: ClassVar[str]
    encoder: nn.Sequential
    decoder: nn.Sequential
    in_shape: Shape
    width: int
    frozen: bool

    def __init__(self, in_shape: Shape, width: int, activation: str, output: str) -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"width {width} of a {self.kind} stage is not allowed: give a positive integer")
        for name in (activation, output):
            if name not in ACTIVATIONS:
                raise InputError(f"activation {name!r} is not known: choose from {', '.join(ACTIVATIONS)}")
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

    def decode(self, code: Tensor, size: Shape | None = None) -> Tensor:
        """The reconstruction of what was read; `size` (H, W) where it differs from what the stage was built for."""
        return self.decoder(code)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct x."""
        return self.decode(self.encode(x), tuple(x.shape[2:]))

    def freeze(self, frozen: bool = True) -> Stage:
        """Freeze: no gradients, and eval mode that `train()` does not undo, so that buffers stay as they are too."""
        self.frozen = frozen
        self.requires_grad_(not frozen)
        return self.train(not frozen)

    def train(self, mode: bool = True) -> Stage:
        """Set training mode, unless frozen."""
        super().train(mode and not self.frozen)
        return self
