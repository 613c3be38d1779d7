"""Growth policies: pure functions from a depth and a budget to the phases of training.

All that distinguishes greedy from joint training stands here; the training loop never asks which policy it serves. To add
a policy, write the function and name it in POLICIES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stacked.errors import InputError


@dataclass(frozen=True)
class Phase:
    """One uninterrupted episode of training.

    Stages `learn[0]` to `learn[1]` (counted from 1, inclusive) learn, all others are frozen; what they read, and
    reconstruct, is the code at depth `reads` (0: the images); `updates` optimiser steps are made.
    """

    name: str
    learn: tuple[int, int]
    reads: int
    updates: int

    @property
    def depth(self) -> int:
        """The depth that the stack has in this phase."""
        return self.learn[1]


@dataclass(frozen=True)
class Updates:
    """A budget in updates: `stages[k-1]` for stage k alone, `end_to_end` for training all stages together (None: not given)."""

    stages: tuple[int, ...] | None
    end_to_end: int | None

    def of_stages(self, policy: str) -> tuple[int, ...]:
        if self.stages is None:
            raise InputError(
                f"policy {policy!r} trains stage by stage: give the budget a number of updates or epochs a stage"
            )
        return self.stages

    def of_all(self, policy: str) -> int:
        if self.end_to_end is None:
            raise InputError(f"policy {policy!r} trains all stages together: give the budget its end_to_end part")
        return self.end_to_end


def greedy(depth: int, budget: Updates) -> list[Phase]:
    """Stage k learns to reconstruct the code of the frozen stages below it (Bengio et al. 2007, section 2.3)."""
    updates = budget.of_stages("greedy")
    return [Phase(f"stage {k}", (k, k), k - 1, updates[k - 1]) for k in range(1, depth + 1)]


def greedy_finetune(depth: int, budget: Updates) -> list[Phase]:
    """Greedy, then all stages together on the pixels (Hinton & Salakhutdinov 2006)."""
    return [*greedy(depth, budget), Phase("fine-tuning", (1, depth), 0, budget.of_all("greedy+finetune"))]


def joint(depth: int, budget: Updates) -> list[Phase]:
    """All stages together on the pixels, from the start."""
    return [Phase("joint", (1, depth), 0, budget.of_all("joint"))]


def random(depth: int, budget: Updates) -> list[Phase]:
    """No training: the floor that every other policy must beat."""
    return []


Policy = Callable[[int, Updates], list[Phase]]

POLICIES: dict[str, Policy] = {
    "greedy": greedy,
    "greedy+finetune": greedy_finetune,
    "joint": joint,
    "random": random,
}
