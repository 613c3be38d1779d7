"""Equal budgets: how many updates every arm gets, so that a comparison is about the arms and not their cost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import torch

from stacked.cost.flops import recalibration_flops, update_flops
from stacked.data import Splits
from stacked.data.labels import label_subset
from stacked.data.stream import Order
from stacked.model.stack import StackedAutoencoder, grow
from stacked.runs.train_phase import material
from stacked.runtime.environment import device_of
from stacked.spec import Budget, RunSpec
from stacked.spec.growth import POLICIES, Phase, Updates
from stacked.training.codes import Prefix, inputs, plan
from stacked.training.fit import fit
from stacked.training.phase_loss import PhaseLoss
from stacked.training.recalibration import batches, recalibrate
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
    how, classes, where = base.optimisation, len(splits.classes), device_of(device)
    stack = StackedAutoencoder(splits.image_shape)
    grow(stack, base, base.stack.depth, where)

    @cache
    def below(depth: int) -> Prefix:
        return Prefix.of(stack, depth)

    @cache
    def flops(phase: Phase, images: int) -> float:
        return update_flops(stack, phase, how, classes, images)

    @cache
    def recalibrating(phase: Phase, images: int) -> float:
        return recalibration_flops(stack, phase, how, classes, images)

    @cache
    def seconds(phase: Phase) -> tuple[float, float, float]:
        """(of one update on inputs at hand, of encoding one batch to the depth read, of one batch of recalibration)"""
        examples, _ = material(base, splits, phase, where, most=TIMED * order.size)
        with limited(threads):
            some = Order(len(examples.images), order.size, base.seed)
            for _ in range(2):  # the first round warms up
                began = time.perf_counter()
                stack.learn_only(*phase.learn).eval()
                read = inputs(stack, phase.reads, examples.images, "memory", order.size)
                read(torch.arange(1)).sum().item()  # waits for the device
                encoded = time.perf_counter()
                for _ in fit(
                    stack,
                    phase,
                    read,
                    dataclasses.replace(how, recalibrate=False),
                    order=some,
                    seed=base.seed,
                    every=TIMED,
                    targets=examples.targets(phase),
                    classes=classes,
                ):
                    pass  # a point reads its losses, hence waits for the device
                trained = time.perf_counter()
                objective = PhaseLoss(stack, phase, how, classes=classes)
                again = recalibrate(objective, read, examples.targets(phase), some)
                read(torch.arange(1)).sum().item()
                ended = time.perf_counter()
        encodings = max(1, len(examples.images) // order.size)
        return (
            (trained - encoded) / TIMED,
            (encoded - began) / encodings if phase.reads else 0.0,
            (ended - trained) / max(1, again),
        )

    def cost(phases: list[Phase]) -> float:
        total = 0.0
        for phase in phases:
            if not phase.updates:
                continue
            n = len(label_subset(splits.train.labels, how.labels, base.seed)) if phase.target == "labels" else order.n
            size = min(order.size, n)
            chosen = plan(below(phase.reads), n, phase.updates, size)
            again = batches(stack, phase, how, n // size)
            batches_encoded = n / size if chosen.mode == "memory" else phase.updates + again
            # phases that differ in name and length alone cost the same an update
            kind = dataclasses.replace(phase, name="counted", updates=TIMED, carries=False, resamples=False)
            if equal == "updates":
                total += phase.updates
            elif equal == "seconds":
                update, encoding, passing = seconds(kind)
                total += phase.updates * update + again * passing + batches_encoded * encoding
            else:
                total += chosen.flops_once + phase.updates * (flops(kind, size) + chosen.flops_per_update)
                total += again and again * (recalibrating(kind, size) + chosen.flops_per_update)
        return total

    return cost
