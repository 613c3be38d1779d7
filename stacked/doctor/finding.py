"""What the doctor finds, and the work folders it looks through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.store import Store
from stacked.tracking.pending_uploads import FOLDER as UNSENT
from stacked.tracking.run_record import FILE, RunRecord, read_record
from stacked.tracking.run_sync import POINTS
from stacked.tracking.tracker import Family
from stacked.tracking.work_folder import InUse, held
from stacked.util.errors import InputError
from stacked.util.links import check_inside


class NotMended(Exception):
    """Something could not be mended, for the reason given."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, in a line; what mends it (None: only a person can), and what is so afterwards."""

    line: str
    mend: Callable[[], object] | None = None
    then: str = ""


@dataclass(frozen=True)
class Kept:
    """A run as its work folder remembers it: its own record, and those of its stages by their folders."""

    folder: Path
    record: RunRecord
    stages: dict[Path, RunRecord]

    @property
    def all(self) -> dict[Path, RunRecord]:
        """The records of the run and its stages by their folders."""
        return {self.folder: self.record, **self.stages}

    @property
    def title(self) -> str:
        """The run's name, and where it lies."""
        return f"{self.record.name} in {self.folder}"


def folders(store: Store) -> list[Path]:
    """The work folders that hold the record of a run."""
    return sorted(path.parent for path in (store.root / "work").glob(f"*/{FILE}"))


def read(folder: Path) -> Kept:
    """What a work folder holds; InputError when a record in it is damaged, or a link."""
    stages = sorted((folder / "stages").glob("[0-9]*"))
    check_inside(folder, *stages)
    for each in (folder, *stages):
        check_inside(each, each / POINTS, each / UNSENT)
    return Kept(folder, read_record(folder), {path: read_record(path) for path in stages})


def whole(folders: Iterable[Path]) -> Iterator[Kept]:
    """The runs in these folders whose records are whole."""
    for folder in folders:
        try:
            run = read(folder)
        except InputError:
            continue
        yield run


def idle(store: Store) -> Iterator[Kept]:
    """The runs whose records are whole and that no process trains now; each is held while it is looked at."""
    for folder in folders(store):
        with suppress(InUse), held(folder):
            yield from whole([folder])


def send(run: Kept, store: Store, *, ended: bool = False, again: bool = False) -> None:
    """Send what waits of a run, or that it has ended too, or all of it again; NotMended when MLflow does not take it."""
    family = Family(StoreClient(store, run.record.experiment), run.folder, read_record(run.folder, store.name))
    if ended:
        family.end()
    if again:
        family.look_again()
    if not family.flush():
        raise NotMended("MLflow did not take it: try again when it answers")
