"""Which blocks with a local loss alone leave out what a corruption hid from a block below them."""

from __future__ import annotations

from stacked.model.stack import StackedAutoencoder
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.spec.objectives import decoded_ranges


def following_blocks(stack: StackedAutoencoder, phase: Phase, config: Optimisation) -> set[int]:
    """Return the blocks, by their first stages, that read the code of what the block below left visible.

    Such a stage follows the one below, which left something out, and its own input is not corrupted. Only blocks of a phase whose
    local losses are alone do.
    """
    firsts = [first for first, _ in phase.ranges] if phase.local_loss == "alone" else []
    found, left_out = set[int](), False
    for k in range(phase.input_depth + 1, phase.depth + 1):
        stage = stack.stages[k - 1]
        is_corrupted = k in firsts and any(config.levels_at(k - 1, phase))
        if k in firsts[1:] and left_out and stage.follows and not is_corrupted:
            found.add(k)
        left_out = stage.visible_only and (is_corrupted or (left_out and stage.follows))
    return found


def last_clean_read(phase: Phase, config: Optimisation, following: set[int]) -> int:
    """Return the first stage of the uppermost block that needs the code of uncorrupted examples.

    It corrupts that code, or its decoders restore it. following: those of `following_blocks`.
    """
    firsts = {first for first, _ in phase.ranges}
    decoded = {first for first, _ in decoded_ranges(phase, config)}
    return max((firsts - following) | (firsts & decoded))
