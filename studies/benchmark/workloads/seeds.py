"""What it costs to train a spec with several seeds, one after the other and all at once."""

from __future__ import annotations

from dataclasses import replace

from stacked import data
from stacked.runs.batched_seeds import train_seeds
from stacked.spec import Budget, Optimisation, RunSpec
from stacked.spec.architecture import StackSpec
from stacked.training.codes import Images
from stacked.training.pretrain import pretrain
from studies.benchmark.workloads.spent import Spent

SEEDS = 8
#: nets whose updates are mostly calls, and one whose are mostly arithmetic: data, widths, batch, updates of a phase
NETS = {
    "64-32": ("digits", (32,), 10, 400),
    "784-32": ("mnist", (32,), 10, 400),
    "784-500": ("mnist", (500,), 256, 40),
}


def seeds(net: str, together: bool) -> dict[str, float]:
    """Processor and wall seconds of SEEDS seeds of a net, trained greedily and then end to end."""
    name, widths, batch, updates = NETS[net]
    spec = RunSpec(
        stack=StackSpec.of("dense", *widths),
        budget=Budget((updates,), updates, "updates"),
        optimisation=Optimisation(batch_size=batch, corruption_level=(0.2,)),
    )
    splits = data.load(name, limit=1200)

    def trained(spec: RunSpec, count: int) -> None:
        if together:
            train_seeds(spec, range(count), splits)
        else:
            for seed in range(count):
                pretrain(replace(spec, seed=seed), Images(splits.train.images), splits.image_shape)

    trained(replace(spec, budget=Budget((2,), 2, "updates")), 2)  # libraries load
    with Spent() as spent:
        trained(spec, SEEDS)
    told = spent.told()
    return {name: told[name] for name in ("cpu_seconds", "seconds")}
