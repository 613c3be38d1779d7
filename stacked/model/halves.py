"""The two halves of a stack: all its encoders, or all its decoders, as one sequence of modules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from stacked.data.pixels import Pixels, as_numbers, floats_of, scaled_images
from stacked.data.scaling import Scaling
from stacked.data.table import is_table
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
    """All encoders, or all decoders, of a stack as one sequence that shares their modules; frozen stages stay in eval mode.

    scaling: how the floats that the stages read are scaled from the units of the data (None: images in [0, 1], or floats that
    were not scaled).
    """

    def __init__(self, modules: list[nn.Module], stages: list[Stage], scaling: Scaling | None = None) -> None:
        super().__init__(*modules)
        self._stages = tuple(stages)  # in a tuple, so that they are not registered as submodules
        self.scaling = scaling

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
    """The encoders of a stack: inputs [N, ...], floats as the stages read them, to codes; `encode` takes data in their units."""

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
            f"images of {images.dtype} and shape {shape} {cannot} by a call: give {wanted}{self._hint(shape)}"
            + f"; {method}(images) takes uint8" * bool(method),
        )
        self._check_shape(shape, cannot)

    def _check_shape(self, shape: list[int], cannot: str) -> None:
        need(
            len(shape) == 1 + len(self.input_shape) and self._reads(tuple(shape[1:])),
            f"images of shape {shape} {cannot}: give {self._wanted()}{self._hint(shape)}",
        )

    def _hint(self, shape: list[int]) -> str:
        """Return a hint at what an input of this shape may lack, if the encoder reads images."""
        return layout_hint(shape) if len(self.input_shape) == 3 else ""

    def _wanted(self) -> str:
        scale = " in 0..1" * (self.scaling is None and len(self.input_shape) == 3)
        return f"floats{scale} of shape [N, {', '.join(map(str, self.input_shape))}]"

    def _reads(self, shape: Shape) -> bool:
        """Whether the stages read images [C, H, W] of this shape: convolutions read other heights and widths."""
        if shape == self.input_shape:
            return True
        fixed = [stage for stage in self._stages if not stage.any_size]
        return not fixed and shape[0] == self.input_shape[0] and min(shape[1:]) > 0

    @own_settings()
    def encode(self, images: Pixels) -> Tensor:
        """Return the codes [N, ...] of values [N, ...], a tensor or NumPy array of examples of the `input_shape`.

        An encoder with a `scaling` takes any real numbers in the units of the data, and scales them; one that was trained on a
        pandas DataFrame also takes another with the same columns, in any order. Other encoders take uint8,
        or floats as they were trained on: images [N, C, H, W] on a scale of 0 to 1. It encodes in eval mode, without gradients
        and in batches, on the device of the encoder, and returns the codes on the CPU. Raises InputError for other types, shapes
        and scales, and for values that are not finite.
        """
        return self.through(self, images, "cannot be encoded")

    @torch.no_grad()
    def through(self, module: nn.Module, images: Pixels, cannot: str) -> Tensor:
        """Return the outputs [N, ...] of a module that begins with this encoder; arguments and errors as in `encode`."""
        found = self.tensor_of(images, cannot)
        weight = next(self.parameters(), torch.zeros(0))
        self._check_shape(list(found.shape), cannot)
        values = max(map(math.prod, shapes(self._stages, tuple(found.shape[1:]))))
        was_training, outputs = module.training, []
        module.eval()
        try:
            for index in chunks(len(found), values, BATCH):
                part = self.floats_of(found[index], cannot)
                outputs.append(module(part.to(weight.device, weight.dtype)).cpu())
        finally:
            module.train(was_training)
        return torch.cat(outputs) if outputs else torch.zeros(0)

    def tensor_of(self, values: Pixels, cannot: str) -> Tensor:
        """Return data of the encoder's kind as a tensor, in their own units; InputError for another type."""
        if is_table(values):
            need(self.scaling is not None, f"a table {cannot}: give {self._wanted()}")
            assert self.scaling is not None
            return torch.from_numpy(self.scaling.numbers_of(values, "the table"))
        if self.scaling is None and len(self.input_shape) == 3:
            return scaled_images(values, cannot)
        shape = f"[N, {', '.join(map(str, self.input_shape))}]"
        return as_numbers(values, cannot, f"numbers of shape {shape}, in the units of the training data")

    def floats_of(self, values: Tensor, cannot: str) -> Tensor:
        """Return the data of `tensor_of` as the stages read them; InputError for values not finite or on another scale."""
        if self.scaling is None:
            return floats_of(values, cannot, MOST if len(self.input_shape) == 3 else math.inf)
        need(
            bool(values.isfinite().all()),
            f"values that are not finite {cannot}: fill them in, or leave out these examples",
        )
        return self.scaling.scaled(values)


class Decoder(Half):
    """The decoders of a stack, deepest first: codes to reconstructions, floats as the stages read them.

    Stages whose decoders need the positions of maxima beside the code (conv-pool with another `unpool` than "nearest") raise
    InputError.
    """

    @property
    def input_shape(self) -> Shape:
        """The shape of the bottleneck code, without the batch."""
        return self._stages[-1].code_shape

    @property
    def output_shape(self) -> Shape:
        """The shape of a reconstruction, without the batch."""
        return self._stages[0].in_shape
