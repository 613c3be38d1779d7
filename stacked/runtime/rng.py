"""Random draws of training as pure functions of (seed, name, index); subsets of labels depend on the seed alone.

No generator is carried along: arms share a draw by using the same name, no draw depends on how often something was evaluated,
and a resumed run needs no generator state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, name: str, *index: int) -> int:
    """Return the 63-bit seed of the draw `name` with `index` in a run with this `seed`."""
    text = "/".join([str(seed), name, *map(str, index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str, *index: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a new generator on `device` for one named draw."""
    return torch.Generator(device=device).manual_seed(derive(seed, name, *index))


@contextmanager
def seeded(seed: int, name: str, *index: int) -> Iterator[None]:
    """Context in which torch's global CPU generator is seeded for one named draw; its state is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        # the CPU generator alone, which draws everything: torch.manual_seed would also change those of GPUs
        torch.default_generator.manual_seed(derive(seed, name, *index))
        yield
