"""Saves views, report and description of a study in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studies.record.names import experiment_name
from studies.statistics.rows import load_rows
from studies.statistics.words import Words
from studies.viewing.descriptions import BEGINNING, NOTE, of_experiment

if TYPE_CHECKING:
    from stacked.spec import RunSpec
    from stacked.tracking.backend.client import StoreClient
    from stacked.tracking.backend.store import Store

#: The artifact of a study's run that holds its report with all figures.
REPORT = "report.html"
#: (what the view shows, the key under which it is saved, the experiment's id)
View = tuple[str, str, str]


def save(
    study: str,
    base: RunSpec,
    out: Path,
    store: Store,
    experiment: str | None = None,
    pictures: bool = True,
    command: str = "",
) -> list[View]:
    """Save the two views of a study, its report as artifacts of a run of its own, and a description of the experiment.

    experiment: MLflow experiment of the runs (None: the one in which runs with this base are trained). pictures: whether the runs
    have pictures of reconstructions. command: that of the study, shown as the source of its run ("": not known).
    """
    from stacked.tracking.backend.client import StoreClient
    from stacked.tracking.tracker import study_run
    from stacked.viewing.views import save_views
    from studies.report.html import html_page

    rows = load_rows(out)
    experiment, columns = experiment or experiment_name(base), set(rows.columns)
    with study_run(store, experiment, study, command) as run:
        if (out / "README.md").exists():
            run.text(html_page(out / "README.md"), REPORT)
        for path, folder in (
            (out / "README.md", "report"),
            (out / "runs.csv", "tables"),
            (out / "figures", "report/figures"),
        ):
            if path.exists():
                run.artifact(path, folder)
    label_counts = ["all" if count is None else str(count) for count in base.classification.labels]
    final_metrics = [
        "final/recon_mse",
        "final/probe_acc",
        *(f"final/{metric}_{count}" for count in label_counts for metric in ("classifier_acc", "regressor_r2")),
    ]
    final_metrics = [metric for metric in final_metrics if metric in columns]
    has_probe = "final/probe_acc" in columns
    keys = save_views(store, experiment, study, probe=has_probe, images=pictures, outcomes=final_metrics)
    client = StoreClient(store, experiment)
    if keys:
        _describe(client, base, Words.of(rows))
    return [(f"{study}: {name}", key, client.experiment_id) for name, key in keys.items()]


def _describe(client: StoreClient, base: RunSpec, words: Words) -> None:
    """Describe the experiment, with the addresses of what its studies saved there, unless its user has described it."""
    from stacked.tracking.backend.circuit_breaker import ATTEMPT_SECONDS
    from stacked.tracking.backend.remote.http import ANSWER_SECONDS, bounded
    from stacked.viewing.views import EVERY, MEAN, view_key, view_url

    reports, links = {}, []
    with bounded(ATTEMPT_SECONDS, ANSWER_SECONDS):
        experiment = client.experiment_id
        for study, run in client.runs_by_name("tags.kind = 'study'").items():
            views = {name: view_url("", experiment, view_key(study, name)) for name in (MEAN, EVERY)}
            views["table of runs"] = view_url("", experiment, view_key(study, EVERY), table=True)
            reports[study] = f"#/experiments/{experiment}/runs/{run.info.run_id}/artifacts/{REPORT}"
            links += [(study, name, address.removeprefix("/")) for name, address in views.items()]
        if client.experiment_tags().get(NOTE, BEGINNING).startswith(BEGINNING):
            client.tag_experiment(NOTE, of_experiment(base, reports, links, words))
