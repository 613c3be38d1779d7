"""What a study leaves in MLflow beside its runs: saved views, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studies.record.names import experiment_name
from studies.statistics.rows import load_rows

if TYPE_CHECKING:
    from stacked.spec import RunSpec
    from stacked.tracking.backend.store import Store

#: (what the view shows, the key under which it is saved, the experiment's id)
View = tuple[str, str, str]


def save(study: str, base: RunSpec, out: Path, store: Store, experiment: str | None = None) -> list[View]:
    """Save the two views of a study, and its report as the artifacts of a run of its own.

    experiment: MLflow's experiment that has the runs (None: the one in which runs with this base are trained).
    """
    from stacked.tracking.backend.client import StoreClient
    from stacked.tracking.tracker import study_run
    from stacked.viewing.views import save_views

    experiment, columns = experiment or experiment_name(base), set(load_rows(out).columns)
    with study_run(store, experiment, study) as run:
        for path, folder in (
            (out / "README.md", "report"),
            (out / "runs.csv", "tables"),
            (out / "figures", "report/figures"),
        ):
            if path.exists():
                run.artifact(path, folder)
    budgets = ["all" if budget is None else str(budget) for budget in base.classification.labels]
    outcomes = [
        "final/recon_mse",
        "final/probe_acc",
        *(f"final/classifier_acc_{budget}" for budget in budgets),
    ]
    outcomes = [metric for metric in outcomes if metric in columns]
    keys = save_views(store, experiment, study, probe="final/probe_acc" in columns, images=True, outcomes=outcomes)
    return [(f"{study}: {name}", key, StoreClient(store, experiment).experiment_id) for name, key in keys.items()]
