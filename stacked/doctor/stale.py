"""Runs that are RUNNING in MLflow although no process trains them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from stacked.doctor.finding import Finding, folders, idle, readable, send
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.store import Store
from stacked.tracking.run_record import now

#: A run without a work folder here may be trained elsewhere, unless it has logged nothing for this number of hours.
SILENT_HOURS = 24.0


def find(store: Store) -> Iterator[Finding]:
    """Find such runs, to be marked KILLED at the time of their last metrics; a run that is resumed is RUNNING again."""
    for run in idle(store):
        if run.record.store == store.name and any(record.ended is None for record in run.all.values()):
            yield Finding(
                f"{run.title} is RUNNING, and no process trains it",
                partial(send, run, store, ended=True),
                "it is KILLED",
            )
    known = {record.run_id for run in readable(folders(store)) for record in run.all.values()}
    client = StoreClient(store, "")
    for stored in client.running():
        if stored.info.run_id in known:
            continue
        heard = client.last_heard_of(stored)
        hours = (now() - heard) / 3_600_000
        line = (
            f"{stored.info.run_name} ({stored.info.run_id}) is RUNNING, has no work folder here, and logged its last metric "
            f"{hours:,.1f} hours ago"
        )
        if hours < SILENT_HOURS or not store.is_local:
            yield Finding(line)
        else:
            yield Finding(
                line,
                partial(client.end_run, stored.info.run_id, "KILLED", heard),
                "it is KILLED",
            )
