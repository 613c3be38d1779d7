"""Parts of runs that MLflow lacks because it failed or the process was killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

from stacked.doctor.finding import Finding, StoredRun, idle, send
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.store import Store
from stacked.tracking.pending_uploads import FOLDER
from stacked.tracking.run_sync import METRIC_LOG
from stacked.util.reading import content_of


def find(store: Store) -> Iterator[Finding]:
    """Find such parts, to be sent with their original times."""
    elsewhere, client = Counter[str](), StoreClient(store, "")
    made_at = client.made_at() if store.keeps_files else 0
    for run in idle(store):
        if run.record.store != store.name:
            elsewhere[run.record.store] += 1
            continue
        if run.record.run_id and run.record.started < made_at and client.lacks(run.record.run_id):
            yield Finding(
                f"{run.title}: MLflow's database was removed, and the new one lacks the run",
                partial(send, run, store, again=True),
                "it is sent, except for its datasets and its model, which only the old database had",
            )
        elif lacks := lacking(run):
            yield Finding(
                f"{run.title}: MLflow lacks {', '.join(lacks)}",
                partial(send, run, store),
                "it is sent",
            )
    for address, number in elsewhere.items():
        setting = "unset MLFLOW_TRACKING_URI" if address == "local" else f"set MLFLOW_TRACKING_URI to {address}"
        yield Finding(f"{number} runs are recorded in another store: to check them, {setting}")


def lacking(run: StoredRun) -> list[str]:
    """Return descriptions of what the store lacks of a run and its stages."""
    runs = entries = files = ends = 0
    for folder, record in run.all.items():
        path = folder / METRIC_LOG
        logged = content_of(path).count(b"\n") if path.exists() else 0
        runs += record.run_id is None or not record.tags_sent
        entries += max(0, logged - record.points_sent)
        files += len(list((folder / FOLDER).glob("*.npz")))
        ends += record.ended is not None and not record.end_sent
    counts = {"runs or their tags": runs, "metric entries": entries, "pictures or files": files, "ends of runs": ends}
    return [f"{number} {what}" for what, number in counts.items() if number]
