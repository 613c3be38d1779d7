"""Layers that lock: the stages freeze one after another, from the bottom, and that saves FLOPs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch

from stacked import Budget, RunSpec, StackSpec, pretrain
from stacked.cost.phase_cost import phase_cost
from stacked.data.formats.split import Split
from stacked.model.stack import StackedAutoencoder
from stacked.runs.run import run
from stacked.spec import Classification, Evaluation, Optimisation
from stacked.spec.growth import Phase
from tests.helpers.phases import IMAGES
from tests.helpers.splits import toy_splits

SPEC = RunSpec(
    "lock",
    stack=StackSpec.of("conv", 4, 6, 8),
    budget=Budget(None, 20, "updates"),
    optimisation=Optimisation(batch_size=32, lr=1e-2, corruption_level=0.1),
    evaluation=Evaluation(every=5, images=40, probe_every=100, probe_images=40, probe_labels=40),
    classification=Classification(labels=()),
)


def test_a_locked_stage_changes_no_more_and_those_above_go_on() -> None:
    kept: list[dict[str, Any]] = []

    def keep(phase: Phase, stack: StackedAutoencoder) -> None:
        kept.append({name: value.clone() for name, value in stack.state_dict().items()})

    pretrain(SPEC, IMAGES, after=keep)
    for number, (before, after) in enumerate(pairwise(kept), start=1):
        changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
        assert changed == {str(k) for k in range(number, 3)}


def test_locking_takes_fewer_flops_than_joint_training() -> None:
    """With as many updates."""

    def flops(policy: str) -> int:
        spec = replace(SPEC, policy=policy, budget=Budget(None, 300, "updates"))
        assert sum(phase.updates for phase in spec.phases()) == 300
        return sum(phase_cost(spec, (1, 12, 12), phase, 256).flops for phase in spec.phases())

    assert flops("lock") < 0.95 * flops("joint")


def test_what_a_converged_phase_saves_is_not_spent() -> None:
    """Validated on negatives, every phase stops at its second look, and none is longer than its share."""
    splits = toy_splits(150)
    inverted = replace(splits, valid=Split(255 - splits.valid.inputs, splits.valid.labels))
    how = replace(SPEC.optimisation, patience=1, check_every=1)
    spec = replace(SPEC, optimisation=how, budget=Budget(None, 90, "updates"))
    curve, row = (found := run(spec, inverted)).curve, found.row
    assert row["updates"] < 90
    made = {point["phase"]: point["phase_step"] for point in curve}
    assert list(made) == ["stages 1-3", "stages 2-3", "stages 3-3"]
    assert all(updates < 30 for updates in made.values())
    assert row["gflop"] < run(replace(spec, optimisation=SPEC.optimisation), inverted).row["gflop"]
