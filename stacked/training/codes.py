"""The inputs of a phase: examples, or clean codes of the frozen stages below, cached in memory or recomputed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stacked.data.formats.mapped import temporary
from stacked.data.pixels import Pixels, stored
from stacked.model.stack import StackedAutoencoder
from stacked.objectives.objective import ObjectiveTargets
from stacked.runtime.free_memory import free_bytes

#: what the outputs of a batch are compared with, and the function from the indices of a batch to it
Target = Tensor | ObjectiveTargets
Targets = Callable[[Tensor], Target]


class Inputs(Protocol):
    """The inputs of a phase, by index."""

    def __call__(self, index: Tensor) -> Tensor:
        """Return the clean inputs [len(index), ...] as floats."""

    def __len__(self) -> int: ...


class StoredInputs:
    """Examples [N, ...] in memory, read batch by batch as floats on `device` (None: the device they are on).

    values: a tensor or NumPy array of 2 to 5 dimensions: uint8, such as images [N, C, H, W], which are divided by 255, or floats,
    which are read as they are. dtype: type of what is read (None: float32 of uint8, and that of `values` of floats). rows:
    indices of the examples to use (None: all), without a copy. Raises InputError for other types and shapes.
    """

    def __init__(
        self,
        values: Pixels,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        rows: Tensor | None = None,
    ) -> None:
        self.values, self.rows = stored(values, "cannot be read"), rows
        self.is_uint8 = self.values.dtype == torch.uint8
        self.dtype = dtype or (torch.float32 if self.is_uint8 else self.values.dtype)
        self.device = device or self.values.device

    @classmethod
    def of(cls, values: Pixels | StoredInputs, device: torch.device | None = None) -> StoredInputs:
        """Return examples, or a `StoredInputs` of them, as a `StoredInputs` that is read on `device` (None: where they are)."""
        return (
            cls(values.values, values.dtype, device, values.rows)
            if isinstance(values, StoredInputs)
            else cls(values, device=device)
        )

    @classmethod
    def near(cls, values: Tensor, device: torch.device, rows: Tensor | None = None) -> StoredInputs:
        """Return examples, moved to the device if they take at most half of its free memory."""
        count = len(values) if rows is None else len(rows)
        if values.device == device or count * values[:1].nbytes > 0.5 * free_bytes(device):
            return cls(values, device=device, rows=rows)
        return cls((values if rows is None else values[rows]).to(device), device=device)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.values.shape[1:])

    def __call__(self, index: Tensor) -> Tensor:
        index = index if self.rows is None else self.rows[index.to(self.rows.device)]
        found = self.values[index.to(self.values.device)].to(self.device).to(self.dtype)
        return found.div_(255) if self.is_uint8 else found

    def __len__(self) -> int:
        return len(self.values if self.rows is None else self.rows)


class OnDevice:
    """Inputs by index, moved to a device batch by batch."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        self.inputs, self.device = inputs, device

    def __call__(self, index: Tensor) -> Tensor:
        return self.inputs(index).to(self.device)

    def __len__(self) -> int:
        return len(self.inputs)


def on_device(inputs: Inputs | Pixels, device: torch.device) -> Inputs:
    """Return inputs, or examples in a tensor or NumPy array, as inputs whose batches are on `device`."""
    if isinstance(inputs, Tensor | np.ndarray | StoredInputs) or not callable(inputs):
        return StoredInputs.of(inputs, device)
    return OnDevice(inputs, device)


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
    """Codes of the frozen stages, computed once and kept in memory, or in a memory-mapped temporary file in `folder`.

    They are computed in batches of the training batch size, because kernels can round differently for other sizes, and training
    on cached codes must equal training on recomputed ones bit for bit.
    """

    def __init__(self, source: Recomputed, batch_size: int, folder: Path | None = None) -> None:
        n, size = len(source), min(batch_size, len(source))
        first = source(torch.arange(size))
        maps = first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last)
        # the layout of the codes, for the same kernels
        layout = torch.channels_last if maps else torch.contiguous_format
        self.device, shape = first.device, (n, *first.shape[1:])
        if folder is None:
            self.codes = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=layout)
        elif maps:
            last = (n, *first.shape[2:], first.shape[1])
            self.codes = temporary(last, first.dtype, folder).permute(0, 3, 1, 2)
        else:
            self.codes = temporary(shape, first.dtype, folder)
        self.codes[:size] = first
        for start in range(size, n, size):
            start = min(start, n - size)  # the last batch overlaps the one before, so that all have the same size
            self.codes[start : start + size] = source(torch.arange(start, start + size))

    def __call__(self, index: Tensor) -> Tensor:
        return self.codes[index.to(self.codes.device)].to(self.device)

    def __len__(self) -> int:
        return len(self.codes)


def inputs(
    stack: StackedAutoencoder, depth: int, images: Inputs, mode: str, batch_size: int, folder: Path | None = None
) -> Inputs:
    """Return the inputs of a phase that reads `depth`, cached according to `mode`, in a file in `folder` if there is one."""
    if depth == 0:
        return images
    source = Recomputed(stack, depth, images)
    return InMemory(source, batch_size, folder) if mode == "memory" else source
