"""Random draws that are the same on every machine and with every version of NumPy, for data that are generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: the number 1 in fixed point with 20 bits after the point: arithmetic of integers gives the same on all machines
ONE = 1 << 20


class Draws:
    """A stream of draws from a seed.

    NumPy promises that the raw numbers of a bit generator never change, but not what its `Generator` makes of them.
    """

    def __init__(self, seed: int) -> None:
        self.bits = np.random.PCG64(seed)

    def integers(self, n: int, most: int) -> NDArray[np.int64]:
        """Return n integers from 0 to `most` - 1, where `most` is below 2**31; the bias of 2**-32 at most is not corrected."""
        return ((self.bits.random_raw(n) >> np.uint64(32)) * np.uint64(most) >> np.uint64(32)).astype(np.int64)

    def directions(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the cosines and sines, times ONE and rounded, of n angles that are uniform in [0, 2 pi)."""
        angles = 2 * np.pi * (self.bits.random_raw(n) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return np.rint(np.cos(angles) * ONE).astype(np.int64), np.rint(np.sin(angles) * ONE).astype(np.int64)

    def geometric(self, n: int, p: float) -> NDArray[np.int64]:
        """Return n numbers of trials, from 1, up to the first success, whose probability is p."""
        left = (1 + (self.bits.random_raw(n) >> np.uint64(11))).astype(np.float64) * 2.0**-53  # in (0, 1]
        return (1 + np.floor(np.log(left) / np.log1p(-p))).astype(np.int64)

    def permutation(self, n: int) -> NDArray[np.int64]:
        """Return the numbers 0 to n - 1 in random order."""
        return np.argsort(self.bits.random_raw(n), kind="stable")
