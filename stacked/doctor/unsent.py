"""What runs noted and MLflow lacks, since it failed or the process was killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

from stacked.doctor.finding import Finding, Kept, idle, send
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.store import Store
from stacked.tracking.pending_uploads import FOLDER
from stacked.tracking.run_sync import POINTS


def find(store: Store) -> Iterator[Finding]:
    """It is sent, points with their original times."""
    elsewhere, client = Counter[str](), StoreClient(store, "")
    made_at = client.made_at() if store.is_local else 0
    for run in idle(store):
        if run.record.store != store.name:
            elsewhere[run.record.store] += 1
            continue
        if run.record.run_id and run.record.started < made_at and client.lacks(run.record.run_id):
            yield Finding(
                f"{run.title}: MLflow's database was removed, and the one made since lacks the run",
                partial(send, run, store, again=True),
                "it is sent, but for the data it read and its model, which that database alone told of",
            )
        elif lacks := lacking(run):
            yield Finding(
                f"{run.title}: MLflow lacks {', '.join(lacks)}",
                partial(send, run, store),
                "it is sent",
            )
    for address, number in elsewhere.items():
        setting = "unset MLFLOW_TRACKING_URI" if address == "local" else f"set MLFLOW_TRACKING_URI to {address}"
        yield Finding(f"{number} runs are recorded in another store: to look after them, {setting}")


def lacking(run: Kept) -> list[str]:
    """What the store lacks of a run and its stages, in words."""
    runs = points = files = ends = 0
    for folder, record in run.all.items():
        path = folder / POINTS
        noted = path.read_bytes().count(b"\n") if path.exists() else 0
        runs += record.run_id is None or not record.tags_sent
        points += max(0, noted - record.points_sent)
        files += len(list((folder / FOLDER).glob("*.npz")))
        ends += record.ended is not None and not record.end_sent
    counts = {"runs or their tags": runs, "points": points, "pictures or files": files, "ends of runs": ends}
    return [f"{number} {what}" for what, number in counts.items() if number]
