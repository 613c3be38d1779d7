"""What runs noted and MLflow lacks, since it failed or the process was killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stacked.doctor.finding import Finding, idle, send
from stacked.errands import FOLDER
from stacked.mlflow_store import Store
from stacked.run_record import RunRecord
from stacked.tracking import POINTS


def find(store: Store) -> Iterator[Finding]:
    """It is sent, points with their original times."""
    elsewhere = Counter[str]()
    for run in idle(store):
        if run.record.store != store.name:
            elsewhere[run.record.store] += 1
            continue
        lacks = [what for folder, record in run.all.items() for what in lacking(folder, record)]
        if lacks:
            yield Finding(
                f"{run.title}: MLflow lacks {', '.join(lacks)}",
                partial(send, run, store),
                "it is sent",
            )
    for address, number in elsewhere.items():
        setting = "unset MLFLOW_TRACKING_URI" if address == "local" else f"set MLFLOW_TRACKING_URI to {address}"
        yield Finding(f"{number} runs are recorded in another store: to look after them, {setting}")


def lacking(folder: Path, record: RunRecord) -> list[str]:
    """What the store lacks of a run, or of a stage, in words."""
    points = folder / POINTS
    unsent = (points.read_bytes().count(b"\n") if points.exists() else 0) - record.points_sent
    files = len(list((folder / FOLDER).glob("*.npz")))
    found = [f"{record.name!r} itself"] if record.run_id is None else []
    found += [f"{unsent} points of {record.name!r}"] if unsent > 0 else []
    found += [f"{files} pictures or files of {record.name!r}"] if files else []
    found += [f"tags of {record.name!r}"] if not record.tags_sent else []
    return found + ([f"the end of {record.name!r}"] if record.ended is not None and not record.end_sent else [])
