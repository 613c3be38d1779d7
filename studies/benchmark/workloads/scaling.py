"""The cost of an epoch by number of images, stages, channels or pixels, for greedy and joint training."""

from __future__ import annotations

from dataclasses import replace

import torch

from stacked.spec import Budget, Optimisation, RunSpec
from stacked.spec.architecture import StackSpec
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from studies.benchmark.workloads.spent import Spent

#: by axis: the measured values, and a function of the value that returns (kind, widths, images, side)
AXES = {
    "images": ((1000, 3000, 10_000, 30_000, 60_000), lambda n: ("conv", (16, 32, 64), n, 28)),
    "stages": ((1, 2, 3, 4, 6, 8), lambda depth: ("dense", (500,) * depth, 5120, 28)),
    "channels": ((4, 8, 16, 32, 64), lambda width: ("conv", (width, 2 * width, 4 * width), 2560, 28)),
    "pixels": ((28, 56, 112, 224), lambda side: ("conv", (16, 32, 64), 512, side)),
}
#: ways of training: policy, and epochs of each phase
WAYS = {"greedy": ("greedy", 1), "greedy, 5 epochs a stage": ("greedy", 5), "joint": ("joint", 1)}
BATCH = 128


def spec_of(axis: str, value: int, way: str) -> tuple[RunSpec, tuple[int, int, int], int]:
    """Return the spec at a value of an axis, the shape of its images, and their number."""
    kind, widths, images, side = AXES[axis][1](value)
    policy, epochs = WAYS[way]
    spec = RunSpec(
        policy=policy,
        stack=StackSpec.of(kind, *widths),
        budget=Budget((float(epochs),), float(epochs), "epochs"),
        optimisation=Optimisation(batch_size=BATCH),
    )
    return spec, (1, side, side), images


def scaling(axis: str, value: int, way: str) -> dict[str, float]:
    """Return the seconds of an epoch of all stages on random images, and the growth of memory without the images."""
    spec, shape, n = spec_of(axis, value, way)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8)
    few = images[:BATCH].clone()
    pretrain(replace(spec, budget=Budget((1.0,), 1.0, "updates")), StoredInputs(few), shape)  # loads the libraries
    with Spent() as spent:
        pretrain(spec, StoredInputs(images), shape)
    epochs = WAYS[way][1]
    used = spent.values()
    return {name: used[name] / epochs for name in ("cpu_seconds", "seconds")} | {"growth_mb": used["growth_mb"]}
