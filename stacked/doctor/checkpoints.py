"""Checkpoints that no run needs, and incomplete files of killed processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from stacked.doctor.finding import Finding, idle, work_folders
from stacked.runs.checkpoint import NAME
from stacked.tracking.backend.store import Store
from stacked.tracking.run_record import FILE
from stacked.tracking.work_folder import InUse, held
from stacked.util.atomic import PARTS

#: Names of files being written by earlier versions.
OLD_PARTS = ".*-????????"


def find(store: Store) -> Iterator[Finding]:
    """Find needless files, to be deleted; the checkpoints after the phases of a finished run are kept."""
    for run in idle(store):
        if run.record.tags.get("kind") == "superseded":
            yield from _needless(run.title, "checkpoints of a run that was repeated", run.folder.glob("*.safetensors"))
        elif run.record.status == "FINISHED":
            yield from _needless(run.title, "checkpoints inside a phase", run.folder.glob("update-[01].safetensors"))
        for pattern in (PARTS, OLD_PARTS):
            yield from _needless(run.title, "incomplete files", run.folder.rglob(pattern))
    for folder in work_folders(store):
        with suppress(InUse), held(folder):
            if not (folder / FILE).exists():  # checked under the lock, so that no process is about to write it
                checkpoints = (path for path in folder.glob("*.safetensors") if NAME.fullmatch(path.name))
                yield from _needless(str(folder), "checkpoints without the record of a run", checkpoints)


def _needless(title: str, what: str, found: Iterator[Path]) -> Iterator[Finding]:
    paths = [path for path in found if path.is_file()]
    if paths:
        size = sum(path.stat().st_size for path in paths) / 1e6
        yield Finding(f"{title}: {len(paths)} {what}, {size:,.1f} MB", lambda: _delete(paths), "they are deleted")


def _delete(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
