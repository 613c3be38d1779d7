"""The best runs of a study, chosen by measurements on validation images; the test images choose nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.statistics.rows import finished, trained_arms

if TYPE_CHECKING:
    import pandas as pd

#: The measure on validation images by which the best encoder of a study is chosen.
SELECTED_BY = "final/valid_recon_mse"
#: The beginning of the measure by which the best classifier of a label budget is chosen.
ACCURACY = "final/classifier_valid_acc_"


def best_run(rows: pd.DataFrame) -> pd.Series | None:
    """Return the row of the trained run with the lowest error on validation images; None if there is none."""
    done = finished(rows)
    done = done[done["arm"].isin(trained_arms(rows))]
    if SELECTED_BY not in done or done[SELECTED_BY].isna().all():
        return None
    return done.loc[done[SELECTED_BY].idxmin()]


def best_classifier(rows: pd.DataFrame) -> tuple[pd.Series, str] | None:
    """Return the row with the highest validation accuracy of a classifier of most labels, and these labels as in its name.

    The labels are a number or "all". None if there is no classifier.
    """
    done = finished(rows)
    found = [name.removeprefix(ACCURACY) for name in done if name.startswith(ACCURACY) and done[name].notna().any()]
    if not found:
        return None
    labels = "all" if "all" in found else max(found, key=int)
    return done.loc[done[ACCURACY + labels].idxmax()], labels
