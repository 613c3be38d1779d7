"""Equal budgets: the number of updates of each arm such that all arms have the same cost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from stacked.cost.phase_cost import phase_cost
from stacked.data import Splits
from stacked.data.labels import label_subset
from stacked.model.stack import StackedAutoencoder, grow
from stacked.runtime.environment import device_of
from stacked.runtime.progress import say
from stacked.spec import Budget, RunSpec
from stacked.spec.growth import Phase, Updates
from stacked.spec.objectives import needs_labels
from stacked.training.examples import examples_of
from stacked.training.fit import fit
from stacked.training.phase_loss import PhaseLoss
from stacked.training.prepare import prepare_phase
from stacked.training.recalibration import recalibrate
from stacked.util.checks import need
from stacked.util.errors import InputError
from studies.design.arms import Arm
from studies.execution.threads import thread_limit

if TYPE_CHECKING:
    from studies.framework.training_design import TrainingDesign

Cost = Callable[[list[Phase]], float]
#: Updates timed for each phase if seconds are to be equal; the same number is run before, to warm up.
TIMED_UPDATES = 10
#: The largest factor by which a budget is multiplied.
MAX_SCALE = 2.0**40
#: The fraction by which costs differ, because of rounding, without a message.
EQUALITY_TOLERANCE = 0.02
#: The number of arms with unequal costs that a message names; tuning has an arm for each trial.
NAMED_ARMS = 3
#: The fraction by which a cost may fall while the budget grows, because the updates of each phase are rounded to integers.
ROUNDING_TOLERANCE = 0.01


def budgets(
    base: RunSpec,
    splits: Splits,
    arms: Sequence[Arm],
    equal: str,
    budget_arm: Arm,
    device: str = "cpu",
    threads: int = 1,
) -> dict[str, Budget]:
    """Return the budget of each arm in updates: `budget_arm` has the budget of `base`, every other arm the same cost.

    equal: the cost that is made equal: "flops" (counted), "updates", "seconds", or "span", the FLOPs that are computed one after
    another if each block that learns alone has a worker of its own (see `PhaseCost.span`). Seconds are measured on this machine
    with `threads` threads, while no other run is in progress; they depend on the machine, and are only nearly equal if several
    runs are trained at a time. An arm keeps the proportions between its stages. An arm that makes no updates keeps the budget of
    `base`. Raises InputError if the cost of an arm does not grow with its budget, or cannot reach that of `budget_arm`.
    """

    def given_updates_and_cost(arm: Arm) -> tuple[Updates, Callable[[Updates], float]]:
        """Return the arm's budget before it is scaled, and the function from a budget of the arm to its cost."""
        # not `arm.spec`, which refuses a policy that cannot be trained with these losses: `budget_arm` may have such a policy
        spec = dataclasses.replace(base, **arm.parts(base))
        images = len(splits.train)
        cost_of_phases = cost_function(spec, splits, images, equal, device, threads)
        given = spec.updates(spec.updates_per_epoch(images, arm.policy_name))
        # kept, because the factors that a search tries differ long after the rounded updates have become the same
        return given, cache(lambda updates: cost_of_phases(spec.phases_of(updates, arm.policy_name)))

    given, cost = given_updates_and_cost(budget_arm)
    target_cost = cost(given)

    def equal_updates(arm: Arm) -> Updates:
        given, cost = given_updates_and_cost(arm)
        if arm == budget_arm or arm.own_budget or not cost(given):
            return given
        try:
            found = scaled(given, find_scale(lambda factor: cost(scaled(given, factor)), target_cost))
        except InputError as error:
            raise InputError(
                f"arm {arm.name!r} with policy {arm.policy_name!r} cannot have as many {equal} as arm {budget_arm.name!r}: "
                f"{error}; leave the arm out of --arms, or make the lengths of its phases depend on the budget"
            ) from error
        ratios[arm.name] = cost(found) / target_cost
        return found

    ratios: dict[str, float] = {}
    updates = {arm.name: equal_updates(arm) for arm in arms}
    warn_of_unequal_costs(ratios, equal, budget_arm.name, budget_arm.name in updates)
    return {name: Budget(found.stages, found.end_to_end, "updates") for name, found in updates.items()}


def budgets_of(
    study: TrainingDesign,
    base: RunSpec,
    splits: Splits,
    arms: Sequence[Arm],
    equal: str,
    device: str = "cpu",
    threads: int = 1,
) -> dict[str, Budget]:
    """Return the budget of each arm of a study, as `budgets`: an arm has the cost of its `cost_of`, or of the `budget_arm`."""
    found: dict[str, Budget] = {}
    for name in dict.fromkeys(arm.cost_of or study.budget_arm for arm in arms):
        alike = [arm for arm in arms if (arm.cost_of or study.budget_arm) == name]
        found |= budgets(base, splits, alike, equal, study.arm(name), device, threads)
    return {arm.name: found[arm.name] for arm in arms}


def warn_of_unequal_costs(ratios: Mapping[str, float], equal: str, budget_arm: str, is_compared: bool = True) -> None:
    """Print one message that names the arms whose cost differs most from that of `budget_arm`, if any differs noticeably.

    ratios: the cost of each arm, divided by that of `budget_arm`. equal: the cost that is made equal. is_compared: whether
    `budget_arm` is one of the arms that are trained.
    """
    off = {name: ratio for name, ratio in ratios.items() if abs(ratio - 1) > EQUALITY_TOLERANCE}
    if not off:
        return
    shares = [f"arm {name!r} has {100 * off[name]:.0f} %" for name in sorted(off, key=lambda name: -abs(off[name] - 1))]
    whole = f"{budget_arm!r}" if is_compared else f"the budget, which {budget_arm!r} would have"
    named = [f"{shares[0]} of the {equal} of {whole}", *shares[1:NAMED_ARMS]]
    others = len(shares) - len(named)
    named += [f"{others} more differ less"] if others else []
    listed = ", ".join(named[:-1]) + " and " + named[-1] if named[1:] else named[0]
    say(f"{listed}, because updates are whole numbers: longer budgets or smaller batches make the costs more equal")


def scaled(updates: Updates, factor: float) -> Updates:
    """Return the budget multiplied by `factor`, with at least 1 update for each phase."""
    stages, end_to_end = updates.stages, updates.end_to_end
    return Updates(
        None if stages is None else tuple(max(1, round(n * factor)) for n in stages),
        None if end_to_end is None else max(1, round(end_to_end * factor)),
    )


def find_scale(cost: Callable[[float], float], target_cost: float) -> float:
    """Return the largest factor, found by bisection, whose cost is at most `target_cost`.

    Raises InputError if the cost does not increase with the factor (it may fall by `ROUNDING_TOLERANCE`), or never reaches
    `target_cost`.
    """
    tried: dict[float, float] = {}

    def cost_at(factor: float) -> float:
        tried[factor] = cost(factor)
        return tried[factor]

    need(
        cost_at(2.0) > cost_at(1.0),
        f"its cost does not increase with its budget: {tried[1.0]:,g} with the budget, {tried[2.0]:,g} with twice the budget",
    )
    low, high = 0.0, 1.0
    while cost_at(high) < target_cost:
        need(
            high < MAX_SCALE,
            f"its cost reaches {tried[high]:,g} at most, less than {target_cost:,g}, whatever the budget",
        )
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if cost_at(middle) <= target_cost else (low, middle)
    for (less, cheap), (more, dear) in pairwise(sorted(tried.items())):
        need(
            cheap * (1 - ROUNDING_TOLERANCE) <= dear,
            f"its cost falls while its budget grows: {cheap:,g} with {less:g} times the budget, {dear:,g} with {more:g} times",
        )
    return low


def cost_function(base: RunSpec, splits: Splits, images: int, equal: str, device: str, threads: int = 1) -> Cost:
    """Return the function from a list of phases to its cost; seconds are measured once for each kind of phase."""
    classes, timer = len(splits.classes), PhaseTimer(base, splits, device_of(device), threads)

    def cost_of_phases(phases: list[Phase]) -> float:
        total = 0.0
        for phase in phases:
            if not phase.updates:
                continue
            rows = learned_rows(base, splits, phase)
            n = images if rows is None else len(rows)
            if equal == "updates":
                total += phase.updates
                continue
            found = phase_cost(base, splits.input_shape, phase, n, classes)
            if equal == "seconds":
                # phases that differ only in name and length have the same cost of an update
                kind = dataclasses.replace(
                    phase,
                    name="timed",
                    updates=TIMED_UPDATES,
                    inherits_unspent_flops=False,
                    resamples=False,
                    begins="drawn",
                )
                update, encoding, recalibration = timer.seconds(kind)
                encoded = n / found.batch if found.cache.mode == "memory" else phase.updates + found.recalibrations
                total += phase.updates * update + found.recalibrations * recalibration + encoded * encoding
            else:
                total += found.span if equal == "span" else found.flops
        return total

    return cost_of_phases


def learned_rows(base: RunSpec, splits: Splits, phase: Phase) -> torch.Tensor | None:
    """Return the rows of the training images whose labels a phase learns (None: it learns none, and uses all images)."""
    if not needs_labels(phase, base.optimisation):
        return None
    return label_subset(splits.train.labels, base.optimisation.labels, base.seed)


class PhaseTimer:
    """Measures the seconds of a few updates of a phase, with as many threads as a run has."""

    def __init__(self, base: RunSpec, splits: Splits, device: torch.device, threads: int) -> None:
        self.base, self.splits, self.device, self.threads = base, splits, device, threads
        self.stack = StackedAutoencoder(splits.input_shape)
        self.timings: dict[Phase, tuple[float, float, float]] = {}

    def seconds(self, phase: Phase) -> tuple[float, float, float]:
        """Return the seconds of one update on inputs in memory, of encoding one batch, and of recalibration on one batch."""
        if phase not in self.timings:
            with thread_limit(self.threads):
                self.time_phases(phase)  # the first round warms up
                self.timings[phase] = self.time_phases(phase)
        return self.timings[phase]

    def time_phases(self, phase: Phase) -> tuple[float, float, float]:
        base, config, classes = self.base, self.base.optimisation, len(self.splits.classes)
        grow(self.stack, base, base.stack.depth, self.device)
        most = TIMED_UPDATES * min(config.batch_size_of(phase), len(self.splits.train))
        rows = learned_rows(base, self.splits, phase)
        rows = torch.arange(len(self.splits.train)) if rows is None else rows
        examples, _ = examples_of(self.splits, phase, config, rows[:most], self.device)
        began = time.perf_counter()
        prepared = prepare_phase(self.stack, base, phase, examples, self.device, codes="memory")
        prepared.inputs(torch.arange(1)).sum().item()  # synchronises with the GPU
        encoded = time.perf_counter()
        for _ in fit(
            self.stack,
            phase,
            prepared.inputs,
            dataclasses.replace(config, recalibrate=False),
            order=prepared.order,
            seed=base.seed,
            every=TIMED_UPDATES,
            targets=prepared.targets,
            classes=classes,
        ):
            pass  # metrics read the losses, which synchronises with the GPU
        trained = time.perf_counter()
        batches = recalibrate(
            PhaseLoss(self.stack, phase, config, classes=classes), prepared.inputs, prepared.targets, prepared.order
        )
        prepared.inputs(torch.arange(1)).sum().item()
        recalibrated = time.perf_counter()
        return (
            (trained - encoded) / TIMED_UPDATES,
            (encoded - began) / max(1, prepared.order.updates_per_epoch) if phase.input_depth else 0.0,
            (recalibrated - trained) / max(1, batches),
        )
