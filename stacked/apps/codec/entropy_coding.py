"""Entropy coding of quantised codes: an asymmetric numeral system (Duda 2013) with fixed frequencies for each channel.

Needs the package constriction (optional dependencies "compression").
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked.util.checks import need
from stacked.util.errors import InputError

#: most by which the coder can increase a probability in rounding
ROUNDED = 2.0**-11
#: most bits by which a payload can be shorter than the information in its symbols, because of the coder's initial state
SLACK = 256
#: added to the count of each value, so that values that did not occur in training can be coded
UNSEEN = 0.5

#: rounded codes [tiles, channels, positions]; the values of a channel count from 0
Symbols = NDArray[np.int32]
#: for each channel, how often each of its values occurred in training
Counts = Sequence[NDArray[np.int64]]


def compress(symbols: Symbols, counts: Counts) -> bytes:
    """Return symbols as bytes, channel by channel."""
    coder = _constriction().stream.stack.AnsCoder()
    models = _models(counts)
    for k in reversed(range(len(models))):  # the coder is a stack: the last channel is decoded first
        if models[k] is not None:
            coder.encode_reverse(np.ascontiguousarray(symbols[:, k]).ravel(), models[k])
    return coder.get_compressed().astype("<u4").tobytes()


def decompress(payload: bytes, counts: Counts, tiles: int, positions: int, name: str) -> Symbols:
    """Return the symbols of this number of tiles; InputError naming the file if the bytes do not hold exactly these."""
    broken = f"{name} does not hold the images that its header declares: encode them again"
    need(len(payload) % 4 == 0, broken)
    # checked before memory is allocated for the symbols
    need(8 * len(payload) + SLACK >= tiles * positions * _fewest_bits(counts), broken)
    stack, models = _constriction().stream.stack, _models(counts)
    try:
        coder = stack.AnsCoder(np.frombuffer(payload, "<u4").astype(np.uint32))
        symbols = np.zeros((tiles, len(counts), positions), dtype=np.int32)
        for k, model in enumerate(models):
            if model is not None:
                symbols[:, k] = coder.decode(model, tiles * positions).reshape(tiles, positions)
    except ValueError as error:
        raise InputError(broken) from error
    need(coder.is_empty(), broken)
    return symbols


def _models(counts: Counts) -> list[Any]:
    """Return the distribution of each channel, or None for a channel with only one value."""
    categorical = _constriction().stream.model.Categorical
    return [
        categorical((count + UNSEEN) / (count.sum() + UNSEEN * len(count)), perfect=False) if len(count) > 1 else None
        for count in counts
    ]


def _fewest_bits(counts: Counts) -> float:
    """Return the bits of the most frequent values of all channels together, at one position of one tile."""
    most = [(count.max() + UNSEEN) / (count.sum() + UNSEEN * len(count)) for count in counts if len(count) > 1]
    return -sum(math.log2(min(1.0, share + ROUNDED)) for share in most)


def _constriction() -> Any:
    need(
        importlib.util.find_spec("constriction") is not None,
        "compression needs the package constriction: pip install 'stacked[compression]'",
    )
    import constriction

    return constriction
