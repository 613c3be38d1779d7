"""What the code at each depth keeps of its input, measured by a fresh decoder on validation examples."""

from __future__ import annotations

from stacked.data import Splits
from stacked.evaluation.evaluate import Reconstruction
from stacked.evaluation.fresh_decoder import FITTED, PENALTY, fresh_decoder_errors
from stacked.model.stack import StackedAutoencoder


def information_kept(
    stack: StackedAutoencoder, splits: Splits, *, examples: int = FITTED, penalty: float = PENALTY
) -> list[Reconstruction]:
    """Return the errors of validation inputs, restored from the code at each depth, from 0 (the inputs) on, by a fresh decoder.

    The decoders are those of `fresh_decoder_errors`, fitted to at most so many training `examples`. Raises Diverged if codes are
    not finite.
    """
    train, valid = splits.train.inputs, splits.valid.inputs
    return fresh_decoder_errors(stack, train, valid, range(stack.depth + 1), examples=examples, penalty=penalty)
