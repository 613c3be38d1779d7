"""Workloads with large stages: fraction of the machine's peak rate, and memory of training."""

from __future__ import annotations

import itertools
import statistics
import time

import torch

from stacked.cost.phase_cost import phase_cost
from stacked.cost.roofline import product_rate
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.malloc import keep_freed_memory
from stacked.spec import Optimisation, RunSpec
from stacked.spec.architecture import StackSpec
from stacked.spec.growth import Phase, Updates, greedy, joint
from stacked.training.codes import StoredInputs
from stacked.training.examples import Examples
from stacked.training.fit import Training
from stacked.training.prepare import prepare_phase
from studies.benchmark.workloads.spent import Spent

#: number of timed updates, and of updates before them
TIMED, BEFORE = 12, 4
SPECS = {
    "reference": (StackSpec.of("conv", 32, 64, 128, 256, 512), (3, 224, 224)),
    "dense": (StackSpec.of("dense", 1000), (1, 28, 28)),
}


def phases(spec: StackSpec, policy: str, updates: int) -> list[Phase]:
    """Return the phases of greedy or joint training with `updates` updates each."""
    depth = len(spec.stages)
    budget = Updates((updates,) * depth, updates)
    return greedy(depth, budget) if policy == "greedy" else joint(depth, budget)


def training(what: str, phase: Phase, batch: int) -> Training:
    """Return the training of a phase on random images, with codes that are recomputed in every update."""
    spec, shape = SPECS[what]
    stack, images = (
        StackedAutoencoder(shape),
        StoredInputs(torch.randint(0, 256, (4 * batch, *shape), dtype=torch.uint8)),
    )
    run = RunSpec(stack=spec, optimisation=Optimisation(batch_size=batch))
    prepared = prepare_phase(stack, run, phase, Examples(images), codes="recompute")
    return Training(stack, phase, prepared.inputs, run.optimisation, order=prepared.order, seed=0)


def utilisation(what: str, policy: str, batch: int) -> dict[str, float]:
    """Return the GFLOP/s of an update of every phase, and its fraction of the rate of a large matrix product."""
    flop, seconds = 0, 0.0
    for phase in phases(SPECS[what][0], policy, TIMED + BEFORE):
        one = training(what, phase, batch)
        cost = phase_cost(
            RunSpec(stack=SPECS[what][0], optimisation=one.config), SPECS[what][1], phase, len(one.inputs)
        )
        flop += cost.update.flop + cost.encoding.flop
        ends: list[float] = []
        for _ in one.train(after_update=lambda ends=ends: ends.append(time.perf_counter())):  # type: ignore[misc]
            pass
        seconds += statistics.median(differences(ends)[BEFORE:])
    rate = product_rate()
    return {"seconds": seconds, "gflops": flop / 1e9 / seconds, "share": flop / 1e9 / seconds / rate, "product": rate}


def differences(ends: list[float]) -> list[float]:
    """Return the time from each end to the next."""
    return [end - before for before, end in itertools.pairwise(ends)]


def products(reads: int, width: int, batch: int) -> dict[str, float]:
    """Return the same as `utilisation` for only the five matrix products of an update of a dense stage, an upper bound."""
    keep_freed_memory()
    x, code = torch.randn(batch, reads), torch.randn(batch, width)
    encoder, decoder = torch.randn(width, reads), torch.randn(reads, width)
    ends = []
    for _ in range(TIMED + BEFORE):
        for left, right in ((x, encoder.t()), (code, decoder.t()), (x.t(), code), (x, decoder), (code.t(), x)):
            left @ right
        ends.append(time.perf_counter())
    flop, seconds, rate = (
        5 * 2 * batch * reads * width / 1e9,
        statistics.median(differences(ends)[BEFORE:]),
        product_rate(),
    )
    return {"seconds": seconds, "gflops": flop / seconds, "share": flop / seconds / rate, "product": rate}


def memory(what: str, policy: str, batch: int) -> dict[str, float]:
    """Return the growth of resident memory while every phase is trained for a few updates, without the images."""
    most = 0.0
    for phase in phases(SPECS[what][0], policy, 3):
        with Spent() as spent:
            one = training(what, phase, batch)
            images = one.order.n * torch.Size(SPECS[what][1]).numel() / 1e6
            for _ in one.train():
                pass
        most = max(most, spent.memory - images)
        del one
    return {"growth_mb": most}
