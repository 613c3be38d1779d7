"""Compression: codes of a trained stack, quantised, and packed by arithmetic coding with what was seen in training."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked.apps.codec_format import ID_BYTES, MOST_VALUES, pack, too_much, unpack
from stacked.apps.tiles import grid, some_tiles, tiled
from stacked.data.pixels import Pixels, bytes_of
from stacked.model.model_file import reading, write
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.rng import generator
from stacked.runtime.settings import own_settings
from stacked.spec import Budget, Optimisation, RunSpec, StackSpec
from stacked.training.codes import Images
from stacked.training.pretrain import pretrain
from stacked.util.checks import need, positive
from stacked.util.chunks import chunks
from stacked.util.errors import InputError
from stacked.util.serialization import to_json

FORMAT = "stacked codec 1"
#: images that are encoded or decoded at once, at most, and those on which the effect of a channel is measured
BATCH, LOOKED_AT = 250, 250
#: of a channel's standard deviation: how far it is moved to see what that does
MOVED = 0.25
#: values that a channel may take; a finer step than this needs is refused
MOST_LEVELS = 4096
#: the finest step: with a finer one a value that moves a single pixel by one grey level takes more levels than that
LEAST_STEP = 1e-6
#: values of a tile, or of what a stack makes of one on the way, at most: a quarter of a GiB
MOST_IN_TILE = 2**26
#: by how much the coder may round the probability of a value up
ROUNDED = 2.0**-11
#: bits that a payload may lack to what its symbols take, of the coder's first state
SLACK = 256
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
    """Compresses images by a trained stack; images are uint8 [N, C, H, W], tensors or NumPy arrays, of any height and width.

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
    def __init__(self, stack: StackedAutoencoder, spec: StackSpec, images: Pixels, step: float = 1.0) -> None:
        _check_step(step)
        images = _checked(images, stack.input_shape[0])
        self.stack, self.spec = stack.cpu().eval(), spec
        self._needs_nothing_else()
        codes = self._codes(images)
        need(
            bool(codes.isfinite().all()),
            "the stack gives codes that are not finite: train it with a lower learning rate",
        )
        self.mean = codes.mean((0, 2)).double().numpy()
        gains = self._gains(some_tiles(images, stack.input_shape[1:], LOOKED_AT))
        # a channel that changes nothing has an endless step: it is not kept
        self.steps = np.divide(step, gains, out=np.full_like(gains, np.inf), where=gains > 0)
        self._count(codes)

    @classmethod
    @own_settings()
    def fit(cls, images: Pixels, spec: RunSpec | None = None, *, step: float = 1.0, device: str = "cpu") -> Codec:
        """Train a stack on images of one size and make a codec of it; Diverged when a loss is not finite."""
        _check_step(step)
        images = _checked(images)
        chosen = spec or default_spec()
        stack = pretrain(chosen, Images(images), tuple(images.shape[1:]), device=device)
        return cls(stack, chosen.stack, images, step)

    @torch.no_grad()
    def _needs_nothing_else(self) -> None:
        """Raise InputError where decoders must be told more than the code."""
        where = self.stack.encode_with_switches(torch.zeros(1, *self.stack.input_shape))[1]
        need(
            all(at is None for at in where.values()),
            "a stack that unpools where its maxima were has more to send than its code: give unpool 'nearest'",
        )

    @torch.no_grad()
    def _codes(self, images: Tensor) -> Tensor:
        """Codes [tiles, channels, places] of images."""
        codes = torch.empty(self._tiles(images), *self._codes_shape)
        for place, part in self._parts(images):
            codes[place] = part
        return codes

    def _tiles(self, images: Tensor) -> int:
        return len(images) * math.prod(grid(images.shape[2:], self.stack.input_shape[1:]))

    @torch.no_grad()
    def _parts(self, images: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Codes [n, channels, places] of images and where among all they are, tiled some at a time."""
        size, widest, done = self.stack.input_shape[1:], self.stack.widest(self.stack.input_shape), 0
        for some in chunks(len(images), math.prod(grid(images.shape[2:], size)) * widest, BATCH):
            read = Images(tiled(images[some], size))
            for index in chunks(len(read), widest, BATCH):
                part = self.stack.encode(read(index)).reshape(-1, *self._codes_shape)
                yield slice(done, done + len(index)), part
                done += len(index)

    @torch.no_grad()
    def _gains(self, tiles: Tensor) -> NDArray[np.float64]:
        """How far the pixels of a tile move with each channel, per unit at one place: the norm, root mean square over tiles."""
        codes = self._codes(tiles)
        places = codes.shape[0] * codes.shape[2]
        draw, scale = generator(0, "codec"), codes.std((0, 2), correction=1 if places > 1 else 0)
        moves = [
            MOVED * deviation * (torch.randint(0, 2, codes[:, 0].shape, generator=draw) * 2 - 1) for deviation in scale
        ]
        far = torch.empty(len(moves), len(codes), dtype=torch.float64)
        for index in chunks(len(codes), self.stack.widest(self.stack.input_shape), BATCH):
            part = codes[index]
            base = self._pixels(part)
            for channel, move in enumerate(moves):
                moved = part.clone()
                moved[:, channel] += move[index]
                far[channel, index] = (self._pixels(moved) - base).square().flatten(1).sum(1, dtype=torch.float64)
        norms = [float((row.mean() / codes.shape[2]).sqrt()) for row in far]
        found = [norm / float(MOVED * by) if by > 0 else 0.0 for norm, by in zip(norms, scale, strict=True)]
        need(
            all(map(math.isfinite, found)),
            "the stack gives pixels that are not finite: train it with a lower learning rate",
        )
        return np.array(found)

    def _pixels(self, codes: Tensor) -> Tensor:
        return self.stack.decode(codes.reshape(len(codes), *self.stack.latent_shape))

    def _rounded(self, codes: Tensor) -> NDArray[np.float64]:
        return np.round((codes.double().numpy() - self.mean[:, None]) / self.steps[:, None])

    def _count(self, codes: Tensor) -> None:
        """Note which values each channel takes when its codes are rounded, and how often."""
        parts = chunks(len(codes), 2 * codes[:1].numel())
        ends = [
            (rounded.min((0, 2)), rounded.max((0, 2))) for rounded in (self._rounded(codes[index]) for index in parts)
        ]
        low, high = np.min([low for low, _ in ends], 0), np.max([high for _, high in ends], 0)
        most = float((high - low).max()) + 1  # as floats: more than an integer holds must not pass for few
        need(
            most <= MOST_LEVELS,
            f"the step is so small that a value of the code takes {most:,.0f} levels, more than {MOST_LEVELS:,}: choose a "
            "greater one",
        )
        self.low, levels = low.astype(np.int64), (high - low).astype(np.int64) + 1
        self.counts = [np.zeros(count, np.int64) for count in levels]
        for index in parts:
            rounded = (self._rounded(codes[index]) - self.low[:, None]).astype(np.int64)
            for k, count in enumerate(self.counts):
                count += np.bincount(rounded[:, k].ravel(), minlength=len(count))

    @property
    def levels(self) -> NDArray[np.int64]:
        """How many values each channel takes."""
        return np.array([len(count) for count in self.counts])

    @own_settings()
    def symbols(self, images: Pixels) -> Symbols:
        """The rounded codes [tiles, channels, places] of images, from 0; what training did not see is the nearest it saw."""
        images = _checked(images, self.stack.input_shape[0])
        symbols = np.empty((self._tiles(images), *self._codes_shape), np.int32)
        for place, codes in self._parts(images):
            symbols[place] = np.clip(self._rounded(codes) - self.low[:, None], 0, self.levels[:, None] - 1)
        return symbols

    @own_settings()
    @torch.no_grad()
    def restored(self, symbols: Symbols) -> Tensor:
        """The tiles, uint8, that the decoder makes of symbols."""
        steps = np.where(np.isfinite(self.steps), self.steps, 0)
        tiles = torch.empty(len(symbols), *self.stack.input_shape, dtype=torch.uint8)
        for index in chunks(len(symbols), self.stack.widest(self.stack.input_shape), BATCH):
            codes = (symbols[index.numpy()] + self.low[:, None]) * steps[:, None] + self.mean[:, None]
            tiles[index] = self._pixels(torch.from_numpy(codes).float()).clamp(0, 1).mul(255).round().to(torch.uint8)
        return tiles

    @own_settings()
    def encode(self, images: Sequence[Pixels] | Pixels) -> bytes:
        """The file of images, uint8 [C, H, W] each; InputError where they have other channels, or without constriction."""
        need(len(images) > 0, "there are no images to encode: give at least one")
        return pack(self.identity, [tuple(image.shape[1:]) for image in images], self.coded(self._all(images)))

    def _all(self, images: Sequence[Pixels] | Pixels) -> Symbols:
        if isinstance(images, (Tensor, np.ndarray)):
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
    def decode(self, content: bytes, name: str = "the file", *, max_megapixels: float | None = None) -> list[Tensor]:
        """The images, uint8 [C, H, W], of a file that `encode` wrote.

        max_megapixels: of all images together (None: 89). Raises InputError where it is no such file, asks for more, or is of
        another model, damaged or cut short.
        """
        channels, height, width = self.stack.input_shape
        most = MOST_VALUES if max_megapixels is None else int(3e6 * max_megapixels)
        packed = unpack(content, self.identity, name, (channels, height, width), most)
        grids = [grid(size, (height, width)) for size in packed.sizes]
        count = sum(a * b for a, b in grids)
        need(count * math.prod(self._codes_shape) <= most, too_much(name, most))
        tiles = self.restored(self.decoded(packed.payload, count, name))
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
        need(8 * len(payload) + SLACK >= tiles * places * self._fewest_bits(), broken)  # before room is made for them
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

    def _fewest_bits(self) -> float:
        """What the most frequent values of all channels take together, at one place of one tile."""
        most = [(count.max() + UNSEEN) / (count.sum() + UNSEEN * len(count)) for count in self.counts if len(count) > 1]
        return -sum(math.log2(min(1.0, share + ROUNDED)) for share in most)

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
            widest = codec.stack.widest(content.shape)
            need(widest <= MOST_IN_TILE, f"its tiles have {widest:,} values on the way, more than {MOST_IN_TILE:,}")
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


def _check_step(step: float) -> None:
    """Raise InputError for a step that is no finite number above 0, or too small for any code that shows in the pixels."""
    positive(step, "step")
    need(
        step >= LEAST_STEP,
        f"step {step!r} is too small for {MOST_LEVELS:,} levels a value: give at least {LEAST_STEP:g}",
    )


def _checked(images: Pixels, channels: int | None = None) -> Tensor:
    """Images as a tensor; InputError unless they are uint8 [N, C, H, W], of so many `channels`."""
    wanted = f"uint8 [N, {'C' if channels is None else channels}, H, W]"
    found = bytes_of(images, "cannot be compressed", wanted)
    need(
        channels in (None, found.shape[1]) and found.numel() > 0,
        f"images of {found.dtype} and shape {list(found.shape)} cannot be compressed: give {wanted}",
    )
    return found


def _constriction() -> Any:
    need(
        importlib.util.find_spec("constriction") is not None,
        "compression needs the package constriction: pip install 'stacked[compression]'",
    )
    import constriction

    return constriction
