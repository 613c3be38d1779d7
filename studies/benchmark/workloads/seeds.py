"""The cost of training a spec with several seeds, one after the other and as one batched model."""

from __future__ import annotations

from dataclasses import replace

from stacked import data
from stacked.runs.batched_seeds import train_seeds
from stacked.spec import Budget, Optimisation, RunSpec
from stacked.spec.architecture import StackSpec
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from studies.benchmark.workloads.spent import Spent

SEEDS = 8
#: two networks dominated by the overhead of calls, and one dominated by arithmetic: data, widths, batch size, updates of a phase
NETS = {
    "64-32": ("digits", (32,), 10, 400),
    "784-32": ("mnist", (32,), 10, 400),
    "784-500": ("mnist", (500,), 256, 40),
}


def seeds(net: str, together: bool) -> dict[str, float]:
    """Return the CPU and wall seconds of SEEDS seeds of a network, trained greedily and then end to end."""
    name, widths, batch, updates = NETS[net]
    spec = RunSpec(
        stack=StackSpec.of("dense", *widths),
        budget=Budget((updates,), updates, "updates"),
        optimisation=Optimisation(batch_size=batch, corruption_level=(0.2,)),
    )
    splits = data.load(name, limit=1200)

    def train(spec: RunSpec, count: int) -> None:
        if together:
            train_seeds(spec, range(count), splits)
        else:
            for seed in range(count):
                pretrain(replace(spec, seed=seed), StoredInputs(splits.train.inputs), splits.input_shape)

    train(replace(spec, budget=Budget((2,), 2, "updates")), 2)  # loads the libraries
    with Spent() as spent:
        train(spec, SEEDS)
    used = spent.values()
    return {name: used[name] for name in ("cpu_seconds", "seconds")}
