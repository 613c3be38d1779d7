"""The best runs of a study, chosen by measurements on validation images; the test images choose nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.statistics.rows import finished, trained_arms

if TYPE_CHECKING:
    import pandas as pd

#: The measure on validation images by which the best encoder of a study is chosen.
SELECTED_BY = "final/valid_recon_mse"
#: The beginnings of the measures by which the best classifier and the best regressor of a label budget are chosen.
SCORES = {"classifier": "final/classifier_valid_acc_", "regressor": "final/regressor_valid_r2_"}


def best_run(rows: pd.DataFrame) -> pd.Series | None:
    """Return the row of the trained run with the lowest error on validation images; None if there is none."""
    done = finished(rows)
    done = done[done["arm"].isin(trained_arms(rows))]
    if SELECTED_BY not in done or done[SELECTED_BY].isna().all():
        return None
    return done.loc[done[SELECTED_BY].idxmin()]


def best_supervised(rows: pd.DataFrame, kind: str) -> tuple[pd.Series, str] | None:
    """Return the row with the highest validation score of a model of most labels, and these labels as in its name.

    kind: "classifier", scored by accuracy, or "regressor", by R². The labels are a number or "all". None if there is no model.
    """
    done, score = finished(rows), SCORES[kind]
    found = [name.removeprefix(score) for name in done if name.startswith(score) and done[name].notna().any()]
    if not found:
        return None
    labels = "all" if "all" in found else max(found, key=int)
    return done.loc[done[score + labels].idxmax()], labels
