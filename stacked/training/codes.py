"""What a phase reads: images, or the clean codes of the frozen stages below, kept in memory or computed anew."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stacked.model.stack import StackedAutoencoder
from stacked.runtime.free_memory import free_bytes
from stacked.util.errors import InputError

#: Codes larger than this many bytes are computed anew in every update; fixed, so that the choice, and with it the FLOPs of
#: a run, do not depend on the machine.
MOST_BYTES = 2**30
MODES = ("auto", "memory", "recompute")


#: what is to be learned, by the indices of a batch
Targets = Callable[[Tensor], Tensor]


class Inputs(Protocol):
    """What a phase reads, by index."""

    def __call__(self, index: Tensor) -> Tensor:
        """The clean inputs [len(index), ...] as floats."""

    def __len__(self) -> int: ...


class Images:
    """Images kept as uint8, moved to floats in [0, 1] on `device` (None: where they lie) batch by batch.

    rows: the indices of those that are meant (None: all); they are not copied.
    """

    def __init__(
        self,
        images: Tensor,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        rows: Tensor | None = None,
    ) -> None:
        self.images, self.dtype, self.device, self.rows = images, dtype, device or images.device, rows

    @classmethod
    def of(cls, images: Tensor | Images, device: torch.device | None = None) -> Images:
        """Images [N, C, H, W] uint8, or those that are such already, on a device (None: where they lie)."""
        return (
            cls(images.images, images.dtype, device, images.rows)
            if isinstance(images, Images)
            else cls(images, device=device)
        )

    @classmethod
    def near(cls, images: Tensor, device: torch.device, rows: Tensor | None = None) -> Images:
        """Images kept on the device when they take no more than half of its free memory, else where they lie."""
        count = len(images) if rows is None else len(rows)
        if images.device == device or count * images[:1].numel() > 0.5 * free_bytes(device):
            return cls(images, device=device, rows=rows)
        return cls((images if rows is None else images[rows]).to(device), device=device)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return tuple(self.images.shape[1:])

    def __call__(self, index: Tensor) -> Tensor:
        index = index if self.rows is None else self.rows[index.to(self.rows.device)]
        return self.images[index.to(self.images.device)].to(self.device).to(self.dtype).div_(255)

    def __len__(self) -> int:
        return len(self.images if self.rows is None else self.rows)


class Recomputed:
    """Codes of the frozen stages up to `depth`, computed anew for each batch."""

    def __init__(self, stack: StackedAutoencoder, depth: int, images: Inputs) -> None:
        self.stack, self.depth, self.images = stack, depth, images

    @torch.no_grad()
    def __call__(self, index: Tensor) -> Tensor:
        return self.stack.encode(self.images(index), self.depth)

    def __len__(self) -> int:
        return len(self.images)


class InMemory:
    """Codes of the frozen stages computed once, in batches of the size that training uses: kernels may round otherwise for
    other batch sizes, and training on kept codes must equal training on recomputed ones bit for bit."""

    def __init__(self, source: Recomputed, batch_size: int) -> None:
        n, size = len(source), min(batch_size, len(source))
        first = source(torch.arange(size))
        maps = first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if maps else torch.contiguous_format  # theirs, so that kernels are the same too
        self.codes = torch.empty((n, *first.shape[1:]), dtype=first.dtype, device=first.device, memory_format=layout)
        self.codes[:size] = first
        for start in range(size, n, size):
            start = min(start, n - size)  # the last batch overlaps the one before, to be as long as all others
            self.codes[start : start + size] = source(torch.arange(start, start + size))

    def __call__(self, index: Tensor) -> Tensor:
        return self.codes[index.to(self.codes.device)]

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True)
class CodeCache:
    """How a phase gets its inputs, and why: "images", "memory" (codes are kept) or "recompute". bytes: of codes that are kept."""

    mode: str
    why: str
    bytes: int = 0


def choose_cache(
    depth: int, values: int, images: int, updates: int, batch_size: int, mode: str = "auto", free: float = math.inf
) -> CodeCache:
    """Choose between keeping the codes at `depth` and recomputing them: kept ones are computed once an image, others once a use.

    values: of the code of one image. mode: "auto", "memory" or "recompute". free: bytes of memory that may be used.
    Raises InputError when `mode` is "memory" and the codes do not fit.
    """
    if mode not in MODES:
        raise InputError(f"codes {mode!r} is not known: choose from {', '.join(MODES)}")
    if depth == 0:
        return CodeCache("images", "the phase reads images")
    size, uses = 4 * images * values, updates * min(batch_size, images)
    gib = f"{size / 2**30:.1f} GiB"
    if mode == "memory" and size > 0.8 * free:
        raise InputError(
            f"the codes at depth {depth} need {gib} and {free / 2**30:.1f} GiB are free: let them be recomputed, or take fewer "
            "images"
        )
    if mode != "auto":
        return CodeCache(mode, "asked for", size if mode == "memory" else 0)
    if uses <= images:
        return CodeCache("recompute", f"{uses:,} uses of {images:,} images: keeping codes saves nothing")
    if size > MOST_BYTES:
        return CodeCache("recompute", f"codes of {gib} exceed the limit of {MOST_BYTES / 2**30:.0f} GiB")
    if size > 0.8 * free:
        return CodeCache("recompute", f"codes of {gib} do not fit in the {free / 2**30:.1f} GiB free")
    return CodeCache("memory", f"{uses:,} uses of {images:,} images, {size / 2**20:.0f} MiB", size)


def inputs(stack: StackedAutoencoder, depth: int, images: Inputs, mode: str, batch_size: int) -> Inputs:
    """The inputs of a phase that reads `depth`, kept as `mode` says."""
    if depth == 0:
        return images
    source = Recomputed(stack, depth, images)
    return InMemory(source, batch_size) if mode == "memory" else source
