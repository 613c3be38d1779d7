"""The measures on validation images by which trials are compared: reconstruction errors, linear probes, a classifier."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stacked.util.checks import need

if TYPE_CHECKING:
    from stacked.data import Splits

#: measures that need no classifier; the first is the default
MEASURES = ("recon_mse", "recon_fvu", "recon_sse", "probe_acc", "svm_acc")
#: the accuracy of the classifier that is fine-tuned with so many labels
CLASSIFIER = re.compile(r"classifier_acc_(?P<labels>all|[1-9]\d*)")


def check_measure(measure: str) -> None:
    """Raise InputError unless trials can be compared by this measure."""
    need(
        measure in MEASURES or CLASSIFIER.fullmatch(measure) is not None,
        f"tuning measure {measure!r} is not known: choose from {', '.join(MEASURES)}, classifier_acc_all and classifier_acc_N, "
        "with a number of labels N",
    )


def check_classes(measure: str, splits: Splits) -> None:
    """Raise InputError if the measure is an accuracy and the data have no classes."""
    need(
        bool(splits.classes) or "_acc" not in measure,
        f"trials are compared by {measure!r}, and {splits.name} has no classes: tune on data with classes",
    )


def label_budget(measure: str) -> tuple[bool, int | None]:
    """Return whether a measure is the accuracy of a classifier, and with how many labels it is trained (None: all)."""
    match = CLASSIFIER.fullmatch(measure)
    return match is not None, None if match is None or match["labels"] == "all" else int(match["labels"])


def probes_of(measure: str, probes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the probes of a trial: the one that is its measure, none for a classifier, else the linear probe, for information.

    probes: those of the study's runs; if they are others than the linear probe, which can take long, it is left out.
    """
    if label_budget(measure)[0]:
        return ()
    if measure == "svm_acc":
        return ("svm",)
    return () if measure != "probe_acc" and probes and "logistic" not in probes else ("logistic",)


def validation_measures(row: Mapping[str, Any], measure: str) -> dict[str, float]:
    """Return the measures of a finished trial, as columns of trials.csv: of `MEASURES` those that `row` has, and `measure`.

    row: that of a run on validation images in place of test images. The accuracy of a classifier is that on the validation images
    by which its recipe selects the learning rate and the number of updates. Raises InputError if `row` lacks it.
    """
    found = {f"valid/{name}": row[f"final/{name}"] for name in MEASURES if f"final/{name}" in row}
    if label_budget(measure)[0]:
        selecting = f"final/{measure.replace('_acc_', '_valid_acc_')}"
        need(
            selecting in row,
            f"{measure!r} was not measured, because the encoder learned more labels: tune by another measure",
        )
        found[f"valid/{measure}"] = row[selecting]
    return found
