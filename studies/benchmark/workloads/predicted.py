"""The error of the predicted training time."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from stacked.cost.forecast import estimate_cost
from stacked.spec import Budget, Optimisation, RunSpec
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from studies.benchmark.workloads import large, ours
from studies.benchmark.workloads.works import WORKS, pixels


def prediction_error(what: str, policy: str = "") -> dict[str, float]:
    """Return the predicted and the measured seconds of a training, and the relative error of the prediction.

    what: a workload, trained for two epochs for each stage and two end to end, or "reference": AutoEncoder224 trained with
    `policy` on 256 random images.
    """
    if what in WORKS:
        work = replace(WORKS[what], epochs=2)
        images, _ = pixels(work)
        spec = ours.spec_of(work, 0, ours.RECIPES["same"])
    else:
        stack, shape = large.SPECS[what]
        images = torch.randint(0, 256, (256, *shape), dtype=torch.uint8)
        spec = RunSpec(
            policy=policy, stack=stack, budget=Budget((1.0,), 1.0, "epochs"), optimisation=Optimisation(batch_size=16)
        )
    predicted = estimate_cost(spec, tuple(images.shape[1:]), len(images)).seconds
    started = time.perf_counter()
    pretrain(spec, StoredInputs(images), tuple(images.shape[1:]))
    taken = time.perf_counter() - started
    return {"predicted": predicted, "seconds": taken, "error": abs(predicted / taken - 1)}
