"""The stack: the stages grown so far, as one autoencoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from stacked.data.formats.split import kind_of
from stacked.data.pixels import Pixels
from stacked.data.scaling import Scaling
from stacked.model.halves import Decoder, Encoder
from stacked.runtime.rng import seeded
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec, StackSpec
from stacked.stages import Stage, kinds
from stacked.stages.initialise import initialise
from stacked.stages.stage import Shape, StageSettings, shapes
from stacked.util.errors import InputError

M = TypeVar("M", bound=nn.Module)

#: stage number (from 1) -> the mask returned by its `encode_with_switches`
Switches = dict[int, Tensor | None]


class StackedAutoencoder(nn.Module):
    """An autoencoder grown stage by stage, whose `stages` are trained in place.

    `input_shape` is (C, H, W) for images, (C, L) for signals, (C, D, H, W) for volumes, or (C,) for vectors; values of images are
    floats in [0, 1]. Depth 0 is the input, depth k the code of stage k. If all stages are convolutional, images of other heights
    and widths are accepted too.

    scaling: how the floats that the stages read are scaled from the units of the data; `restored` and `encoder.encode` apply it,
    and all other methods take and return scaled floats. None: the stack reads images in [0, 1], or floats that were not
    scaled.
    """

    def __init__(self, input_shape: Shape, stages: list[Stage] | None = None, scaling: Scaling | None = None) -> None:
        super().__init__()
        self.input_shape = tuple(map(int, input_shape))
        self.scaling = scaling
        self.stages = cast("list[Stage]", nn.ModuleList())  # cast, so that items have the type Stage
        for stage in stages or []:
            self.grow(stage)
        self.register_load_state_dict_pre_hook(_accept_plain_names)

    @property
    def depth(self) -> int:
        """The number of stages grown so far."""
        return len(self.stages)

    @property
    def spec(self) -> StackSpec | None:
        """The spec that all stages were made from; None for stages made by hand, or from several specs."""
        origin = self.stages[0].origin if self.depth else None
        if origin is None or any(stage.origin != (origin[0], k) for k, stage in enumerate(self.stages, start=1)):
            return None
        spec: StackSpec = origin[0]
        return spec.first(self.depth)

    @property
    def latent_shape(self) -> Shape:
        """The shape of the bottleneck code, without the batch, for images of `input_shape`; computed without a forward pass."""
        return self.shapes(self.input_shape)[-1]

    def shapes(self, input_shape: Shape) -> list[Shape]:
        """Return the shape at each depth, 0 to `depth`, without the batch."""
        return shapes(self.stages, input_shape)

    def widest(self, input_shape: Shape) -> int:
        """Return the largest number of values at any depth, for one image of this shape."""
        return max(map(math.prod, self.shapes(input_shape)))

    def get_latent_shape(self, x: Tensor) -> torch.Size:
        """Return the shape of `encode(x)`, with the batch, without a forward pass."""
        return torch.Size([x.shape[0], *self.shapes(tuple(x.shape[1:]))[-1]])

    def grow(self, stage: Stage) -> StackedAutoencoder:
        """Add a stage on top; InputError if its input shape is not the shape of the bottleneck code."""
        if stage.in_shape != self.latent_shape:
            raise InputError(f"a stage that reads {stage.in_shape} does not fit codes of shape {self.latent_shape}")
        self.stages.append(stage)
        return self

    def freeze(self, depth: int | None = None) -> StackedAutoencoder:
        """Freeze the first `depth` stages (None: all) and unfreeze the others; frozen parameters and buffers never change."""
        return self.learn_only(self._depth(depth) + 1, self.depth)

    def learn_only(self, first: int, last: int) -> StackedAutoencoder:
        """Make stages `first` to `last` (from 1, inclusive) trainable and freeze all others."""
        for k, stage in enumerate(self.stages, start=1):
            stage.freeze(not first <= k <= last)
        return self

    def encode(self, x: Tensor, depth: int | None = None, *, start: int = 0) -> Tensor:
        """Return the code at `depth` (None: the bottleneck) of x, the code at depth `start` (0: images)."""
        for stage in self.stages[start : self._depth(depth)]:
            x = stage.encode(x)
        return x

    def decode(
        self,
        code: Tensor,
        depth: int | None = None,
        *,
        stop: int = 0,
        size: tuple[int, ...] | None = None,
        switches: Switches | None = None,
        linear: bool = False,
    ) -> Tensor:
        """Return the reconstruction at depth `stop` (0: pixels) of a code at `depth` (None: the bottleneck).

        size: the size of the encoded images, such as (H, W), if it differs from `input_shape`. switches: the masks of
        `encode_with_switches`, for decoders that need them. linear: leave out the last activation.
        """
        depth = self._depth(depth)
        sizes = [shape[1:] for shape in self.shapes((self.input_shape[0], *size))] if size else [None] * (depth + 1)
        for k in range(depth, stop, -1):
            stage, at = self.stages[k - 1], switches.get(k) if switches else None
            decode = stage.decode_linear if linear and k == stop + 1 else stage.decode
            code = decode(code, sizes[k - 1], at)
        return code

    def encode_with_switches(self, x: Tensor, depth: int | None = None, *, start: int = 0) -> tuple[Tensor, Switches]:
        """Return the code as `encode` does, and the masks of pooling stages for `decode`."""
        found: Switches = {}
        for k in range(start + 1, self._depth(depth) + 1):
            x, found[k] = self.stages[k - 1].encode_with_switches(x)
        return x, found

    def reconstruct(self, x: Tensor, depth: int | None = None, *, start: int = 0) -> Tensor:
        """Return the reconstruction of x, the code at depth `start` (0: images), by stages `start` + 1 to `depth` (None: all)."""
        code, switches = self.encode_with_switches(x, depth, start=start)
        return self.decode(code, depth, stop=start, switches=switches)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of images [B, C, H, W] by all stages."""
        other_size = tuple(x.shape[1:]) != self.input_shape
        code, switches = self.encode_with_switches(x)
        return self.decode(code, size=tuple(x.shape[2:]) if other_size else None, switches=switches)

    @own_settings()
    @torch.no_grad()
    def restored(self, values: Pixels, depth: int | None = None) -> Tensor:
        """Return the reconstructions [N, ...] of values [N, ...] from `depth` (None: the bottleneck), in the units of the data.

        values are read as by `Encoder.encode`. The reconstructions are float64 if the stack has a scaling, else float32 on a
        scale of 0 to 1, on the CPU. They are computed in eval mode and in batches. Raises InputError for values that the encoder
        does not read.
        """
        restore = Reconstructing(self, depth)
        found = self.encoder.through(restore, values, "cannot be reconstructed")
        return found if self.scaling is None else self.scaling.in_units(found)

    @property
    def encoder(self) -> Encoder:
        """All encoders as one `nn.Sequential` that shares their modules."""
        modules = [module for stage in self.stages for module in stage.encoder]
        return Encoder(modules, list(self.stages), self.scaling)

    @property
    def decoder(self) -> Decoder:
        """All decoders, deepest first, as one `nn.Sequential` that shares their modules."""
        modules = [module for stage in reversed(self.stages) for module in stage.decoder]
        return Decoder(modules, list(self.stages), self.scaling)

    def _depth(self, depth: int | None) -> int:
        if depth is None:
            return self.depth
        if not 0 <= depth <= self.depth:
            raise InputError(f"depth {depth} is not in this stack: give 0 to {self.depth}")
        return depth


class Reconstructing(nn.Module):
    """The function x -> reconstruction from `depth` of a stack, as a module."""

    def __init__(self, stack: StackedAutoencoder, depth: int | None) -> None:
        super().__init__()
        self.stack, self.depth, self.training = stack, depth, stack.training

    def forward(self, x: Tensor) -> Tensor:
        return self.stack.reconstruct(x, self.depth)


def _accept_plain_names(model: StackedAutoencoder, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Hook that loads a state dict of a plain class with two `nn.Sequential`s, `encoder` and `decoder`, into the stages."""
    halves: Mapping[str, list[tuple[int, int]]] = {
        "encoder": [(s, i) for s in range(model.depth) for i in range(len(model.stages[s].encoder))],
        "decoder": [(s, i) for s in reversed(range(model.depth)) for i in range(len(model.stages[s].decoder))],
    }
    for key in list(state):
        half, index, name = [*key.removeprefix(prefix).split(".", 2), "", ""][:3]
        if key.startswith(prefix) and half in halves and index.isdigit() and int(index) < len(halves[half]):
            stage, position = halves[half][int(index)]
            state[f"{prefix}stages.{stage}.{half}.{position}.{name}"] = state.pop(key)


def next_stage(stack: StackedAutoencoder, spec: StackSpec) -> Stage:
    """Return the next stage of `spec` for `stack`, with weights drawn from torch's global generator."""
    made = undrawn_stage(stack, spec)
    initialise(made, spec.init, spec.gain)
    return made


def undrawn_stage(stack: StackedAutoencoder, spec: StackSpec) -> Stage:
    """Return the next stage of `spec` for `stack`, with torch's own initial weights whatever the spec says."""
    k = stack.depth + 1
    stage = spec.stages[k - 1]
    settings = StageSettings(
        stack.latent_shape, stage.width, spec.norm_of(k), stage.activation, spec.decoder_activation(k), pixels=k == 1
    )
    made = kinds()[stage.kind](settings, **dict(stage.options))
    made.origin = (spec, k)
    return made


@own_settings()
def grow(stack: StackedAutoencoder, spec: RunSpec, depth: int, device: torch.device | None = None) -> None:
    """Grow the stack to `depth` on `device`; the initial weights of a stage depend only on the seed and its depth."""
    while stack.depth < depth:
        with seeded(spec.seed, "init", stack.depth + 1):
            stage = next_stage(stack, spec.stack)
        stack.grow(laid_out(stage.to(device)))


def laid_out(module: M) -> M:
    """Return `module` with its weights of two-dimensional convolutions channels-last, which train 1.4 times as fast on a CPU."""
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            if parameter.dim() == 4:
                part.to(memory_format=torch.channels_last)
                break
    return module


def build(spec: StackSpec, input_shape: Shape) -> StackedAutoencoder:
    """Return the stack of a spec, with weights drawn from torch's global generator; InputError if the images are too small."""
    check_size(spec, input_shape)
    stack = StackedAutoencoder(input_shape)
    for _ in spec.stages:
        stack.grow(next_stage(stack, spec))
    return stack


def empty_stack(spec: StackSpec, input_shape: Shape) -> StackedAutoencoder:
    """Return the stack of a spec on the device "meta", without memory for weights; InputError as in `build`."""
    check_size(spec, input_shape)
    stack = StackedAutoencoder(input_shape)
    with torch.device("meta"):
        for _ in spec.stages:
            stack.grow(undrawn_stage(stack, spec))  # drawn weights would be on the CPU
    return stack


def check_size(spec: StackSpec, input_shape: Shape) -> None:
    """Raise InputError if images of `input_shape` are too small for the stages of `spec` that halve them."""
    first = kinds()[spec.stages[0].kind]
    if first.maps and len(input_shape) - 1 not in first.ranks:
        return  # the stage itself says what it reads
    halvings = sum(kinds()[stage.kind].halves_with(**dict(stage.options)) for stage in spec.stages)
    sides = input_shape[1:] or input_shape
    if halvings and min(sides) < 2**halvings:
        size, least = (" x ".join(map(str, each)) for each in (sides, [2**halvings] * len(sides)))
        examples = kind_of(input_shape)
        values = {"images": "pixels", "volumes": "voxels"}.get(examples, "values")
        raise InputError(
            f"{examples} of {size} {values} are too small for {halvings} conv stages, which need at least "
            f"{least}: use fewer stages or larger {examples}"
        )


def AutoEncoder224(input_shape: Shape = (3, 224, 224)) -> StackedAutoencoder:  # noqa: N802 (it stands for a class)
    """The reference stack: conv stages 3-32-64-128-256-512, Conv2d/ConvTranspose2d - BatchNorm2d - ReLU, sigmoid pixels.

    Images [B, 3, 224, 224] of floats in [0, 1] (150,528 values) -> code [B, 512, 7, 7] (25,088 values, 6 times fewer);
    3,139,587 parameters. Any `input_shape` of at least 32 x 32 pixels works.
    """
    return build(StackSpec.of("conv", 32, 64, 128, 256, 512), input_shape)
