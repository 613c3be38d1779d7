"""Findings of the doctor, and the work folders that it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.store import Store
from stacked.tracking.pending_uploads import FOLDER as UNSENT
from stacked.tracking.run_record import FILE, RunRecord, read_record
from stacked.tracking.run_sync import METRIC_LOG
from stacked.tracking.tracker import Family
from stacked.tracking.work_folder import InUse, held
from stacked.util.errors import InputError
from stacked.util.links import check_inside, leads_out


class NotRepaired(Exception):
    """A repair failed, for the reason given."""


@dataclass(frozen=True)
class Finding:
    """A problem in one line, the function that repairs it (None: it must be repaired by hand), and the result of the repair."""

    line: str
    repair: Callable[[], object] | None = None
    then: str = ""


@dataclass(frozen=True)
class StoredRun:
    """A run in its work folder: its record, and those of its stages by their folders."""

    folder: Path
    record: RunRecord
    stages: dict[Path, RunRecord]

    @property
    def all(self) -> dict[Path, RunRecord]:
        """The records of the run and its stages, by folder."""
        return {self.folder: self.record, **self.stages}

    @property
    def title(self) -> str:
        """The run's name and folder."""
        return f"{self.record.name} in {self.folder}"


def work_folders(store: Store, *, linked: bool = False) -> list[Path]:
    """Return the work folders of a store; with `linked`, the links among them that lead out of it instead."""
    work = store.root / "work"
    return [path for path in sorted(work.glob("*/")) if leads_out(path, work) is linked]


def folders(store: Store) -> list[Path]:
    """Return the work folders that hold the record of a run."""
    return [path for path in work_folders(store) if (path / FILE).exists()]


def read(folder: Path) -> StoredRun:
    """Return the run in a work folder; InputError if a record is damaged, or a file is a link that leads elsewhere."""
    stages = sorted((folder / "stages").glob("[0-9]*"))
    check_inside(folder, folder / "stages", *stages)
    for each in (folder, *stages):
        check_inside(each, each / METRIC_LOG, each / UNSENT)
    return StoredRun(folder, read_record(folder), {path: read_record(path) for path in stages})


def readable(folders: Iterable[Path]) -> Iterator[StoredRun]:
    """Yield the runs in these folders whose records can be read."""
    for folder in folders:
        try:
            run = read(folder)
        except InputError:
            continue
        yield run


def idle(store: Store) -> Iterator[StoredRun]:
    """Yield the readable runs that no process trains; each is locked while it is used."""
    for folder in folders(store):
        with suppress(InUse), held(folder):
            yield from readable([folder])


def send(run: StoredRun, store: Store, *, ended: bool = False, again: bool = False) -> None:
    """Send what is pending of a run, also that it has `ended`, or everything `again`; NotRepaired if MLflow fails."""
    family = Family(StoreClient(store, run.record.experiment), run.folder, read_record(run.folder, store.name))
    if ended:
        family.end()
    if again:
        family.look_again()
    if not family.flush():
        raise NotRepaired("MLflow did not accept it: try again when it answers")
