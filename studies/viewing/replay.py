"""Copies a record that was trained elsewhere into MLflow."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.runtime.progress import each
from stacked.util.errors import InputError
from studies.record.names import configuration, experiment_name
from studies.record.runs import recorded
from studies.statistics.rows import arms_of, finished, load_curves, load_rows
from studies.statistics.words import Words
from studies.viewing.descriptions import NOTE, of_run
from studies.viewing.mlflow_page import View, save

if TYPE_CHECKING:
    import pandas as pd

    from stacked.spec import RunSpec
    from stacked.spec.growth import Phase
    from stacked.tracking.backend.store import Store

#: columns of a row that become tags of its run
TAGS = ("arm", "seed", "commit", "device", "threads")
#: the suffix of the names of experiment and study for committed records
COMMITTED = "committed record"


def replay(study: str, out: Path, store: Store, source: str = "record", command: str = "") -> list[View]:
    """Save views of the record in `out`, and return them; runs that were trained elsewhere are copied into the store first.

    If this store trained every finished run of the record, the views show those runs. Otherwise all runs of the record are
    copied into an experiment of their own, whose name ends with `source`, so that means do not mix two sources. Copies have the
    tag replayed=true, and the parameters, curves and final metrics of the original runs. command: that of the study, shown as
    their source ("": not known).
    """
    from stacked.tracking.run_record import read_record, source_tags
    from stacked.tracking.tracker import set_aside, was_replayed
    from stacked.viewing.group_colours import group_tags
    from studies.figures.style import arm_colours

    base, equal = recorded(out)
    rows, curves = _tables(out)
    work_folders = store.root / "work"
    for run in rows["run"]:
        # an earlier version put copies into the work folders of trained runs
        if was_replayed(store, work_folders / run):
            set_aside(store, work_folders / run)
    study_name = f"{study}-{configuration(base, equal)}"
    if all((work_folders / run).exists() for run in rows["run"]):
        return save(study_name, base, out, store, command=command)
    copy_name, experiment = f"{study_name}-{_suffix(source, out)}", f"{experiment_name(base)} ({source})"
    groups = group_tags(arm_colours(arms_of(rows)))
    commits = {
        work_folders / f"{copy_name}-{run}": str(commit)
        for run, commit in zip(rows["run"], rows["commit"], strict=True)
    }
    for work in [path.parent for path in work_folders.glob(f"{copy_name}-*/run.json")]:
        copied = read_record(work, store.name)
        # not if the copy was interrupted, or if the record was made again meanwhile
        is_current = copied.status == "FINISHED" and copied.tags["commit"] == commits.get(work)
        if copied.tags["kind"] == "arm" and not is_current:
            set_aside(store, work)
    for row in each(rows.to_dict("records"), f"runs of {out.name} copied into MLflow", "runs"):
        work = work_folders / f"{copy_name}-{row['run']}"
        if not work.exists():
            tags = {key: row[key] for key in TAGS} | groups[row["arm"]]
            tags |= {"kind": "arm", "study": copy_name, "spec": row["run"], "replayed": "true", **source_tags(command)}
            _copy(row, curves[curves["run"] == row["run"]], tags, store, experiment, work, Words.of(rows))
    return save(copy_name, base, out, store, experiment, pictures=False, command=command)


def _tables(out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of finished runs, and the curves; InputError if a column or value that is copied is missing."""
    rows, curves = finished(load_rows(out)), load_curves(out)
    for file, table, needed in (
        ("runs.csv", rows, (*TAGS, "updates")),
        ("curves.csv", curves, ("train/loss", "train/lr")),
    ):
        missing = [name for name in needed if name not in table]
        if missing:
            raise InputError(
                f"{out / file} lacks the column {missing[0]!r}, without which it cannot be shown: restore it"
            )
    if rows["updates"].isna().any():
        raise InputError(f"{out / 'runs.csv'} has a finished run without its updates, and cannot be shown: restore it")
    return rows, curves


def _suffix(source: str, out: Path) -> str:
    """Return the suffix of the study's name: `source`, and a hash of the path of `out` unless the record is committed."""
    words = source.replace(" ", "-")
    return words if source == COMMITTED else f"{words}-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:6]}"


def at_full_depth(point: Mapping[Any, Any], depth: int) -> dict[str, float]:
    """Return the metrics of a point once all stages are grown, which curves of earlier versions do not have; else none."""
    if point["phase"] != "untrained" and point.get("progress/stage") != depth:
        return {}
    names = {"eval/full_depth_mse": "eval/recon_mse", "progress/gflop_at_full_depth": "progress/gflop"}
    return {name: point[source] for name, source in names.items() if source in point}


def _copy(
    row: dict[Any, Any],
    points: pd.DataFrame,
    tags: Mapping[str, object],
    store: Store,
    experiment: str,
    work: Path,
    words: Words,
) -> None:
    """Log a recorded run: its points, a child run for each phase that was trained, and its final metrics."""
    from stacked.spec import from_json
    from stacked.tracking.tracker import Tracker
    from studies.record.parameters import parameters

    spec, name = from_json(row["spec"]), f"{row['arm']}/s{row['seed']}"
    all_tags: dict[str, object] = {**tags, NOTE: f"Copied from a record, not trained here.\n\n{of_run(spec, words)}"}
    if re.fullmatch("[0-9a-f]{40}", str(row["commit"])):
        all_tags["mlflow.source.git.commit"] = row["commit"]
    with Tracker(store, experiment, name=name, work=work, tags=all_tags, params=parameters(spec)) as tracker:
        for point in points.to_dict("records"):
            tracker.log(at_full_depth(point, spec.stack.depth) | measurements(point), step=int(point["step"]))
        for number, phase in enumerate(spec.phases(), start=1):
            if not phase.updates:
                continue
            trained = points[points["phase"] == phase.name].dropna(subset="train/loss")
            with tracker.phase(number, phase.name, _parameters(phase, spec)) as phase_run:
                for point in trained.to_dict("records"):
                    values = {"stage/loss": point["train/loss"], "stage/lr": point["train/lr"]}
                    phase_run.log(values, step=int(point["phase_step"]))
        tracker.log(measurements(row), step=0)


def _parameters(phase: Phase, spec: RunSpec) -> dict[str, object]:
    """Return the parameters of a recorded phase; omits `updates` where it is known only after training.

    That is so for a budget in epochs, and for a phase that also spends the FLOPs that earlier phases saved by converging early.
    """
    from stacked.runs.stage_parameters import stage_parameters

    config = spec.optimisation
    parameters = stage_parameters(phase, config)
    saves = any(config.patience_of(each) for each in spec.phases())
    if spec.budget.unit != "updates" or (phase.inherits_unspent_flops and saves):
        del parameters["updates"]
    return parameters


def measurements(values: dict[Any, Any]) -> dict[str, float]:
    """Return the columns of a row that are metrics and were measured."""
    return {str(key): float(value) for key, value in values.items() if "/" in str(key) and value == value}
