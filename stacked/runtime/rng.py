"""What training draws is a pure function of (seed, name, index); a subset of labels (`stacked.data.labels`) of the seed alone.

No generator is carried along: arms share a draw because they name it alike, nothing depends on how often something was
evaluated, and a resumed run needs no generator state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, name: str, *index: int) -> int:
    """The 63-bit seed of the draw called `name` at `index` within the run seeded with `seed`."""
    text = "/".join([str(seed), name, *map(str, index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str, *index: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A fresh generator for one named draw, on `device`."""
    return torch.Generator(device=device).manual_seed(derive(seed, name, *index))


@contextmanager
def seeded(seed: int, name: str, *index: int) -> Iterator[None]:
    """Code that draws from torch's global generator (initialisers) draws the named stream; the outer state is restored."""
    with torch.random.fork_rng(devices=[]):
        # of the CPU alone, where everything is drawn: torch.manual_seed would leave those of GPUs changed
        torch.default_generator.manual_seed(derive(seed, name, *index))
        yield
