"""The two halves of a stack: all its encoders, or all its decoders, as one sequence of modules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from stacked.data.pixels import Pixels, floats_of, scaled_images
from stacked.runtime.settings import own_settings
from stacked.stages import Stage
from stacked.stages.stage import Shape, shapes
from stacked.util.checks import layout_hint, need
from stacked.util.chunks import chunks

#: images that are encoded at a time
BATCH = 250
#: floats farther from 0 than this one are on another scale than 0 to 1
MOST = 4.0


class Half(nn.Sequential):
    """All encoders, or all decoders, of a stack as one sequence that shares their modules; frozen stages stay in eval mode."""

    def __init__(self, modules: list[nn.Module], stages: list[Stage]) -> None:
        super().__init__(*modules)
        self._stages = tuple(stages)  # in a tuple, so that they are not registered as submodules

    @property
    def input_shape(self) -> Shape:
        """The shape of what the half reads, without the batch."""
        return self._stages[0].in_shape

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        for stage in self._stages:
            if stage.frozen:
                stage.eval()
        return self


class Encoder(Half):
    """The encoders of a stack: images [N, C, H, W], floats in [0, 1], to codes; `encode` takes uint8 and NumPy arrays too."""

    def forward(self, input: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():  # a check would become part of an exported program
            self.check_call(input, "cannot be encoded", "encode")
        return super().forward(input)

    def check_call(self, images: Tensor, cannot: str, method: str) -> None:
        """Raise InputError for what a call does not read.

        cannot: the verb phrase of its message. method: what takes images of other types ("": nothing does).
        """
        wanted = self._wanted()
        need(
            isinstance(images, Tensor),
            f"images in a {type(images).__name__} {cannot} by a call: give a tensor of {wanted}"
            + f", or call {method}(images)" * bool(method),
        )
        shape = list(images.shape)
        need(
            images.is_floating_point() and images.dim() == 1 + len(self.input_shape),
            f"images of {images.dtype} and shape {shape} {cannot} by a call: give {wanted}{layout_hint(shape)}"
            + f"; {method}(images) takes uint8" * bool(method),
        )
        self._check_shape(shape, cannot)

    def _check_shape(self, shape: list[int], cannot: str) -> None:
        need(
            len(shape) == 1 + len(self.input_shape) and self._reads(tuple(shape[1:])),
            f"images of shape {shape} {cannot}: give {self._wanted()}{layout_hint(shape)}",
        )

    def _wanted(self) -> str:
        return f"floats in 0..1 of shape [N, {', '.join(map(str, self.input_shape))}]"

    def _reads(self, shape: Shape) -> bool:
        """Whether the stages read images [C, H, W] of this shape: convolutions read other heights and widths."""
        if shape == self.input_shape:
            return True
        fixed = [stage for stage in self._stages if not stage.any_size]
        return not fixed and shape[0] == self.input_shape[0] and min(shape[1:]) > 0

    @own_settings()
    def encode(self, images: Pixels) -> Tensor:
        """Return the codes [N, ...] of images [N, C, H, W], a tensor or NumPy array of uint8 or of floats on a scale of 0 to 1.

        It encodes in eval mode, without gradients and in batches, on the device of the encoder, and returns the codes on the CPU.
        Raises InputError for other types, shapes and scales.
        """
        return self.through(self, images, "cannot be encoded")

    @torch.no_grad()
    def through(self, module: nn.Module, images: Pixels, cannot: str) -> Tensor:
        """Return the outputs [N, ...] of a module that begins with this encoder; arguments and errors as in `encode`."""
        found = scaled_images(images, cannot)
        weight = next(self.parameters(), torch.zeros(0))
        self._check_shape(list(found.shape), cannot)
        values = max(map(math.prod, shapes(self._stages, tuple(found.shape[1:]))))
        was_training, outputs = module.training, []
        module.eval()
        try:
            for index in chunks(len(found), values, BATCH):
                part = floats_of(found[index], cannot, MOST)
                outputs.append(module(part.to(weight.device, weight.dtype)).cpu())
        finally:
            module.train(was_training)
        return torch.cat(outputs) if outputs else torch.zeros(0)


class Decoder(Half):
    """The decoders of a stack, deepest first: codes to reconstructed images.

    Stages whose decoders need the positions of maxima beside the code (conv-pool with another `unpool` than "nearest") raise
    InputError.
    """

    @property
    def input_shape(self) -> Shape:
        """The shape of the bottleneck code, without the batch."""
        return self._stages[-1].code_shape
