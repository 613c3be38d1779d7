"""Tiny data of floats of every rank, with classes that can be told apart, and runs on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stacked import RunSpec, StackSpec
from stacked.spec import Budget, Classification, Evaluation, Optimisation

N = 90
LABELS = np.arange(N) % 2


def examples(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    """Waves around 100, in units of 20, of which class 1 has twice the frequency; each column or channel has another size."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 6, int(np.prod(shape)))
    waves = np.sin(np.outer(1 + LABELS, place) + rng.normal(0, 0.3, (N, 1))) + rng.normal(0, 0.2, (N, len(place)))
    size = np.arange(1, shape[0] + 1).reshape(-1, *(1,) * (len(shape) - 1))
    return 100 + 20 * size * waves.reshape(N, *shape)


#: kind of data -> shape of an example and the stack that learns it
KINDS = {
    "vectors": ((6,), StackSpec.of("dense", 5, 3, output="linear")),
    "signals": ((2, 16), StackSpec.of("conv", 4, 3, output="linear")),
    "maps": ((2, 8, 9), StackSpec.of("conv", 4, 3, output="linear")),
    "volumes": ((1, 4, 5, 6), StackSpec.of("conv", 3, 2, output="linear")),
}
SPEC = RunSpec(
    budget=Budget((4.0,), 5.0, "updates"),
    optimisation=Optimisation(batch_size=16, lr=1e-2, corruption_level=(0.1,)),
    evaluation=Evaluation(every=5, images=40, probe_every=100, probe_images=40, probe_labels=40),
    classification=Classification(labels=(20,), lrs=(1e-2,), updates=4, checks=2, batch_size=8),
)


def spec_of(kind: str) -> RunSpec:
    """The spec of a run on this kind of data."""
    return replace(SPEC, stack=KINDS[kind][1])
