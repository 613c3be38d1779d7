"""Compression: codes of a trained stack, quantised, and packed by arithmetic coding with what was seen in training."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked.checks import need, positive
from stacked.codes import Images
from stacked.errors import InputError
from stacked.model_file import reading, write
from stacked.packed import ID_BYTES, pack, unpack
from stacked.plain import to_json
from stacked.pretrain import pretrain
from stacked.rng import generator
from stacked.settings import own_settings
from stacked.spec import Budget, Optimisation, RunSpec, StackSpec
from stacked.stack import StackedAutoencoder

FORMAT = "stacked codec 1"
#: images that are encoded or decoded at once, and those on which the effect of a channel is measured
BATCH, LOOKED_AT = 250, 250
#: of a channel's standard deviation: how far it is moved to see what that does
MOVED = 0.25
#: values that a channel may take; a finer step than this needs is refused
MOST_LEVELS = 4096
#: what is added to the count of each value: what did not occur in training may occur
UNSEEN = 0.5

Symbols = NDArray[np.int32]


def default_spec() -> RunSpec:
    """Two convolutional stages and a linear code of 128, grown layer-wise and then trained end to end."""
    stages = *StackSpec.of("conv", 16, 32).stages, *StackSpec.of("dense", 128, activation="linear").stages
    return RunSpec(
        stack=StackSpec(stages),
        budget=Budget((1500.0,), 4500.0, "updates"),
        optimisation=Optimisation(batch_size=64, schedule="cosine"),
    )


class Codec:
    """Compresses images by a trained stack; images are uint8 [N, C, H, W], of any height and width.

    An image is cut into tiles of the size that the stack was trained on, its last row and column repeated where they do not
    fill one. Of a tile's code every channel (of a vector: every value) is rounded to multiples of its own step, which is
    chosen so that rounding any of them does the same to the pixels: `step` over how far the pixels move, in their Euclidean
    norm, with the channel. The rounded values are packed by an asymmetric numeral system (Duda 2013) with the frequencies that
    they had in training, which needs the package constriction. `symbols` are restored exactly; pixels are as the decoder makes
    them of these, which another CPU or number of threads may round to the neighbouring grey level.

    stack, spec: a trained stack and what it was built as. images: those it was trained on. step: in units of a pixel's
    full range; greater is smaller files. Raises InputError for parameters that are none of these.
    """

    @own_settings()
    def __init__(self, stack: StackedAutoencoder, spec: StackSpec, images: Tensor, step: float = 1.0) -> None:
        positive(step, "step")
        _check(images, stack.input_shape[0])
        self.stack, self.spec = stack.cpu().eval(), spec
        self._needs_nothing_else()
        tiles = tiled(images, stack.input_shape[1:])
        codes = self._codes(tiles)
        self.mean = codes.mean((0, 2)).double().numpy()
        gains = self._gains(tiles[:: max(1, len(tiles) // LOOKED_AT)][:LOOKED_AT])
        # a channel that changes nothing has an endless step: it is not kept
        self.steps = np.divide(step, gains, out=np.full_like(gains, np.inf), where=gains > 0)
        self._count(self._rounded(codes))

    @classmethod
    @own_settings()
    def fit(cls, images: Tensor, spec: RunSpec | None = None, *, step: float = 1.0, device: str = "cpu") -> Codec:
        """Train a stack on images of one size and make a codec of it; Diverged when a loss is not finite."""
        _check(images)
        chosen = spec or default_spec()
        stack = pretrain(chosen, Images(images), tuple(images.shape[1:]), device=device)
        return cls(stack, chosen.stack, images, step)

    @torch.no_grad()
    def _needs_nothing_else(self) -> None:
        """Raise InputError where decoders must be told more than the code."""
        where = self.stack.encode_where(torch.zeros(1, *self.stack.input_shape))[1]
        need(
            all(at is None for at in where.values()),
            "a stack that unpools where its maxima were has more to send than its code: give unpool 'nearest'",
        )

    @torch.no_grad()
    def _codes(self, tiles: Tensor) -> Tensor:
        """Codes [N, channels, places]."""
        read = Images(tiles)
        parts = [self.stack.encode(read(index)) for index in torch.arange(len(tiles)).split(BATCH)]
        codes = torch.cat(parts)
        return codes.flatten(2) if codes.dim() > 2 else codes[..., None]

    @torch.no_grad()
    def _gains(self, tiles: Tensor) -> NDArray[np.float64]:
        """How far the pixels of a tile move with each channel, per unit at one place: the norm, root mean square over tiles."""
        codes = self._codes(tiles)
        base, scale = self._pixels(codes), codes.std((0, 2))
        draw = generator(0, "codec")
        found = []
        for channel, deviation in enumerate(scale):
            sign = torch.randint(0, 2, codes[:, channel].shape, generator=draw) * 2 - 1
            moved = codes.clone()
            moved[:, channel] += MOVED * deviation * sign
            far = (self._pixels(moved) - base).square().flatten(1).sum(1, dtype=torch.float64).mean() / codes.shape[2]
            found.append(float(far.sqrt() / (MOVED * deviation)) if deviation > 0 else 0.0)
        return np.array(found)

    def _pixels(self, codes: Tensor) -> Tensor:
        return self.stack.decode(codes.reshape(len(codes), *self.stack.latent_shape))

    def _rounded(self, codes: Tensor) -> NDArray[np.float64]:
        return np.round((codes.double().numpy() - self.mean[:, None]) / self.steps[:, None])

    def _count(self, rounded: NDArray[np.float64]) -> None:
        """Note which values each channel takes, and how often."""
        self.low = rounded.min((0, 2)).astype(np.int64)
        levels = (rounded.max((0, 2)) - self.low).astype(np.int64) + 1
        need(
            int(levels.max()) <= MOST_LEVELS,
            f"the step is so small that a value of the code takes {levels.max():,} levels, more than {MOST_LEVELS:,}: "
            "choose a greater one",
        )
        self.counts = [
            np.bincount((rounded[:, k].ravel() - self.low[k]).astype(np.int64), minlength=levels[k]).astype(np.int64)
            for k in range(len(self.low))
        ]

    @property
    def levels(self) -> NDArray[np.int64]:
        """How many values each channel takes."""
        return np.array([len(count) for count in self.counts])

    @own_settings()
    def symbols(self, images: Tensor) -> Symbols:
        """The rounded codes [tiles, channels, places] of images, from 0; what training did not see is the nearest it saw."""
        _check(images, self.stack.input_shape[0])
        rounded = self._rounded(self._codes(tiled(images, self.stack.input_shape[1:])))
        return np.clip(rounded - self.low[:, None], 0, self.levels[:, None] - 1).astype(np.int32)

    @own_settings()
    @torch.no_grad()
    def restored(self, symbols: Symbols) -> Tensor:
        """The tiles, uint8, that the decoder makes of symbols."""
        steps = np.where(np.isfinite(self.steps), self.steps, 0)
        codes = torch.from_numpy((symbols + self.low[:, None]) * steps[:, None] + self.mean[:, None]).float()
        parts = [self._pixels(part).clamp(0, 1).mul(255).round().to(torch.uint8) for part in codes.split(BATCH)]
        return torch.cat(parts)

    @own_settings()
    def encode(self, images: Sequence[Tensor] | Tensor) -> bytes:
        """The file of images, uint8 [C, H, W] each; InputError where they have other channels, or without constriction."""
        need(len(images) > 0, "there are no images to encode: give at least one")
        return pack(self.identity, [tuple(image.shape[1:]) for image in images], self.coded(self._all(images)))

    def _all(self, images: Sequence[Tensor] | Tensor) -> Symbols:
        if isinstance(images, Tensor):
            return self.symbols(images)
        return np.concatenate([self.symbols(image[None]) for image in images])

    def coded(self, symbols: Symbols) -> bytes:
        """Symbols as bytes, channel by channel."""
        coder = _constriction().stream.stack.AnsCoder()
        models = self._models()
        for k in reversed(range(len(models))):  # what is packed last is unpacked first
            if models[k] is not None:
                coder.encode_reverse(np.ascontiguousarray(symbols[:, k]).ravel(), models[k])
        return coder.get_compressed().astype("<u4").tobytes()

    def _models(self) -> list[Any]:
        """The distribution of each channel; None where it is certain."""
        categorical = _constriction().stream.model.Categorical
        return [
            categorical((count + UNSEEN) / (count.sum() + UNSEEN * len(count)), perfect=False)
            if len(count) > 1
            else None
            for count in self.counts
        ]

    @own_settings()
    def decode(self, content: bytes, name: str = "the file") -> list[Tensor]:
        """The images, uint8 [C, H, W], of a file that `encode` wrote.

        Raises InputError where it is none, or of another model, damaged or cut short.
        """
        channels, height, width = self.stack.input_shape
        packed = unpack(content, self.identity, name, (channels, height, width))
        grids = [(-(-h // height), -(-w // width)) for h, w in packed.sizes]
        tiles = self.restored(self.decoded(packed.payload, sum(a * b for a, b in grids), name))
        images, at = [], 0
        for (down, across), (h, w) in zip(grids, packed.sizes, strict=True):
            part = tiles[at : at + down * across].view(down, across, channels, height, width)
            images.append(part.permute(2, 0, 3, 1, 4).reshape(channels, down * height, across * width)[:, :h, :w])
            at += down * across
        return images

    def decoded(self, payload: bytes, tiles: int, name: str = "the file") -> Symbols:
        """The symbols of so many tiles; InputError where the bytes are not theirs."""
        broken = f"{name} does not hold what its head says: encode its images anew"
        need(len(payload) % 4 == 0, broken)
        places = self._codes_shape[1]
        try:
            coder = _constriction().stream.stack.AnsCoder(np.frombuffer(payload, "<u4").astype(np.uint32))
            symbols = np.zeros((tiles, len(self.counts), places), dtype=np.int32)
            for k, model in enumerate(self._models()):
                if model is not None:
                    symbols[:, k] = coder.decode(model, tiles * places).reshape(tiles, places)
        except ValueError as error:
            raise InputError(broken) from error
        need(coder.is_empty(), broken)
        return symbols

    @property
    def _codes_shape(self) -> tuple[int, int]:
        channels, *places = self.stack.latent_shape
        return channels, int(np.prod(places))

    @property
    def identity(self) -> bytes:
        """What tells this model from others in the files it writes."""
        digest = hashlib.sha256((to_json(self.spec) + repr(tuple(self.stack.input_shape))).encode())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return digest.digest()[:ID_BYTES]

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"stack.{name}": tensor.detach() for name, tensor in self.stack.state_dict().items()}
        arrays = (self.mean, self.steps, self.low, self.levels, np.concatenate(self.counts))
        return tensors | {name: torch.from_numpy(array) for name, array in zip(ARRAYS, arrays, strict=True)}

    @own_settings()
    def save(self, path: str | Path) -> None:
        """Write the codec to a file; InputError when the place cannot be written."""
        write(Path(path), FORMAT, self._tensors(), self.spec, self.stack.input_shape, {})

    @classmethod
    @own_settings()
    def load(cls, path: str | Path) -> Codec:
        """The codec that `save` wrote, which may be anyone's; InputError when the file is none."""
        with reading(path, FORMAT, "a codec {reason}: give a file that Codec.save wrote") as content:
            codec = cls.__new__(cls)
            mean, steps, low, levels, counts = (content.tensors.pop(name).numpy() for name in ARRAYS)
            codec.stack, codec.spec = content.empty(), content.spec
            content.fill(codec.stack, "stack.")
            codec.stack.eval()
            channels = (codec._codes_shape[0],)
            kinds = [(array.dtype, array.shape) for array in (mean, steps, low, levels)]
            real, integer = (np.dtype(np.float64), channels), (np.dtype(np.int64), channels)
            need(kinds == [real, real, integer, integer], "its arrays do not fit its stack")
            need(bool(np.isfinite(mean).all() and (steps > 0).all()), "its steps are none")
            need(bool((levels >= 1).all() and (levels <= MOST_LEVELS).all()), "its levels are none")
            need(bool((np.abs(low) < 2**31).all()), "its lowest levels are none")
            need(counts.dtype == np.int64 and counts.shape == (levels.sum(),), "its counts do not fit its levels")
            need(bool((counts >= 0).all() and (counts < 2**53).all()), "its counts are none")
            codec.mean, codec.steps, codec.low = mean, steps, low
            codec.counts = np.split(counts, np.cumsum(levels)[:-1])
        return codec


#: what a codec has beside its stack
ARRAYS = ("mean", "steps", "low", "levels", "counts")


def tiled(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images [N, C, H, W] as tiles [N * n, C, *size], row by row, the last row and column repeated where one is not full."""
    height, width = size
    down, across = -(-images.shape[2] // height), -(-images.shape[3] // width)
    rows = torch.arange(down * height).clamp_max(images.shape[2] - 1)
    columns = torch.arange(across * width).clamp_max(images.shape[3] - 1)
    full = images[:, :, rows][..., columns].unflatten(3, (across, width)).unflatten(2, (down, height))
    return full.permute(0, 2, 4, 1, 3, 5).reshape(-1, images.shape[1], height, width)


def _check(images: Tensor, channels: int | None = None) -> None:
    fits = channels is None or (images.dim() == 4 and images.shape[1] == channels)
    need(
        images.dtype == torch.uint8 and images.dim() == 4 and fits and images.numel() > 0,
        f"images of {images.dtype} and shape {list(images.shape)} cannot be compressed: give uint8 "
        f"[N, {'C' if channels is None else channels}, H, W]",
    )


def _constriction() -> Any:
    need(
        importlib.util.find_spec("constriction") is not None,
        "compression needs the package constriction: pip install 'stacked[compression]'",
    )
    import constriction

    return constriction
