"""Image compression: quantised codes of a trained stack, entropy-coded with the frequencies of the training images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked.apps.codec.entropy_coding import Symbols, compress, decompress
from stacked.apps.codec.format import ID_BYTES, MOST_VALUES, most_images, pack, too_much, unpack
from stacked.apps.tiles import grid, some_tiles, tiled
from stacked.data.pixels import Pixels, bytes_of
from stacked.data.table import is_table
from stacked.evaluation.evaluate import varies
from stacked.model.model_file import reading, write
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.progress import each
from stacked.runtime.rng import generator
from stacked.runtime.settings import own_settings
from stacked.spec import Budget, Optimisation, RunSpec, StackSpec
from stacked.stages.stage import Shape
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from stacked.util.checks import need, positive
from stacked.util.chunks import chunks
from stacked.util.serialization import to_json

FORMAT = "stacked codec 1"
#: the most images that are encoded or decoded at a time, and on which the effect of a channel is measured
BATCH, LOOKED_AT = 250, 250
#: by how much a channel is changed to measure its effect, as a fraction of its standard deviation
MOVED = 0.25
#: the most values that a channel may take; a smaller step than this allows is refused
MOST_LEVELS = 4096
#: the smallest step: with a smaller one, a value that changes a single pixel by one grey level takes more than MOST_LEVELS values
LEAST_STEP = 1e-6
#: the number of tiles above which runs of equal ones are decoded once, so that the work is bounded by the size of the file
MANY_TILES = 2**12
#: the most values of a tile or of its codes at any depth: a quarter of a GiB
MOST_IN_TILE = 2**26


def default_spec() -> RunSpec:
    """Return the default spec: two convolutional stages and a linear code of 128, trained greedily and then end to end."""
    stages = *StackSpec.of("conv", 16, 32).stages, *StackSpec.of("dense", 128, activation="linear").stages
    return RunSpec(
        stack=StackSpec(stages),
        budget=Budget((1500.0,), 4500.0, "updates"),
        optimisation=Optimisation(batch_size=64, schedule="cosine"),
    )


class Codec:
    """Compresses images, uint8 [N, C, H, W] of any height and width (tensors or NumPy arrays), with a trained stack.

    An image is cut into tiles of the size that the stack was trained on; incomplete tiles repeat the last row and column. Each
    channel of a tile's code (each value, if the code is a vector) is rounded to multiples of a step of its own. The steps are
    chosen so that rounding any channel changes the pixels equally: a step is `step` divided by the Euclidean norm of the change
    in pixels per unit of the channel. The rounded values, or symbols, are coded by an asymmetric numeral system (Duda 2013) with
    their frequencies in the training images, which needs the package constriction. Symbols are restored exactly; pixels are
    decoded from them, and another CPU or number of threads may round these to a neighbouring grey level.

    stack, spec: a trained stack and its spec. images: its training images. step: in units of a pixel's full range; a larger
    step makes smaller files. Raises InputError for invalid parameters, and for a stack that restores all images alike.
    """

    @own_settings()
    def __init__(self, stack: StackedAutoencoder, spec: StackSpec, images: Pixels, step: float = 1.0) -> None:
        _check_step(step, stack.input_shape)
        images = _checked(images, stack.input_shape[0])
        self.stack, self.spec = stack.cpu().eval(), spec
        self._check_decodable()
        codes = self._codes(images)
        need(
            bool(codes.isfinite().all()),
            "the stack's codes are not finite: train it with a lower learning rate",
        )
        self.mean = codes.mean((0, 2)).double().numpy()
        tiles = some_tiles(images, stack.input_shape[1:], LOOKED_AT)
        gains = self._gains(tiles)
        need(
            bool((gains > 0).any()) or not varies(tiles),
            "no channel of the stack's code changes the pixels, so that all images would be restored alike: train it longer or "
            "with another learning rate",
        )
        # a channel that does not change the pixels gets an infinite step and is not stored
        self.steps = np.divide(step, gains, out=np.full_like(gains, np.inf), where=gains > 0)
        self._count(codes)

    @classmethod
    @own_settings()
    def fit(cls, images: Pixels, spec: RunSpec | None = None, *, step: float = 1.0, device: str = "cpu") -> Codec:
        """Train a stack on images of one size and return its codec; Diverged if a loss is not finite.

        Raises InputError for images that differ but whose codes are all rounded to the same value.
        """
        images = _checked(images)
        _check_step(step, tuple(images.shape[1:]))
        chosen = spec or default_spec()
        stack = pretrain(chosen, StoredInputs(images), tuple(images.shape[1:]), device=device)
        codec = cls(stack, chosen.stack, images, step)
        need(
            int(codec.levels.max()) > 1 or not varies(images),
            f"every code of the training images is rounded to the same value with step {step!r}, so that all images would be "
            "restored alike: give a smaller step, or train longer",
        )
        return codec

    @torch.no_grad()
    def _check_decodable(self) -> None:
        """Raise InputError if decoders need more than the code."""
        switches = self.stack.encode_with_switches(torch.zeros(1, *self.stack.input_shape))[1]
        need(
            all(mask is None for mask in switches.values()),
            "the stack's decoders need the positions of maxima, which a codec does not store: use unpool 'nearest'",
        )

    @torch.no_grad()
    def _codes(self, images: Tensor) -> Tensor:
        """Return the codes [tiles, channels, positions] of images."""
        codes = torch.empty(self._tiles(images), *self._codes_shape)
        for place, part in self._parts(images):
            codes[place] = part
        return codes

    def _tiles(self, images: Tensor) -> int:
        return len(images) * math.prod(grid(images.shape[2:], self.stack.input_shape[1:]))

    @torch.no_grad()
    def _parts(self, images: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of the tiles and their codes [n, channels, positions], some images at a time."""
        size, widest, done = self.stack.input_shape[1:], self.stack.widest(self.stack.input_shape), 0
        parts = chunks(len(images), math.prod(grid(images.shape[2:], size)) * widest, BATCH)
        for some in each(parts, "encoded", "batches of images"):
            read = StoredInputs(tiled(images[some], size))
            for index in chunks(len(read), widest, BATCH):
                part = self.stack.encode(read(index)).reshape(-1, *self._codes_shape)
                yield slice(done, done + len(index)), part
                done += len(index)

    @torch.no_grad()
    def _gains(self, tiles: Tensor) -> NDArray[np.float64]:
        """Return how far the pixels of a tile move per unit of each channel at one position: the norm, RMS over tiles."""
        codes = self._codes(tiles)
        places = codes.shape[0] * codes.shape[2]
        draw, scale = generator(0, "codec"), codes.std((0, 2), correction=1 if places > 1 else 0)
        moves = [
            MOVED * deviation * (torch.randint(0, 2, codes[:, 0].shape, generator=draw) * 2 - 1) for deviation in scale
        ]
        far = torch.empty(len(moves), len(codes), dtype=torch.float64)
        parts = chunks(len(codes), self.stack.widest(self.stack.input_shape), BATCH)
        for index in each(parts, "effects of channels", "batches of images"):
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
            "the stack's pixels are not finite: train it with a lower learning rate",
        )
        return np.array(found)

    def _pixels(self, codes: Tensor) -> Tensor:
        return self.stack.decode(codes.reshape(len(codes), *self.stack.latent_shape))

    def _rounded(self, codes: Tensor) -> NDArray[np.float64]:
        return np.round((codes.double().numpy() - self.mean[:, None]) / self.steps[:, None])

    def _count(self, codes: Tensor) -> None:
        """Count the values of each channel's rounded codes."""
        parts = chunks(len(codes), 2 * codes[:1].numel())
        ends = [
            (rounded.min((0, 2)), rounded.max((0, 2))) for rounded in (self._rounded(codes[index]) for index in parts)
        ]
        low, high = np.min([low for low, _ in ends], 0), np.max([high for _, high in ends], 0)
        most = float((high - low).max()) + 1  # in float, because the number can exceed the range of an integer
        need(
            most <= MOST_LEVELS,
            f"the step is so small that a value of the code takes {most:,.0f} levels, more than {MOST_LEVELS:,}: give a larger "
            "step",
        )
        self.low, levels = low.astype(np.int64), (high - low).astype(np.int64) + 1
        self.counts = [np.zeros(count, np.int64) for count in levels]
        for index in parts:
            rounded = (self._rounded(codes[index]) - self.low[:, None]).astype(np.int64)
            for k, count in enumerate(self.counts):
                count += np.bincount(rounded[:, k].ravel(), minlength=len(count))

    @property
    def levels(self) -> NDArray[np.int64]:
        """The number of values of each channel."""
        return np.array([len(count) for count in self.counts])

    @own_settings()
    def symbols(self, images: Pixels) -> Symbols:
        """Return the rounded codes [tiles, channels, positions] of images, from 0, clipped to the range seen in training."""
        images = _checked(images, self.stack.input_shape[0])
        symbols = np.empty((self._tiles(images), *self._codes_shape), np.int32)
        for place, codes in self._parts(images):
            symbols[place] = np.clip(self._rounded(codes) - self.low[:, None], 0, self.levels[:, None] - 1)
        return symbols

    @own_settings()
    @torch.no_grad()
    def reconstruct(self, symbols: Symbols) -> Tensor:
        """Return the tiles, uint8 [tiles, C, H, W], decoded from symbols."""
        steps = np.where(np.isfinite(self.steps), self.steps, 0)
        tiles = torch.empty(len(symbols), *self.stack.input_shape, dtype=torch.uint8)
        parts = chunks(len(symbols), self.stack.widest(self.stack.input_shape), BATCH)
        for index in each(parts, "decoded", "batches of images"):
            codes = (symbols[index.numpy()] + self.low[:, None]) * steps[:, None] + self.mean[:, None]
            tiles[index] = self._pixels(torch.from_numpy(codes).float()).clamp(0, 1).mul(255).round().to(torch.uint8)
        return tiles

    def _reconstruct_runs(self, symbols: Symbols) -> Tensor:
        """Return the tiles of symbols; equal neighbours among many, which can take no bytes, are decoded once."""
        first = np.flatnonzero(np.r_[True, (symbols[1:] != symbols[:-1]).any((1, 2))])
        if len(symbols) <= MANY_TILES or 2 * len(first) > len(symbols):
            return self.reconstruct(symbols)
        lengths = torch.from_numpy(np.diff(np.r_[first, len(symbols)]))
        return self.reconstruct(symbols[first]).repeat_interleave(lengths, 0)

    @own_settings()
    def encode(self, images: Sequence[Pixels] | Pixels) -> bytes:
        """Return images, uint8 [C, H, W] each, as a file.

        Raises InputError if they have other channels, constriction is missing, or they are more than `decode` reads from a file
        of its size.
        """
        need(len(images) > 0, "there are no images to encode: give at least one")
        payload = self.compress_symbols(self._all(images))
        allowed = most_images(len(payload))
        need(
            len(images) <= allowed,
            f"{len(images):,} images take {len(payload):,} bytes with this codec, and at most {allowed:,} are read from so few: "
            "encode them in several files, or give a codec with a smaller step",
        )
        return pack(self.identity, [tuple(image.shape[1:]) for image in images], payload)

    def _all(self, images: Sequence[Pixels] | Pixels) -> Symbols:
        if isinstance(images, (Tensor, np.ndarray)):
            return self.symbols(images)
        return np.concatenate([self.symbols(image[None]) for image in each(images, "images")])

    def compress_symbols(self, symbols: Symbols) -> bytes:
        """Return symbols as bytes, channel by channel."""
        return compress(symbols, self.counts)

    @own_settings()
    def decode(self, content: bytes, name: str = "the file", *, max_megapixels: float | None = None) -> list[Tensor]:
        """Return the images, uint8 [C, H, W], in a file that `encode` wrote.

        max_megapixels: limit for all images together (None: 89). Raises InputError if it is no such file, exceeds the limit,
        was written with another model, or is damaged.
        """
        channels, height, width = self.stack.input_shape
        most = MOST_VALUES if max_megapixels is None else int(3e6 * max_megapixels)
        file = unpack(content, self.identity, name, (channels, height, width), most)
        grids = [grid(size, (height, width)) for size in file.sizes]
        count = sum(a * b for a, b in grids)
        need(count * math.prod(self._codes_shape) <= most, too_much(name, most))
        tiles = self._reconstruct_runs(self.decompress_symbols(file.payload, count, name))
        images, at = [], 0
        for (down, across), (h, w) in zip(grids, file.sizes, strict=True):
            part = tiles[at : at + down * across].view(down, across, channels, height, width)
            images.append(part.permute(2, 0, 3, 1, 4).reshape(channels, down * height, across * width)[:, :h, :w])
            at += down * across
        return images

    def decompress_symbols(self, payload: bytes, tiles: int, name: str = "the file") -> Symbols:
        """Return the symbols of this number of tiles; InputError naming the file if the bytes do not hold exactly these."""
        return decompress(payload, self.counts, tiles, self._codes_shape[1], name)

    @property
    def _codes_shape(self) -> tuple[int, int]:
        channels, *places = self.stack.latent_shape
        return channels, int(np.prod(places))

    @property
    def identity(self) -> bytes:
        """The id of this model in the files that it writes."""
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
        """Write the codec to a file; InputError if it cannot be written."""
        write(Path(path), FORMAT, self._tensors(), self.spec, self.stack.input_shape, {})

    @classmethod
    @own_settings()
    def load(cls, path: str | Path) -> Codec:
        """Return a codec that `save` wrote; the file need not be trusted. Raises InputError if it is invalid."""
        with reading(path, FORMAT, "a codec {reason}: give a file that Codec.save wrote") as content:
            codec = cls.__new__(cls)
            mean, steps, low, levels, counts = (content.tensors.pop(name).numpy() for name in ARRAYS)
            codec.stack, codec.spec = content.empty(), content.spec
            widest = codec.stack.widest(content.shape)
            need(widest <= MOST_IN_TILE, f"its codes have up to {widest:,} values, more than {MOST_IN_TILE:,}")
            content.fill(codec.stack, "stack.")
            codec.stack.eval()
            channels = (codec._codes_shape[0],)
            kinds = [(array.dtype, array.shape) for array in (mean, steps, low, levels)]
            real, integer = (np.dtype(np.float64), channels), (np.dtype(np.int64), channels)
            need(kinds == [real, real, integer, integer], "its arrays do not fit its stack")
            need(bool(np.isfinite(mean).all() and (steps > 0).all()), "its means or steps are invalid")
            need(bool((levels >= 1).all() and (levels <= MOST_LEVELS).all()), "its levels are invalid")
            need(bool((np.abs(low) < 2**31).all()), "its lowest levels are invalid")
            need(counts.dtype == np.int64 and counts.shape == (levels.sum(),), "its counts do not fit its levels")
            need(bool((counts >= 0).all() and (counts < 2**53).all()), "its counts are invalid")
            codec.mean, codec.steps, codec.low = mean, steps, low
            codec.counts = np.split(counts, np.cumsum(levels)[:-1])
        return codec


#: arrays of a codec, beside its stack
ARRAYS = ("mean", "steps", "low", "levels", "counts")


def _check_step(step: float, shape: Shape) -> None:
    """Raise InputError unless the step is at least LEAST_STEP, and at most twice what a tile of this shape can change by.

    A larger step would round every code to the same value.
    """
    positive(step, "step")
    need(
        step >= LEAST_STEP,
        f"step {step!r} is too small for {MOST_LEVELS:,} levels a value: give at least {LEAST_STEP:g}",
    )
    most = 2 * math.sqrt(math.prod(shape))
    need(
        step <= most,
        f"step {step!r} is larger than any change of images of shape {list(shape)} needs: give at most {most:.4g}",
    )


def _checked(images: Pixels, channels: int | None = None) -> Tensor:
    """Return images as a tensor; InputError unless they are uint8 [N, C, H, W] with this number of `channels` (None: any)."""
    wanted = f"uint8 [N, {'C' if channels is None else channels}, H, W]"
    kind = "table" if is_table(images) else str(getattr(images, "dtype", ""))
    need(
        not ("float" in kind or kind == "table"),
        f"a codec stores images of bytes, and these are {'a table' if kind == 'table' else kind}: give {wanted}, or keep the "
        "codes that an encoder makes of other data",
    )
    found = bytes_of(images, "cannot be compressed", wanted)
    need(
        channels in (None, found.shape[1]) and found.numel() > 0,
        f"images of {found.dtype} and shape {list(found.shape)} cannot be compressed: give {wanted}",
    )
    return found
