"""Growth policies: pure functions from a depth and a budget to a list of phases.

Everything that distinguishes greedy from joint training is in these lists; the training loop does not know the policy. To
add a policy, write the function and name it in GROWTHS, or in POLICIES if nothing may follow it. "G+E" runs the phases of the
growth G, then those of the end-to-end training E in ENDS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise

from stacked.util.errors import InputError

#: The most epochs or updates: more than any run can reach, and few enough for their updates to be exact integers in a float.
LONGEST = 10**9


@dataclass(frozen=True)
class Phase:
    """Training of fixed stages with one loss.

    Stages `trainable[0]` to `trainable[1]` (counted from 1, inclusive) are trained for `updates` optimiser steps, all others are
    frozen. The trained stages read the code at depth `input_depth` (0: the images).

    name: numbers at its end, as in "stage 2" or "stages 1-2", count trained stages; a spec's `blocks` rewrite them.
    target: "input": reconstruct the code at `input_depth`. "pixels": reconstruct the images through the frozen decoders
        below. "labels": predict labels from the code with a head: classes with a linear one that is dropped after the phase, and
        in the phase of a classifier or regressor, classes or numbers with its own, which is kept. "objectives": learn the
        spec's `objectives`, with parameters that are dropped after the phase; with the local loss "alone" at every block.
    local_loss: a loss of each trained block for reconstructing its own input. "none": there is none. "alone": it replaces the
        loss of the target, and no gradient passes from a block to the one below. "added": it is added to the loss of the
        target with the spec's `local_weight`; where the images are corrupted, its targets are codes of corrupted images.
    blocks: number of stages of each trained block (see `spec.blocks`), from the bottom; they matter to a local loss only
        (empty: each stage is a block).
    layerwise_lr_decay: the learning rate of stage k is divided by `rate_decay` ** (depth - k), with the spec's `rate_decay`.
    inherits_unspent_flops: FLOPs that earlier phases saved by converging early are spent on additional updates.
    begins: how the stages begin that this phase adds to the stack, from the third on. "drawn": with the initial weights of the
        spec, as the first two stages always do. "copy": as copies of stages below (see `copied_stage`). "identity": as residual
        stages that return what they read.
    resamples: each weight and bias is first replaced by a random entry of its own tensor, drawn with replacement.
    is_finetuning: the phase follows the growth of the stack and uses the spec's `end_lr`, `end_schedule` and `end_patience`.
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
    blocks: tuple[int, ...] = ()
    begins: str = "drawn"

    @property
    def depth(self) -> int:
        """The depth of the stack during this phase."""
        return self.trainable[1]

    @property
    def target_depth(self) -> int:
        """The depth of the reconstruction target: `input_depth`, or 0 for pixels."""
        return 0 if self.target == "pixels" else self.input_depth

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The first and last stage of each part with a loss of its own: of the blocks with a local loss, else of all."""
        if self.local_loss == "none":
            return [self.trainable]
        first, last = self.trainable
        ends = accumulate(self.blocks or (1,) * (last - first + 1), initial=first - 1)
        return [(below + 1, end) for below, end in pairwise(ends)]

    def is_alone(self, stage: int) -> bool:
        """Whether a stage, counted from 1, learns only to reconstruct its own input."""
        if self.target == "labels" or self.target_depth != self.input_depth or self.local_loss == "added":
            return False
        return (stage, stage) in self.ranges and (self.local_loss == "alone" or stage == self.input_depth + 1)


@dataclass(frozen=True)
class Updates:
    """A budget in updates: `stages[k-1]` for stage k alone, `end_to_end` for all stages at once; None where not given."""

    stages: tuple[int, ...] | None
    end_to_end: int | None

    def of_stages(self, policy: str) -> tuple[int, ...]:
        """Return `stages`; InputError, which names `policy`, if they are not given."""
        if self.stages is None:
            raise InputError(
                f"policy {policy!r} trains stage by stage: give the budget a number of updates or epochs a stage"
            )
        return self.stages

    def of_all(self, policy: str) -> int:
        """Return `end_to_end`; InputError, which names `policy`, if it is not given."""
        if self.end_to_end is None:
            raise InputError(f"policy {policy!r} trains all stages at once: give the budget an end_to_end part")
        return self.end_to_end


Policy = Callable[[int, Updates], list[Phase]]


def greedy(depth: int, budget: Updates) -> list[Phase]:
    """Stage k learns to reconstruct the code of the frozen stages below it (Bengio et al. 2007)."""
    updates = budget.of_stages("greedy")
    return [Phase(f"stage {k}", (k, k), k - 1, updates[k - 1]) for k in range(1, depth + 1)]


def greedy_first(depth: int, budget: Updates) -> list[Phase]:
    """Stage 1 alone is trained, as in `greedy`; the stages above keep their initial weights (Erhan et al. 2009)."""
    updates = budget.of_stages("greedy-first")
    return [Phase("stage 1", (1, 1), 0, updates[0])]


def greedy_last(depth: int, budget: Updates) -> list[Phase]:
    """The deepest stage alone is trained, to reconstruct the code of untrained stages below it (Erhan et al. 2009)."""
    updates = budget.of_stages("greedy-last")
    return [Phase(f"stage {depth}", (depth, depth), depth - 1, updates[depth - 1])]


def greedy_pixels(depth: int, budget: Updates) -> list[Phase]:
    """Stage k learns to reconstruct the pixels through the frozen decoders below it (Paine et al. 2014)."""
    updates = budget.of_stages("greedy-pixels")
    return [Phase(f"stage {k}", (k, k), k - 1, updates[k - 1], target="pixels") for k in range(1, depth + 1)]


def greedy_images(depth: int, budget: Updates) -> list[Phase]:
    """Stage k learns to reconstruct the images, which all frozen stages below it encode and decode (Paine et al. 2014).

    This is `greedy-pixels`, except that the frozen stages encode the images in every update. So decoders that need the positions
    of the maxima have them ("pool-guided" unpooling), and corruption acts on the images instead of the code that stage k reads.
    """
    updates = budget.of_stages("greedy-images")
    return [Phase(f"stage {k}", (k, k), 0, updates[k - 1]) for k in range(1, depth + 1)]


def progressive(depth: int, budget: Updates) -> list[Phase]:
    """Stage k is added and all stages so far learn to reconstruct the pixels (as Karras et al. 2018 grow a GAN)."""
    updates = budget.of_stages("progressive")
    return [Phase(f"stages 1-{k}", (1, k), 0, updates[k - 1]) for k in range(1, depth + 1)]


def progressive_copy(depth: int, budget: Updates) -> list[Phase]:
    """Like `progressive`, but each stage from the third on begins as a copy of the one below.

    Growth by stacking (G_stack, Du et al. 2024; Saunshi et al. 2024 copy blocks from the middle). With `blocks` each block begins
    as a copy of the block below. The first two stages are drawn: stage 1, which reads the examples, has another shape than those
    above.
    """
    return [replace(phase, begins="copy") for phase in progressive(depth, budget)]


def progressive_identity(depth: int, budget: Updates) -> list[Phase]:
    """Like `progressive`, but each stage from the third on begins as the identity, so that growth does not change the function.

    The zero initialisation of residual branches (Goyal et al. 2017, section 5.1). The first two stages are drawn, as in
    `progressive-copy`.
    """
    return [replace(phase, begins="identity") for phase in progressive(depth, budget)]


def simultaneous(depth: int, budget: Updates) -> list[Phase]:
    """All stages are trained at once, each to reconstruct the current code of the stage below, without gradients between them.

    Decoupled greedy learning (Belilovsky et al. 2020) with local reconstruction as the auxiliary objective; Bengio et al.
    2007 call it continuous training. The number of updates is the largest budget of a stage; epochs are counted in the batches
    of this phase.
    """
    return [Phase("simultaneous", (1, depth), 0, max(budget.of_stages("simultaneous")), local_loss="alone")]


def supervised(depth: int, budget: Updates) -> list[Phase]:
    """Stage k learns to classify through a linear head of its own (Bengio et al. 2007; Belilovsky et al. 2019).

    The decoders are not trained unless a phase after growth trains them.
    """
    updates = budget.of_stages("supervised")
    return [Phase(f"stage {k}", (k, k), k - 1, updates[k - 1], target="labels") for k in range(1, depth + 1)]


def converge(depth: int, budget: Updates) -> list[Phase]:
    """Greedy, but a stage ends when its validation loss stops improving, and later phases spend its remaining budget.

    The spec's `patience` defines when that is. Use a constant learning rate: while the rate falls, the loss keeps improving and
    a stage hardly converges. Later phases can have an `end_schedule` of their own.
    """
    updates = budget.of_stages("converge")
    return [
        Phase(f"stage {k}", (k, k), k - 1, updates[k - 1], inherits_unspent_flops=True) for k in range(1, depth + 1)
    ]


def resampled(depth: int, budget: Updates) -> list[Phase]:
    """Greedy, after which each weight and bias is replaced by a random entry of its own tensor (Erhan et al. 2010).

    A control for initialisation: all that remains of pretraining is the scale and shape of the weights' distribution.
    """
    return [*greedy(depth, budget), Phase("resampling", (1, depth), 0, 0, resamples=True)]


def local(depth: int, budget: Updates) -> list[Phase]:
    """Stage k learns the spec's `objectives` on the frozen stages below it; without objectives this is `greedy`."""
    updates = budget.of_stages("local")
    return [Phase(f"stage {k}", (k, k), k - 1, updates[k - 1], target="objectives") for k in range(1, depth + 1)]


def local_images(depth: int, budget: Updates) -> list[Phase]:
    """Stage k learns the spec's `objectives`, on images that all frozen stages below it encode in every update.

    This is `local`, except that corruption acts on the images instead of the code that stage k reads, so that what it hides from
    stage 1 is hidden from all stages (block-wise masked image modelling, Luo et al. 2023). Without objectives it is
    `greedy-images`.
    """
    updates = budget.of_stages("local-images")
    return [Phase(f"stage {k}", (k, k), 0, updates[k - 1], target="objectives") for k in range(1, depth + 1)]


def local_simultaneous(depth: int, budget: Updates) -> list[Phase]:
    """All stages learn the spec's `objectives` at once, each on the current code of the stage below, without gradients between.

    Decoupled greedy learning (Belilovsky et al. 2020), with delays between stages where the spec has a `staleness`. There is a
    backward pass for each stage, which saves memory (InfoPro, Wang et al. 2021). The number of updates is that of `simultaneous`,
    which this is without objectives.
    """
    updates = max(budget.of_stages("local-simultaneous"))
    return [Phase("simultaneous", (1, depth), 0, updates, target="objectives", local_loss="alone")]


def end_to_end(depth: int, budget: Updates) -> list[Phase]:
    """All stages are trained at once by the spec's `objectives` at the deepest code: the global arm beside the local ones."""
    return [Phase("end to end", (1, depth), 0, budget.of_all("end-to-end"), target="objectives")]


def joint(depth: int, budget: Updates) -> list[Phase]:
    """All stages are trained at once to reconstruct the pixels, from the start."""
    return [Phase("joint", (1, depth), 0, budget.of_all("joint"))]


def joint_local(depth: int, budget: Updates) -> list[Phase]:
    """Joint training with each stage's reconstruction of its own input as a local regulariser (Zhou et al. 2014).

    Codes, and so their losses, can differ widely in scale from pixels: choose the spec's `local_weight` accordingly.
    """
    return [Phase("joint", (1, depth), 0, budget.of_all("joint-local"), local_loss="added")]


def lock(depth: int, budget: Updates) -> list[Phase]:
    """All stages are trained at once to reconstruct the pixels, and freeze one after another, from the bottom.

    LayerLock (Erdogan et al. 2025), with the pixels as the target of all phases; the reverse of `unfreeze`. Each phase has an
    equal share of the budget; the first one, which trains all stages, also has the remainder. With the spec's `patience` a phase
    ends when it has converged. No later phase spends what that saves, since the claim is that locking takes fewer FLOPs.
    """
    share, rest = divmod(budget.of_all("lock"), depth)
    return [
        Phase(f"stages {k}-{depth}", (k, depth), k - 1, share + (rest if k == 1 else 0), "pixels")
        for k in range(1, depth + 1)
        if share or k == 1
    ]


def random(depth: int, budget: Updates) -> list[Phase]:
    """No training: the baseline of random weights."""
    return []


def finetune(depth: int, budget: Updates) -> list[Phase]:
    """All stages are trained at once to reconstruct the pixels, after growth (Hinton & Salakhutdinov 2006)."""
    return [
        Phase("fine-tuning", (1, depth), 0, budget.of_all("+finetune"), inherits_unspent_flops=True, is_finetuning=True)
    ]


def unfreeze(depth: int, budget: Updates) -> list[Phase]:
    """The deepest stage learns to reconstruct the pixels, then the two deepest, until all stages are trained.

    Gradual unfreezing with discriminative learning rates, higher for deeper stages (Howard & Ruder 2018, sections 3.2 and
    3.3). Each phase has an equal share of the budget; the last one, which trains all stages, also has the remainder.
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


def concatenate(growth: Policy, end: Policy) -> Policy:
    """Return the policy whose phases are those of `growth` and then those of `end`."""
    return lambda depth, budget: [*growth(depth, budget), *end(depth, budget)]


@lru_cache
def spending(policy: Policy, depth: int) -> tuple[tuple[Phase, ...], ...]:
    """Return the phases in which a policy spends each part of a budget: that of each stage, and the end-to-end part."""
    much = 1_000_000  # so that no share of it rounds to 0
    parts = [much] * (depth + 1)

    def phases(given: list[int]) -> list[Phase]:
        return policy(depth, Updates(tuple(given[:-1]), given[-1]))

    usual = set(phases(parts))
    longer = [phases([*parts[:k], 2 * much, *parts[k + 1 :]]) for k in range(depth + 1)]
    return tuple(tuple(phase for phase in found if phase not in usual) for found in longer)


#: policies that grow a stack
GROWTHS: dict[str, Policy] = {
    "greedy": greedy,
    "greedy-pixels": greedy_pixels,
    "greedy-images": greedy_images,
    "progressive": progressive,
    "progressive-copy": progressive_copy,
    "progressive-identity": progressive_identity,
    "simultaneous": simultaneous,
    "supervised": supervised,
    "converge": converge,
    "resampled": resampled,
    "local": local,
    "local-images": local_images,
    "local-simultaneous": local_simultaneous,
}

#: end-to-end training that can follow any of them, after a "+"
ENDS: dict[str, Policy] = {"finetune": finetune, "unfreeze": unfreeze}

POLICIES: dict[str, Policy] = {
    name: policy
    for growth, function in GROWTHS.items()
    for name, policy in [
        (growth, function),
        *((f"{growth}+{end}", concatenate(function, after)) for end, after in ENDS.items()),
    ]
} | {
    "joint": joint,
    "joint-local": joint_local,
    "lock": lock,
    "end-to-end": end_to_end,
    "random": random,
    "greedy-first": greedy_first,
    "greedy-last": greedy_last,
}
