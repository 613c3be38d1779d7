"""The inputs of a phase: images, or clean codes of the frozen stages below, cached in memory or recomputed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from stacked.data.pixels import Pixels, bytes_of
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.free_memory import free_bytes

#: function from the indices of a batch to its targets
Targets = Callable[[Tensor], Tensor]


class Inputs(Protocol):
    """The inputs of a phase, by index."""

    def __call__(self, index: Tensor) -> Tensor:
        """Return the clean inputs [len(index), ...] as floats."""

    def __len__(self) -> int: ...


class Images:
    """Images stored as uint8 and converted batch by batch to floats in [0, 1] on `device` (None: the device they are on).

    images: uint8 [N, C, H, W], a tensor or NumPy array; InputError for other types and shapes. rows: indices of the images to use
    (None: all), without a copy.
    """

    def __init__(
        self,
        images: Pixels,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        rows: Tensor | None = None,
    ) -> None:
        self.images, self.dtype, self.rows = bytes_of(images, "cannot be read"), dtype, rows
        self.device = device or self.images.device

    @classmethod
    def of(cls, images: Pixels | Images, device: torch.device | None = None) -> Images:
        """Return uint8 images [N, C, H, W], or an `Images`, as `Images` converted on `device` (None: the device they are on)."""
        return (
            cls(images.images, images.dtype, device, images.rows)
            if isinstance(images, Images)
            else cls(images, device=device)
        )

    @classmethod
    def near(cls, images: Tensor, device: torch.device, rows: Tensor | None = None) -> Images:
        """Return images, moved to the device if they take at most half of its free memory."""
        count = len(images) if rows is None else len(rows)
        if images.device == device or count * images[:1].numel() > 0.5 * free_bytes(device):
            return cls(images, device=device, rows=rows)
        return cls((images if rows is None else images[rows]).to(device), device=device)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return tuple(self.images.shape[1:])

    def __call__(self, index: Tensor) -> Tensor:
        index = index if self.rows is None else self.rows[index.to(self.rows.device)]
        return self.images[index.to(self.images.device)].to(self.device).to(self.dtype).div_(255)

    def __len__(self) -> int:
        return len(self.images if self.rows is None else self.rows)


class Recomputed:
    """Codes of the frozen stages up to `depth`, recomputed for each batch."""

    def __init__(self, stack: StackedAutoencoder, depth: int, images: Inputs) -> None:
        self.stack, self.depth, self.images = stack, depth, images

    @torch.no_grad()
    def __call__(self, index: Tensor) -> Tensor:
        return self.stack.encode(self.images(index), self.depth)

    def __len__(self) -> int:
        return len(self.images)


class InMemory:
    """Codes of the frozen stages, computed once and kept in memory.

    They are computed in batches of the training batch size, because kernels can round differently for other sizes, and training
    on cached codes must equal training on recomputed ones bit for bit.
    """

    def __init__(self, source: Recomputed, batch_size: int) -> None:
        n, size = len(source), min(batch_size, len(source))
        first = source(torch.arange(size))
        maps = first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last)
        layout = (
            torch.channels_last if maps else torch.contiguous_format
        )  # the layout of the codes, for the same kernels
        self.codes = torch.empty((n, *first.shape[1:]), dtype=first.dtype, device=first.device, memory_format=layout)
        self.codes[:size] = first
        for start in range(size, n, size):
            start = min(start, n - size)  # the last batch overlaps the one before, so that all have the same size
            self.codes[start : start + size] = source(torch.arange(start, start + size))

    def __call__(self, index: Tensor) -> Tensor:
        return self.codes[index.to(self.codes.device)]

    def __len__(self) -> int:
        return len(self.codes)


def inputs(stack: StackedAutoencoder, depth: int, images: Inputs, mode: str, batch_size: int) -> Inputs:
    """Return the inputs of a phase that reads `depth`, cached according to `mode`."""
    if depth == 0:
        return images
    source = Recomputed(stack, depth, images)
    return InMemory(source, batch_size) if mode == "memory" else source
