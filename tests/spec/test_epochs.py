"""A budget in epochs: each part has that many passes over the training images, in the batches of the phases it is spent in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stacked import Budget, Optimisation, RunSpec, StackSpec
from stacked.spec import growth
from stacked.spec.growth import POLICIES, Phase, Updates
from stacked.util.errors import InputError
from tests.helpers.splits import toy_splits

IMAGES = 6000
SIZES = Optimisation(batch_size=(10, 100), end_batch_size=1000, patience=5)
SPEC = RunSpec(stack=StackSpec.of("dense", 9, 6), budget=Budget(3, 4, "epochs"), optimisation=SIZES)


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "random"])
def test_every_part_passes_over_the_images_as_often_as_it_has_epochs(policy: str) -> None:
    spec = replace(SPEC, policy=policy)
    phases = [phase for phase in spec.phases(spec.updates_per_epoch(IMAGES)) if phase.updates]
    seen = {phase.name: phase.updates * SIZES.batch_size_of(phase) for phase in phases}
    growing = [seen[phase.name] for phase in phases if not phase.is_finetuning]
    if policy == "lock":  # whose phases share the budget
        growing = [sum(growing)]
    assert set(growing) == {(4 if policy in ("joint", "joint-local", "lock", "end-to-end") else 3) * IMAGES}
    if "+" in policy:
        assert sum(seen[phase.name] for phase in phases if phase.is_finetuning) == 4 * IMAGES


def test_joint_training_is_counted_in_its_own_batches() -> None:
    spec = RunSpec("joint", budget=Budget(None, 10), optimisation=Optimisation(batch_size=100, end_batch_size=1000))
    assert spec.phases(spec.updates_per_epoch(50_000))[0].updates == 5000


def test_an_arm_of_another_policy_is_counted_in_the_batches_of_that_policy() -> None:
    """Equal budgets start from those of an arm, whose policy the base spec need not have."""
    from studies.design.arms import Arm
    from studies.framework.compute_budget import budgets

    splits, joint = toy_splits(), Arm("joint")
    n = len(splits.train)
    found = budgets(replace(SPEC, optimisation=replace(SIZES, batch_size=10)), splits, [joint], "updates", joint)
    assert found["joint"].end_to_end == 4 * (n // 10)


def test_a_part_spent_in_batches_of_several_sizes_is_refused_in_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    def alternate(depth: int, budget: Updates) -> list[Phase]:
        return [Phase(f"stages 1-{k}", (1, k), 0, budget.of_all("alternate") // depth) for k in range(1, depth + 1)]

    monkeypatch.setitem(growth.POLICIES, "alternate", alternate)
    why = r"policy 'alternate' spends the end_to_end budget in phases of different batch sizes \(10, 100\).*in updates"
    with pytest.raises(InputError, match=why):
        replace(SPEC, policy="alternate")
    in_updates = replace(SPEC, policy="alternate", budget=Budget(3, 4, "updates"))
    assert [phase.updates for phase in in_updates.phases()] == [2, 2]
