"""The columns of the tables of a study of training runs: which hold numbers, and what these may be."""

from __future__ import annotations

import math
import re

from studies.statistics.lost_points import POINTS
from studies.statistics.reading import FINITE

_COST_NUMBERS = {
    "updates",
    "images_seen",
    "gflop",
    "span_gflop",
    "train_seconds",
    "seconds",
    "peak_mb",
    "codes_mb",
    "threads",
}
_NUMBERS = {"seed", "trial", "step", "phase_step", POINTS} | _COST_NUMBERS
WHOLE_NUMBERS = {"seed", "trial", "step", "phase_step", "updates", "images_seen", "threads", POINTS}
#: metrics that cannot be negative: errors, accuracies, and what a classifier or regressor was fitted with
_ERROR = re.compile(
    r"\w+/(recon_|valid_recon_|fresh_decoder_)?(mse|sse|fvu)(_depth\d+|_in_units)?|\w+/regressor_r?mse_\w+"
)
_ACCURACY = re.compile(r"\w+/((probe|classifier|classifier_valid)_acc(_\w+)?|\w+_(acc|nmi)(_depth\d+)?)")
_DETERMINATION = re.compile(r"\w+/regressor_(valid_)?r2_\w+")
_RAND_INDEX = re.compile(r"\w+/\w+_ari(_depth\d+)?")
_FITTED = re.compile(r"\w+/((classifier|regressor)_(lr|updates|valid_labels)_\w+|lr|grad_norm(_(encoder|decoder)\d+)?)")


def is_number(name: str) -> bool:
    """Return whether a column holds numbers; the metrics do, whose names have a slash."""
    return "/" in name or name in _NUMBERS


def limits(name: str) -> tuple[float, float]:
    """Return the least and the largest number that a column may hold."""
    if _ACCURACY.fullmatch(name):
        return 0.0, 1.0
    if _DETERMINATION.fullmatch(name):
        return FINITE[0], 1.0
    if _RAND_INDEX.fullmatch(name):
        return -1.0, 1.0
    if name in _NUMBERS or name.startswith("progress/") or _ERROR.fullmatch(name) or _FITTED.fullmatch(name):
        return 0.0, FINITE[1]
    if name.endswith("_psnr"):
        return FINITE[0], math.inf  # infinite if images are restored without any error
    return FINITE
