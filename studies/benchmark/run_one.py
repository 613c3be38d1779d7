"""Runs one measurement and prints it as JSON: python -m studies.benchmark.run_one NAME [ARGUMENT=VALUE ...].

Each measurement has its own process, so that earlier measurements do not affect caches, the heap or the number of threads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from stacked.cost.roofline import copy_rate, product_rate
from studies.benchmark.workloads import disk, jax_loop, large, loops, ours, peers, photos, seeds, starts, whole
from studies.benchmark.workloads.classifiers import classifying
from studies.benchmark.workloads.predicted import prediction_error
from studies.benchmark.workloads.scaling import scaling
from studies.benchmark.workloads.spent import Spent
from studies.benchmark.workloads.works import WORKS, error, pixels

Measured = dict[str, float]

#: the functions that train a workload
TRAINERS: dict[str, Callable[..., torch.nn.Module]] = {
    "loop": loops.train,
    "indexed loop": partial(loops.train, batches=loops.indexed),
    "ours": ours.train,
    "clustpy": peers.train,
    "jax": jax_loop.train,
}


def training(who: str, what: str, seed: int, epochs: int, images: int, floats: bool = False, **recipe: str) -> Measured:
    """Train a workload greedily and fine-tune it; return CPU seconds, wall seconds, growth of memory and test error.

    floats: whether this package stores images as floats too, as the other implementations do, and not as bytes. Before the
    measurement, one batch is trained on, so that libraries are loaded and initialised; by JAX all images, because it compiles for
    their number.
    """
    work = replace(WORKS[what], epochs=epochs, images=images)
    train, test = pixels(work)
    if floats or who != "ours" or work.layout != "images":
        train = train.float().div(255)  # the other implementations store images as floats, and ours what is no image
    first = train if who == "jax" else train[: work.batch].clone()
    TRAINERS[who](replace(work, epochs=1, images=len(first)), seed, first, **recipe)
    with Spent() as spent:
        model = TRAINERS[who](work, seed, train, **recipe)
    return spent.values() | {"mse": error(model, test.float().div(255))}


PROGRAMS: dict[str, Callable[..., Measured]] = {
    "training": training,
    "classifying": classifying,
    "product": lambda: {"gflops": product_rate()},
    "copy": lambda: {"gb_per_second": copy_rate()},
    "utilisation": large.utilisation,
    "products": large.products,
    "memory": large.memory,
    "seeds": seeds.seeds,
    "scaling": scaling,
    "foretold": prediction_error,
    "folder": photos.folder,
    "disk": disk.folder,
    "importing": starts.importing,
    "help": starts.help_of,
    "run": whole.run_of_main_job,
    "grid": whole.grid,
}


def main(argv: list[str]) -> int:
    """Run the measurement that the arguments name, print it and return 0."""
    name, *pairs = argv
    arguments: dict[str, Any] = {key: json.loads(value) for key, _, value in (pair.partition("=") for pair in pairs)}
    torch.set_num_threads(arguments.pop("threads", 1))
    print(json.dumps(PROGRAMS[name](**arguments)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))  # not as commands start, because it is a part of one
