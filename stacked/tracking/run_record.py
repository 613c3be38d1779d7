"""The record of a run in its work folder: `run.json`, written atomically."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stacked.util.atomic import write_atomically, writing
from stacked.util.checks import choice, whole
from stacked.util.errors import InputError
from stacked.util.links import check_inside
from stacked.util.paths import without_login
from stacked.util.reading import text_of
from stacked.util.serialization import from_dict, parsed

FILE = "run.json"
FAILURE_TAG = "failure"
STATUS = ("RUNNING", "FINISHED", "FAILED", "KILLED")


@dataclass
class RunRecord:
    """The record of a run, and how much of it the store called `store` has; times are in ms since 1970.

    key: tag by which the run is found in the store if the process ended before it learned the run's id.
    """

    store: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    started: int
    ended: int | None = None
    status: str = "RUNNING"
    parent: str | None = None
    run_id: str | None = None
    points_sent: int = 0
    tags_sent: bool = False
    end_sent: bool = False
    done: list[str] = field(default_factory=list)
    experiment: str = ""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        choice(self.status, STATUS, "status")
        for name in ("started", "points_sent", *(("ended",) if self.ended is not None else ())):
            whole(getattr(self, name), name, 0)

    def save(self, folder: Path) -> None:
        """Write the record into the run's work folder."""
        write_atomically(folder / FILE, json.dumps(asdict(self), indent=1))

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Add or change tags, as text."""
        self.tags.update({key: str(value) for key, value in tags.items()})
        self.tags_sent = False

    def resume(self, name: str) -> None:
        """Mark the run as running again."""
        self.name, self.status, self.ended, self.end_sent = name, "RUNNING", None, False
        self.tags.pop(FAILURE_TAG, None)

    def forget_store(self) -> None:
        """Mark everything as not sent, because the store does not have the run."""
        self.run_id, self.points_sent, self.tags_sent, self.end_sent, self.done = None, 0, False, False, []
        self.key = uuid.uuid4().hex


def open_record(
    folder: Path, store: str, experiment: str, name: str, tags: Mapping[str, object], params: Mapping[str, object]
) -> RunRecord:
    """Create or resume the record of a run, in an experiment of the store with this name.

    Raises `InputError` if the folder holds a run with other parameters.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    texts = {key: str(value) for key, value in params.items()}
    if (folder / FILE).exists():
        record = read_record(folder, store)
        _check_params(folder, record.params, texts)
        record.resume(name)
    else:
        record = RunRecord(store, name, {}, texts, started=now())
    record.experiment = experiment
    record.set_tags(tags)
    return record


def read_record(folder: Path, store: str | None = None) -> RunRecord:
    """Return the record in a folder. If it was made with a store of another name, everything is marked as not sent."""
    path = folder / FILE
    check_inside(folder, path)
    try:
        record = from_dict(RunRecord, parsed(text_of(path)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is not the record of a run ({error}); move its folder away to start the run afresh"
        ) from error
    if record.store.startswith("sqlite:") and record.store.endswith("/mlflow.db"):
        record.store = "local"  # the name in records of earlier versions
    record.store = without_login(record.store)  # earlier versions kept logins
    if store is not None and record.store != store:
        record.store = store
        record.forget_store()
    return record


def source_tags(command: str) -> dict[str, str]:
    """Return the tags that MLflow shows as the source of a run, the command that made it; none if it is not known ("")."""
    return {"mlflow.source.name": command, "mlflow.source.type": "LOCAL"} if command else {}


def now() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _check_params(folder: Path, then: Mapping[str, str], today: Mapping[str, str]) -> None:
    differing = [key for key in sorted(then.keys() | today.keys()) if then.get(key) != today.get(key)]
    if differing:
        changes = ", ".join(f"{key}: {then.get(key)} then, {today.get(key)} now" for key in differing)
        raise InputError(f"{folder} holds a run with other parameters ({changes}); use another folder")
