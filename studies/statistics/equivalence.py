"""Whether a mean lies within a margin around a value, or outside of it, by one-sided t-tests."""

from __future__ import annotations

from scipy import stats


def p_within(distance: float, error: float, n: int, margin: float) -> float:
    """Return the smallest alpha for which the (1 - alpha) t interval of a mean lies within `margin` of a value.

    distance: mean minus value. error: standard error of the mean of `n` values. It is twice the larger p of the two one-sided
    tests of Schuirmann (1987), at most 1, so that p < 0.05 where the 95 % interval lies within the margin. The customary level
    of 5 % for each of the two tests, which a 90 % interval decides, is less strict. If `error` is 0, p is 0 or 1.
    """
    return _two_sided(margin - abs(distance), error, n)


def p_outside(distance: float, error: float, n: int, margin: float) -> float:
    """Return the smallest alpha for which the (1 - alpha) t interval of a mean lies outside the margin; as `p_within`."""
    return _two_sided(abs(distance) - margin, error, n)


def _two_sided(room: float, error: float, n: int) -> float:
    """Return twice the probability that Student's t with n - 1 degrees of freedom exceeds room / error, at most 1."""
    if error == 0.0:
        return 1.0 if room < 0.0 else 0.0
    return min(1.0, 2.0 * float(stats.t.sf(room / error, n - 1)))
