"""Equal budgets: how many updates every arm gets, so that a comparison is about the arms and not their cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch

from stacked.codes import Images, Prefix, inputs, plan
from stacked.data import Splits
from stacked.data.stream import Order
from stacked.environment import device_of
from stacked.fit import fit
from stacked.flops import update_flops
from stacked.growth import POLICIES, Phase, Updates
from stacked.run import grow
from stacked.spec import Budget, RunSpec
from stacked.stack import StackedAutoencoder

Cost = Callable[[list[Phase]], float]
#: Updates timed for each phase when seconds are to be equal, after as many to warm up.
TIMED = 10


def budgets(
    base: RunSpec, splits: Splits, arms: tuple[str, ...], equal: str, device: str = "cpu", threads: int = 1
) -> dict[str, Budget]:
    """The budget of each arm in updates: that of `base` for greedy+finetune, and as much of `equal` for every other arm.

    equal: "flops" (counted), "updates", or "seconds" (measured here and now with the `threads` of a run and nothing beside
    it, hence not the same on every machine, and only nearly equal when runs share it). Greedy
    keeps the proportions between its stages; an arm that trains nothing has the same budget and does not use it.
    """
    depth, order = base.stack.depth, Order(len(splits.train), base.optimisation.batch_size, base.seed)
    given = base.budget.in_updates(depth, order.updates_per_epoch)
    cost = costs(base, splits, order, equal, device, threads)
    goal = cost(POLICIES["greedy+finetune"](depth, given))

    def budget(arm: str) -> Updates:
        if arm == "greedy+finetune" or not POLICIES[arm](depth, given):
            return given
        return times(given, scale(lambda factor: cost(POLICIES[arm](depth, times(given, factor))), goal))

    return {arm: Budget(updates.stages, updates.end_to_end, "updates") for arm in arms for updates in [budget(arm)]}


def times(updates: Updates, factor: float) -> Updates:
    """The same budget, so many times over; at least 1 update each."""
    stages, end_to_end = updates.stages, updates.end_to_end
    return Updates(
        None if stages is None else tuple(max(1, round(n * factor)) for n in stages),
        None if end_to_end is None else max(1, round(end_to_end * factor)),
    )


def scale(cost: Callable[[float], float], goal: float) -> float:
    """The factor at which the non-decreasing `cost` comes nearest to `goal` from below, by bisection."""
    low, high = 0.0, 1.0
    while cost(high) < goal:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= goal else (low, middle)
    return low


def costs(base: RunSpec, splits: Splits, order: Order, equal: str, device: str, threads: int = 1) -> Cost:
    """The function that tells what a list of phases costs; what it measures is measured once for each kind of phase."""
    stack = StackedAutoencoder(splits.image_shape)
    grow(stack, base, base.stack.depth, device_of(device))

    @cache
    def below(depth: int) -> Prefix:
        return Prefix.of(stack, depth)

    @cache
    def flops(learn: tuple[int, int], reads: int) -> float:
        return update_flops(stack, Phase("counted", learn, reads, 1)) * order.size

    @cache
    def seconds(learn: tuple[int, int], reads: int) -> tuple[float, float]:
        """(of one update on inputs at hand, of encoding one batch to the depth read)"""
        images = Images.near(splits.train.images[: TIMED * order.size], device_of(device))
        phase, few = Phase("timed", learn, reads, TIMED), Order(len(images), order.size, base.seed)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        for _ in range(2):  # the first round warms up
            began = time.perf_counter()
            read = inputs(stack.learn_only(*learn).eval(), reads, images, "memory", order.size)
            read(torch.arange(1)).sum().item()  # waits for the device
            encoded = time.perf_counter()
            for _ in fit(stack, phase, read, base.optimisation, order=few, seed=base.seed, every=TIMED):
                pass  # a point reads its losses, hence waits for the device
            ended = time.perf_counter()
        torch.set_num_threads(before)
        return (ended - encoded) / TIMED, (encoded - began) / few.updates_per_epoch if reads else 0.0

    def cost(phases: list[Phase]) -> float:
        total = 0.0
        for phase in phases:
            chosen = plan(below(phase.reads), order.n, phase.updates, order.size)
            batches_encoded = order.n / order.size if chosen.mode == "memory" else phase.updates
            if equal == "updates":
                total += phase.updates
            elif equal == "seconds":
                update, encoding = seconds(phase.learn, phase.reads)
                total += phase.updates * update + batches_encoded * encoding
            else:
                each = flops(phase.learn, phase.reads) + chosen.flops_per_update
                total += chosen.flops_once + phase.updates * each
        return total

    return cost
