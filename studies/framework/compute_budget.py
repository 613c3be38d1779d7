"""Equal budgets: how many updates every arm gets, so that a comparison is about the arms and not their cost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from stacked.cost.phase_cost import phase_cost
from stacked.data import Splits
from stacked.data.labels import label_subset
from stacked.data.stream import Order
from stacked.model.stack import StackedAutoencoder, grow
from stacked.runtime.environment import device_of
from stacked.spec import Budget, RunSpec
from stacked.spec.growth import POLICIES, Phase, Updates
from stacked.training.fit import fit
from stacked.training.phase_loss import PhaseLoss
from stacked.training.prepare import examples_of, prepare_phase
from stacked.training.recalibration import recalibrate
from stacked.util.checks import need
from stacked.util.errors import InputError
from studies.design.arms import Arm
from studies.framework.threads import limited

Cost = Callable[[list[Phase]], float]
#: Updates timed for each phase when seconds are to be equal, after as many to warm up.
TIMED = 10
#: The most that a budget is enlarged to be as costly as another's.
MOST_TIMES = 2.0**40
#: How far a cost may fall while the budget grows: whole updates are divided between dear and cheap phases by rounding.
ROUNDING = 0.01


def budgets(
    base: RunSpec,
    splits: Splits,
    arms: Sequence[Arm],
    equal: str,
    measure_of: Arm,
    device: str = "cpu",
    threads: int = 1,
) -> dict[str, Budget]:
    """The budget of each arm in updates: that of `base` for `measure_of`, and as much of `equal` for every other arm.

    equal: "flops" (counted), "updates", or "seconds" (measured here and now with the `threads` of a run and nothing beside
    it, hence not the same on every machine, and only nearly equal when runs share it). An arm keeps the proportions between
    its stages; one that trains nothing has the same budget and does not use it. Raises InputError for an arm whose cost does not
    grow with its budget, or not enough.
    """

    def spent(arm: Arm) -> tuple[Updates, Callable[[Updates], float]]:
        # with the policy of `base`: the arm that others are measured by need not itself be one that can be trained
        spec = dataclasses.replace(base, **arm.parts(base))
        depth, order = spec.stack.depth, Order(len(splits.train), spec.optimisation.batch_size, spec.seed)
        cost = costs(spec, splits, order, equal, device, threads)
        given = spec.budget.in_updates(depth, order.updates_per_epoch)
        return given, lambda updates: cost(POLICIES[arm.grows_by](depth, updates))

    given, cost = spent(measure_of)
    goal = cost(given)

    def budget(arm: Arm) -> Updates:
        given, cost = spent(arm)
        if arm == measure_of or arm.own_budget or not cost(given):
            return given
        try:
            return times(given, scale(lambda factor: cost(times(given, factor)), goal))
        except InputError as error:
            raise InputError(
                f"arm {arm.name!r}, of policy {arm.grows_by!r}, cannot be given as many {equal} as arm {measure_of.name!r}: "
                f"{error}; leave the arm out of --arms, or let the lengths of its phases follow the budget"
            ) from error

    return {arm.name: Budget(found.stages, found.end_to_end, "updates") for arm in arms for found in [budget(arm)]}


def times(updates: Updates, factor: float) -> Updates:
    """The same budget, so many times over; at least 1 update each."""
    stages, end_to_end = updates.stages, updates.end_to_end
    return Updates(
        None if stages is None else tuple(max(1, round(n * factor)) for n in stages),
        None if end_to_end is None else max(1, round(end_to_end * factor)),
    )


def scale(cost: Callable[[float], float], goal: float) -> float:
    """The factor at which `cost` comes nearest to `goal` from below, by bisection.

    Raises InputError where `cost` does not grow with the factor, but for `ROUNDING`, or never reaches the goal.
    """
    tried: dict[float, float] = {}

    def at(factor: float) -> float:
        tried[factor] = cost(factor)
        return tried[factor]

    need(at(2.0) > at(1.0), f"with twice the budget it costs {tried[2.0]:,g} and no more than {tried[1.0]:,g} with it")
    low, high = 0.0, 1.0
    while at(high) < goal:
        need(high < MOST_TIMES, f"of {goal:,g} it costs no more than {tried[high]:,g}, however large the budget is")
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) <= goal else (low, middle)
    for (less, cheap), (more, dear) in pairwise(sorted(tried.items())):
        need(
            cheap * (1 - ROUNDING) <= dear,
            f"with {more:g} times the budget it costs {dear:,g} and with {less:g} times {cheap:,g}",
        )
    return low


def costs(base: RunSpec, splits: Splits, order: Order, equal: str, device: str, threads: int = 1) -> Cost:
    """The function that tells what a list of phases costs; what it measures is measured once for each kind of phase."""
    classes, clock = len(splits.classes), Clock(base, splits, device_of(device), threads)

    def cost(phases: list[Phase]) -> float:
        total = 0.0
        for phase in phases:
            if not phase.updates:
                continue
            n = order.n
            if phase.target == "labels":
                n = len(label_subset(splits.train.labels, base.optimisation.labels, base.seed))
            if equal == "updates":
                total += phase.updates
                continue
            found = phase_cost(base, splits.image_shape, phase, n, classes)
            if equal == "seconds":
                # phases that differ in name and length alone cost the same an update
                kind = dataclasses.replace(
                    phase, name="timed", updates=TIMED, inherits_unspent_flops=False, resamples=False
                )
                update, encoding, passing = clock.seconds(kind)
                encoded = n / found.batch if found.cache.mode == "memory" else phase.updates + found.recalibrations
                total += phase.updates * update + found.recalibrations * passing + encoded * encoding
            else:
                total += found.flops
        return total

    return cost


class Clock:
    """Times a few updates of phases of `base` here and now, with as many threads as a run has."""

    def __init__(self, base: RunSpec, splits: Splits, device: torch.device, threads: int) -> None:
        self.base, self.splits, self.device, self.threads = base, splits, device, threads
        self.stack = StackedAutoencoder(splits.image_shape)
        self.found: dict[Phase, tuple[float, float, float]] = {}

    def seconds(self, phase: Phase) -> tuple[float, float, float]:
        """(of one update on inputs at hand, of encoding one batch to the depth read, of one batch of recalibration)"""
        if phase not in self.found:
            with limited(self.threads):
                self.measure(phase)  # the first round warms up
                self.found[phase] = self.measure(phase)
        return self.found[phase]

    def measure(self, phase: Phase) -> tuple[float, float, float]:
        base, config, classes = self.base, self.base.optimisation, len(self.splits.classes)
        grow(self.stack, base, base.stack.depth, self.device)
        most = TIMED * min(config.batch_size, len(self.splits.train))
        examples, _ = examples_of(base, self.splits, phase, self.device, most=most)
        began = time.perf_counter()
        prepared = prepare_phase(self.stack, base, phase, examples, self.device, codes="memory")
        prepared.inputs(torch.arange(1)).sum().item()  # waits for the device
        encoded = time.perf_counter()
        for _ in fit(
            self.stack,
            phase,
            prepared.inputs,
            dataclasses.replace(config, recalibrate=False),
            order=prepared.order,
            seed=base.seed,
            every=TIMED,
            targets=prepared.targets,
            classes=classes,
        ):
            pass  # a point reads its losses, hence waits for the device
        trained = time.perf_counter()
        again = recalibrate(
            PhaseLoss(self.stack, phase, config, classes=classes), prepared.inputs, prepared.targets, prepared.order
        )
        prepared.inputs(torch.arange(1)).sum().item()
        ended = time.perf_counter()
        return (
            (trained - encoded) / TIMED,
            (encoded - began) / max(1, prepared.order.updates_per_epoch) if phase.input_depth else 0.0,
            (ended - trained) / max(1, again),
        )
