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
#: the quantile of a part whose distance from the median is its scale
TAIL = 0.9
#: values of calibration images and new ones that are held at a time
MOST_VALUES = 8_000
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Ranks images among n calibration images, which are normal and were not trained on.

    kind: "reconstruction" or "density" ranks by that part; "both" takes the logarithm of each part, subtracts the median, divides
    by the distance from the median to the 90 % quantile, and ranks by the larger of the two, so that either part alone can
    raise an alarm. Low values, and high values of less than a tenth of the images, do not change this scale much, unlike a
    standard deviation. held: reconstruction errors and densities of the calibration images [2, n].

    Raises InputError for scores that are not finite; for "both" with a single image or equal errors; for "density" and "both"
    with equal densities of several images.
    """

    kind: str
    held: Values

    def __post_init__(self) -> None:
        choice(self.kind, SCORES, "score")
        used = self.held if self.kind == "both" else self._alone(self.held)
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
        """Return anomaly scores [N] of errors and densities [2, N]; infinite where a part that is used is not a number."""
        return self.score_and_p_value(parts)[0]

    def p_value(self, parts: Values) -> Values:
        """Return the conformal p-values [N] in (0, 1] of errors and densities [2, N].

        It is the share of n + 1 images, the calibration images and the image itself, that score at least as high as the image.
        For "both" the image is standardised together with the calibration images, since the guarantee holds for scores that
        treat all n + 1 images alike (Vovk, Gammerman & Shafer 2005, section 2.2).
        """
        return self.score_and_p_value(parts)[1]

    def score_and_p_value(self, parts: Values) -> tuple[Values, Values]:
        """Return what `score` and `p_value` return; an image with a lower p-value than another never has a lower score."""
        count = self.held.shape[1]
        if self.kind == "both":
            at_a_time = max(1, MOST_VALUES // (count + 1))
            starts = range(0, max(1, parts.shape[1]), at_a_time)
            found = [self._by_both(parts[:, k : k + at_a_time]) for k in starts]
            scores, as_high = (np.concatenate(each) for each in zip(*found, strict=True))
        else:
            scores, held = self._alone(parts), np.sort(self._alone(self.held))
            as_high = count - np.searchsorted(held, scores, side="left")
        return scores, (as_high + 1) / (count + 1)

    def _alone(self, parts: Values) -> Values:
        """Return the part [N] that `kind` names; infinite where it is not a number."""
        found = parts[SCORES.index(self.kind)]
        return np.where(np.isnan(found), np.inf, found)

    def _by_both(self, parts: Values) -> tuple[Values, NDArray[np.int64]]:
        """Return the scores [N] by both parts, and how many calibration images score as high [N].

        Scores are standardised with one more image that is higher than all calibration images. Where the image is not, its
        p-value comes from its own standardisation; the score is then clipped between the two calibration scores that match this
        p-value.
        """
        held, new = logarithms(self.held), logarithms(parts)
        new[:, ~np.isfinite(new).all(0)] = np.inf
        ranked, count = np.sort(held), held.shape[1]
        location, scale = location_and_scale(ranked, new)
        others = larger(held[:, None], location[:, :, None], scale[:, :, None])  # [N, n]
        as_high = (others >= larger(new, location, scale)[:, None]).sum(1)
        above_all = location_and_scale(ranked, np.full((2, 1), np.inf))
        levels = np.concatenate([[-np.inf], np.sort(larger(held, *above_all)), [np.inf]])
        return np.clip(larger(new, *above_all), levels[count - as_high], levels[count - as_high + 1]), as_high


def location_and_scale(ranked: Values, new: Values) -> tuple[Values, Values]:
    """Return the median [2, N] of n sorted values [2, n] and one of N new ones [2, N], and the distance of the 90 % quantile."""

    def ordered(rank: int) -> Values:
        """The value of this rank, from 1 to n - 1, among the n + 1 (0 is the lowest)."""
        return np.clip(new, ranked[:, rank - 1, None], ranked[:, rank, None])

    count = ranked.shape[1]
    median = (ordered(count // 2) + ordered((count + 1) // 2)) / 2
    return median, np.maximum(ordered(int(TAIL * count)) - median, ROUNDING)  # equal values differ by rounding at least


def larger(logs: Values, location: Values, scale: Values) -> Values:
    """Return the larger of two standardised parts [2, ...]."""
    return ((logs - location) / scale).max(0)


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
