"""Blocks: any policy trains blocks of several stages instead of single stages, by renumbering its phases.

A block is some neighbouring stages that a policy trains as it otherwise trains one. (The blocks of a residual or transformer
stage are parts of a single stage.)

Siddiqui et al. 2023 train four blocks of a residual network in this way, Wang et al. 2021 up to sixteen.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate

from stacked.spec.growth import Phase, Policy, Updates
from stacked.util.checks import need, whole

#: None: single stages; a number: stages of every block, of which the last one may have fewer; or those of each block
Blocks = int | tuple[int, ...] | None
#: the number of a block at the end of a phase's name, or those of its first and last block
NUMBERS = re.compile(r"(stage )?(\d+)(?:-(\d+))?$")


def block_lengths(blocks: Blocks, depth: int) -> tuple[int, ...]:
    """Return the number of stages of each block of a stack, from the bottom; InputError if they do not fit its depth."""
    if blocks is None:
        return (1,) * depth
    if isinstance(blocks, tuple):
        for length in blocks:
            whole(length, "length of a block")
        need(
            sum(blocks) == depth,
            f"blocks {blocks} have {sum(blocks)} stages, and the stack has {depth}: give lengths whose sum is {depth}",
        )
        return blocks
    whole(blocks, "blocks")
    need(blocks <= depth, f"blocks of {blocks} stages do not fit a stack of {depth}: give at most {depth}")
    full, rest = divmod(depth, blocks)
    return (blocks,) * full + (rest,) * (rest > 0)


@lru_cache
def in_blocks(policy: Policy, lengths: tuple[int, ...]) -> Policy:
    """Return the policy that trains blocks of these `lengths` as `policy` trains stages.

    It takes the number of blocks as depth and a budget for each block; its phases count stages.
    """
    if all(length == 1 for length in lengths):
        return policy
    ends = (0, *accumulate(lengths))

    def in_stages(phase: Phase) -> Phase:
        first, last = phase.trainable
        return replace(
            phase,
            name=NUMBERS.sub(lambda found: stage_numbers(found, ends), phase.name),
            trainable=(ends[first - 1] + 1, ends[last]),
            input_depth=ends[phase.input_depth],
            blocks=() if phase.local_loss == "none" else lengths[first - 1 : last],
        )

    def policy_of_blocks(depth: int, budget: Updates) -> list[Phase]:
        return [in_stages(phase) for phase in policy(depth, budget)]

    return policy_of_blocks


def stage_numbers(found: re.Match[str], ends: tuple[int, ...]) -> str:
    """Return the end of a phase's name with the numbers of stages instead of blocks. ends: the last stages of all blocks."""
    word, first, last = found[1] or "", int(found[2]), int(found[3] or found[2])
    if not 1 <= first <= last < len(ends):
        return found[0]
    bottom, top = ends[first - 1] + 1, ends[last]
    if bottom == top and found[3] is None:
        return f"{word}{top}"
    return f"{word and 'stages '}{bottom}-{top}"
