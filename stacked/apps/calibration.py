"""Anomaly scores and conformal p-values, from the reconstruction errors and code densities of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked.util.checks import choice, need

SCORES = ("reconstruction", "density", "both")
#: relative difference of a value between batches that is attributed to rounding in float32
ROUNDING = 2.0**-18
#: a mean squared error of pixels in 0..1 below this one is rounding in float32
LEAST_ERROR = float(np.finfo(np.float32).eps) ** 2
#: values of calibration images and new ones that are held at a time
MOST_VALUES = 100_000
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Ranks images among n calibration images, which are normal and were not trained on.

    kind: "reconstruction" or "density" ranks by that part; "both" takes the logarithm of each part, standardises it, and ranks by
    the larger of the two, so that either part alone can raise an alarm. held: reconstruction errors and densities of the
    calibration images [2, n].

    Raises InputError where the calibration images give no order.
    """

    kind: str
    held: Values

    def __post_init__(self) -> None:
        choice(self.kind, SCORES, "score")
        used = self.held if self.kind == "both" else self.score(self.held)
        need(
            bool(np.isfinite(used).all()),
            f"the scores {self.kind!r} of normal images are not all finite: give other images or another spec",
        )
        error, density = np.maximum(self.held, LEAST_ERROR)
        alone = self.held.shape[1] == 1
        need(
            self.kind != "both" or not alone,
            "score 'both' needs at least 2 calibration images, and there is 1: give more normal images or a larger held_out, or "
            "score 'reconstruction'",
        )
        need(
            self.kind == "reconstruction" or alone or vary(density),
            f"normal images all have the same density of their codes, so that score {self.kind!r} is not defined: give other "
            "images or another spec, or score 'reconstruction'",
        )
        need(
            self.kind != "both" or vary(error),
            "normal images are all reconstructed with the same error, so that score 'both' is not defined: give score 'density'",
        )

    def score(self, parts: Values) -> Values:
        """Return anomaly scores [N] of errors and densities [2, N]; infinite where a part that is used is not a number.

        For "both" each part is standardised by the mean and the standard deviation over the calibration images.
        """
        if self.kind == "both":
            found = np.full(parts.shape[1], -np.inf)
            for part, held in zip(parts, self.held, strict=True):  # one after the other, to hold few copies
                held_logs, logs = logarithms(held), logarithms(part)
                with np.errstate(invalid="ignore"):
                    logs -= held_logs.mean()
                    logs /= held_logs.std()
                np.maximum(found, logs, out=found)  # NaN where either is NaN
        else:
            found = parts[SCORES.index(self.kind)]
        return np.where(np.isnan(found), np.inf, found)

    def p_value(self, parts: Values) -> Values:
        """Return the conformal p-values [N] in (0, 1] of errors and densities [2, N].

        It is the share of n + 1 images, the calibration images and the image itself, that score at least as high as the image.
        For "both" the image is standardised together with the calibration images, since the guarantee holds for scores that
        treat all n + 1 images alike (Vovk, Gammerman & Shafer 2005, section 2.2).
        """
        count = self.held.shape[1]
        if self.kind != "both":
            held = np.sort(self.score(self.held))
            return (count - np.searchsorted(held, self.score(parts), side="left") + 1) / (count + 1)
        at_a_time = max(1, MOST_VALUES // (count + 1))
        found = [self._p_value_of_both(parts[:, k : k + at_a_time]) for k in range(0, parts.shape[1], at_a_time)]
        return np.concatenate(found) if found else np.zeros(0)

    def _p_value_of_both(self, parts: Values) -> Values:
        new = logarithms(parts)[:, :, None]
        is_number = np.isfinite(new).all((0, 2))
        new[:, ~is_number] = 0.0
        held = np.broadcast_to(logarithms(self.held)[:, None], (2, new.shape[1], self.held.shape[1]))
        every = np.concatenate([held, new], 2)  # [2, N, n + 1], the image itself last
        scores = ((every - every.mean(2, keepdims=True)) / every.std(2, keepdims=True)).max(0)
        as_high = (scores >= scores[:, -1:]).sum(1)
        return np.where(is_number, as_high, 1) / scores.shape[1]


def logarithms(parts: Values) -> Values:
    """Return the logarithms of errors or densities, which are at least 0."""
    return np.log(np.maximum(parts, LEAST_ERROR))


def vary(values: NDArray[Any]) -> bool:
    """Whether values [N] or [N, n] of N images differ by more than rounding in float32."""
    low, high = values.min(0), values.max(0)
    return bool((high - low > ROUNDING * np.maximum(np.abs(low), np.abs(high))).any())


def fewest(false_alarms: float) -> int:
    """Return the least number of calibration images for which a p-value can be as low as the false-alarm rate."""
    return int(np.ceil(1 / false_alarms - 1e-9)) - 1
