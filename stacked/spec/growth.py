"""Growth policies: pure functions from a depth and a budget to the phases of training.

All that distinguishes greedy from joint training, and every way between them, stands here; the training loop never asks
which policy it serves. To add a policy, write the function and name it in GROWTHS; with one of ENDS after a "+" it is
followed by training end to end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stacked.util.errors import InputError


@dataclass(frozen=True)
class Phase:
    """One uninterrupted episode of training.

    Stages `trainable[0]` to `trainable[1]` (counted from 1, inclusive) learn, all others are frozen; they read the code at depth
    `input_depth` (0: the images); `updates` optimiser steps are made.

    target: what they learn to give. "input": what they read, at its depth. "pixels": the images, through the frozen decoders
        below. "labels": the classes, by a linear head on the code that is dropped after the phase.
    local_loss: the learning stages' own losses, each on its own input. "none"; "alone": instead of the target's, and no gradient
        passes from a stage to the one below; "added": beside the target's, with the spec's `local_weight`, against what the
        stage read in the same pass: where the images are corrupted, the codes of corrupted images.
    layerwise_lr_decay: the spec's `rate_decay` divides the learning rate once for each stage below the deepest.
    inherits_unspent_flops: the FLOPs that earlier phases did not spend, since they had converged, are spent on more updates.
    resamples: the learning stages' weights are first redrawn from their own marginal distributions.
    is_finetuning: it follows the growth of the stack, and has the spec's `end_lr`, `end_schedule` and `end_patience`.
    """

    name: str
    trainable: tuple[int, int]
    input_depth: int
    updates: int
    target: str = "input"
    local_loss: str = "none"
    layerwise_lr_decay: bool = False
    inherits_unspent_flops: bool = False
    resamples: bool = False
    is_finetuning: bool = False

    @property
    def depth(self) -> int:
        """The depth that the stack has in this phase."""
        return self.trainable[1]

    @property
    def target_depth(self) -> int:
        """The depth of what is reconstructed: of what is read, or 0, the pixels."""
        return 0 if self.target == "pixels" else self.input_depth

    @property
    def single(self) -> bool:
        """Whether every stage that learns does so on what it reads itself, and on nothing else."""
        if self.target == "labels" or self.target_depth != self.input_depth:
            return False
        return self.local_loss == "alone" or (
            self.local_loss == "none" and self.trainable == (self.input_depth + 1, self.input_depth + 1)
        )


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


Policy = Callable[[int, Updates], list[Phase]]


def greedy(depth: int, budget: Updates) -> list[Phase]:
    """Stage k learns to reconstruct the code of the frozen stages below it (Bengio et al. 2007)."""
    updates = budget.of_stages("greedy")
    return [Phase(f"stage {k}", (k, k), k - 1, updates[k - 1]) for k in range(1, depth + 1)]


def greedy_pixels(depth: int, budget: Updates) -> list[Phase]:
    """Stage k learns to reconstruct the pixels through the frozen decoders below it (Paine et al. 2014)."""
    updates = budget.of_stages("greedy-pixels")
    return [Phase(f"stage {k}", (k, k), k - 1, updates[k - 1], target="pixels") for k in range(1, depth + 1)]


def progressive(depth: int, budget: Updates) -> list[Phase]:
    """Stage k is added and all stages so far learn to reconstruct the pixels (as Karras et al. 2018 grow a GAN)."""
    updates = budget.of_stages("progressive")
    return [Phase(f"stages 1-{k}", (1, k), 0, updates[k - 1]) for k in range(1, depth + 1)]


def simultaneous(depth: int, budget: Updates) -> list[Phase]:
    """All stages learn at once, each to reconstruct its current input, and gradients stop between them.

    Decoupled greedy learning (Belilovsky et al. 2020) with the local reconstruction as the auxiliary objective;
    Bengio et al. 2007 call it continuous training. There are as many updates as the largest budget of a stage.
    """
    return [Phase("simultaneous", (1, depth), 0, max(budget.of_stages("simultaneous")), local_loss="alone")]


def supervised(depth: int, budget: Updates) -> list[Phase]:
    """Stage k learns to tell the classes through a linear head of its own (Bengio et al. 2007; Belilovsky et al. 2019).

    Its decoders learn nothing until something follows that trains them.
    """
    updates = budget.of_stages("supervised")
    return [Phase(f"stage {k}", (k, k), k - 1, updates[k - 1], target="labels") for k in range(1, depth + 1)]


def converge(depth: int, budget: Updates) -> list[Phase]:
    """Greedy, but a stage ends when its validation loss has stopped improving, and hands what is left of its budget on.

    The spec's `patience` says when that is. A constant schedule suits it: a stage can hardly show that it has converged while
    its rate still falls; what follows may have an `end_schedule` of its own.
    """
    updates = budget.of_stages("converge")
    return [
        Phase(f"stage {k}", (k, k), k - 1, updates[k - 1], inherits_unspent_flops=True) for k in range(1, depth + 1)
    ]


def resampled(depth: int, budget: Updates) -> list[Phase]:
    """Greedy, after which every weight is redrawn from its tensor's own marginal distribution (Erhan et al. 2010).

    What is left of pretraining is the scale and shape of the weights' distribution: a control for initialisation.
    """
    return [*greedy(depth, budget), Phase("resampling", (1, depth), 0, 0, resamples=True)]


def joint(depth: int, budget: Updates) -> list[Phase]:
    """All stages together on the pixels, from the start."""
    return [Phase("joint", (1, depth), 0, budget.of_all("joint"))]


def joint_local(depth: int, budget: Updates) -> list[Phase]:
    """Joint, with the reconstruction of every stage's own input as a local regulariser (Zhou et al. 2014).

    Codes may differ widely in scale from pixels, and so do their losses: the spec's `local_weight` is to be chosen.
    """
    return [Phase("joint", (1, depth), 0, budget.of_all("joint-local"), local_loss="added")]


def random(depth: int, budget: Updates) -> list[Phase]:
    """No training: the floor that every other policy must beat."""
    return []


def finetune(depth: int, budget: Updates) -> list[Phase]:
    """All stages together on the pixels, after whatever trained them before (Hinton & Salakhutdinov 2006)."""
    return [
        Phase("fine-tuning", (1, depth), 0, budget.of_all("+finetune"), inherits_unspent_flops=True, is_finetuning=True)
    ]


def unfreeze(depth: int, budget: Updates) -> list[Phase]:
    """From the top: the deepest stage learns on the pixels, then the two deepest, until all do, deeper stages at a higher rate.

    Gradual unfreezing with discriminative learning rates (Howard & Ruder 2018, sections 3.2 and 3.3). The budget is shared
    equally; what does not divide goes to the last phase, in which all learn.
    """
    share, rest = divmod(budget.of_all("+unfreeze"), depth)
    return [
        Phase(
            f"unfreezing {k}-{depth}",
            (k, depth),
            k - 1,
            share + (rest if k == 1 else 0),
            "pixels",
            layerwise_lr_decay=True,
            inherits_unspent_flops=k == 1,
            is_finetuning=True,
        )
        for k in range(depth, 0, -1)
        if share or k == 1
    ]


def followed(growth: Policy, end: Policy) -> Policy:
    """One after the other."""
    return lambda depth, budget: [*growth(depth, budget), *end(depth, budget)]


#: ways to grow a stack
GROWTHS: dict[str, Policy] = {
    "greedy": greedy,
    "greedy-pixels": greedy_pixels,
    "progressive": progressive,
    "simultaneous": simultaneous,
    "supervised": supervised,
    "converge": converge,
    "resampled": resampled,
}

#: what may follow any of them, after a "+"
ENDS: dict[str, Policy] = {"finetune": finetune, "unfreeze": unfreeze}

POLICIES: dict[str, Policy] = {
    name: policy
    for growth, function in GROWTHS.items()
    for name, policy in [
        (growth, function),
        *((f"{growth}+{end}", followed(function, after)) for end, after in ENDS.items()),
    ]
} | {"joint": joint, "joint-local": joint_local, "random": random}
