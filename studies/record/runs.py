"""The record of a study of training runs: configuration, budgets, runs.csv, curves.csv, trials.csv and samples.

Files are written atomically. Rows are appended to CSV files; a last line that a killed process left incomplete is removed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from stacked.cli.overwriting import below, check_own
from stacked.spec import Budget, RunSpec, from_json
from stacked.spec.differences import stored_spec_differences
from stacked.util.atomic import write_atomically, writing
from stacked.util.checks import need
from stacked.util.errors import InputError
from stacked.util.serialization import from_dict, to_dict, to_json
from studies.record.backup import RecordRemoved
from studies.record.samples import write_arrays
from studies.record.table_file import Table
from studies.statistics.checksums import object_text
from studies.statistics.lost_points import POINTS
from studies.statistics.reading import json_object
from studies.statistics.rows import FINISHED, curves_so_far, rows_so_far
from studies.statistics.trials import FILE, stored_trials

if TYPE_CHECKING:
    import pandas as pd

#: Files that a study replaces when it is run again, and patterns of files in subfolders.
FILES = (
    "README.md",
    "runs.csv",
    "curves.csv",
    "trials.csv",
    "choices.json",
    "reference.json",
    "budgets.json",
    "configuration.json",
)
PICTURES = ("samples/*.npz", "figures/*.png")


def prepare(out: Path, base: RunSpec, equal: str, digest: str) -> None:
    """Create the folder and write configuration.json, which holds what its runs share and the digest of the data.

    Raises InputError if the folder holds runs of another configuration, runs on other data with the same name, or files with
    these names that no study wrote.
    """
    path = out / "configuration.json"
    mine = {"equal": equal, "data": digest, "base": to_json(base)}
    if not os.path.exists(path):  # unlike Path.exists it never raises; an invalid path is reported when it is written
        check_own(False, below(out, *FILES, *PICTURES))
        write_atomically(path, object_text(mine))
        return
    theirs = _configuration(path)
    if theirs.get("data") != digest and theirs["base"] == mine["base"]:
        raise InputError(f"{out} holds runs on other data with the name {base.data.name!r}: choose another --out")
    if theirs != mine:
        equals = "" if theirs["equal"] == equal else f"equal is {theirs['equal']!r} there and {equal!r} here"
        specs = stored_spec_differences(theirs["base"], base) if theirs["base"] != mine["base"] else ""
        others = f"it has the fields {', '.join(sorted(theirs))}"
        raise InputError(
            f"{out} holds another configuration ({'; '.join(filter(None, [specs, equals])) or others}): choose another --out"
        )


def recorded(out: Path) -> tuple[RunSpec, str]:
    """Return (base spec, the cost that is equal) of the runs in a folder; InputError if configuration.json is invalid."""
    record = _configuration(out / "configuration.json")
    with _read_from(out / "configuration.json"):
        return from_json(record["base"]), record["equal"]


def _configuration(path: Path) -> dict[str, Any]:
    found = json_object(path)
    with _read_from(path):
        need(all(isinstance(found.get(name), str) for name in ("equal", "base")), "it lacks 'equal' or 'base'")
    return found


@contextmanager
def _read_from(path: Path) -> Iterator[None]:
    """Context that adds the path and advice to an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path} was not written by a study ({error}): restore it, or choose another --out") from error


def load_budgets(out: Path) -> dict[str, Budget]:
    """Return the budgets in budgets.json by arm, empty without the file; measured budgets must not be measured again."""
    path = out / "budgets.json"
    if not path.exists():
        return {}
    found = json_object(path)
    with _read_from(path):
        return {arm: from_dict(Budget, values) for arm, values in found.items()}


def save_budgets(out: Path, budgets: dict[str, Budget]) -> None:
    """Write the budgets to budgets.json for later runs."""
    write_atomically(out / "budgets.json", object_text({arm: to_dict(budget) for arm, budget in budgets.items()}))


def finished(out: Path) -> set[str]:
    """Return the ids of the finished runs."""
    rows = _rows(out)
    return set() if rows is None else set(rows["run"][rows["status"] == "finished"])


def failed(out: Path) -> set[str]:
    """Return the ids of the failed runs."""
    rows = _rows(out)
    return set() if rows is None else set(rows["run"][rows["status"] != "finished"])


def _rows(out: Path) -> pd.DataFrame | None:
    """Return the rows so far, which may be empty; None if there is no runs.csv."""
    return rows_so_far(out) if (out / "runs.csv").exists() else None


@lru_cache(maxsize=16)
def _table(path: Path) -> Table:
    """Return the table of a path; a process keeps one object for each path, which knows what it has read."""
    if path.name == FILE:
        return Table(path, lambda path: stored_trials(path.parent), key=("run", "space"), sort_by="trial")
    return Table(path, lambda path: {"runs.csv": rows_so_far, "curves.csv": curves_so_far}[path.name](path.parent))


def add(
    out: Path, row: dict[str, Any], curve: list[dict[str, Any]], samples: dict[str, Any], arms: Sequence[str] = ()
) -> None:
    """Write the samples of a run with seed 0, then its curve, then its row; the row shows that the others are complete.

    The row of a finished run counts the points of its curve. An older row of the same run is replaced, except that the row of a
    failure does not replace that of a finished run. arms: the order of arms, as in `sort_rows`.
    """
    with writing(out), FileLock(out / ".lock"):
        runs = _table(out / "runs.csv")
        if row["status"] != "finished" and runs.status(row) == "finished":
            return
        if samples and row["seed"] == 0:
            write_arrays(out / "samples" / f"{row['arm']}-s{row['seed']}.npz", samples)
        if curve:
            _table(out / "curves.csv").add(curve, arms)
        runs.add([row | ({POINTS: len(curve)} if row["status"] == FINISHED else {})], arms)


def add_trial(out: Path, row: dict[str, Any], arms: Sequence[str] = ()) -> None:
    """Write the row of a trial of tuning; an older row of the same trial is replaced."""
    with writing(out), FileLock(out / ".lock"):
        _table(out / FILE).add([row], arms)


def sort_rows(out: Path, arms: Sequence[str] = ()) -> None:
    """Sort the rows of all tables by seed, or by trial, and then by the order of `arms`.

    Rows are written in the order in which runs end. Sorted files do not depend on interruptions.
    """
    with writing(out), FileLock(out / ".lock"):
        for name in ("runs.csv", "curves.csv", FILE):
            _table(out / name).sort_rows(arms)


def check_same_arms(out: Path, ids: dict[tuple[str, int], str]) -> None:
    """Raise InputError if a finished run of an (arm, seed) has another id than in `ids`, because its settings differ."""
    rows = _rows(out)
    for row in [] if rows is None else rows[rows["status"] == "finished"].itertuples():
        mine = ids.get((row.arm, row.seed), row.run)
        need(
            mine == row.run,
            f"{out} holds a run of {row.arm!r} with seed {row.seed} and other settings of that arm: choose another --out",
        )


def check_other_seeds(out: Path, specs: dict[str, RunSpec]) -> None:
    """Raise InputError if a finished run of an arm in `specs` differs in more than its seed, whatever seed it has.

    So it is if budgets.json or choices.json was lost or changed: measured budgets would be measured again, and differ.
    """
    rows = _rows(out)
    for row in [] if rows is None else rows[rows["status"] == FINISHED].itertuples():
        mine = specs.get(row.arm)
        need(
            mine is None or dataclasses.replace(from_json(row.spec), seed=mine.seed).id == mine.id,
            f"{out} holds a run of {row.arm!r} with seed {row.seed} and other settings or another budget of that arm: restore "
            "budgets.json and choices.json, or choose another --out",
        )


def check_budgets(out: Path, missing: Collection[str]) -> None:
    """Raise InputError if an arm whose budget is missing, and would be measured again, has finished runs."""
    rows = _rows(out)
    known = set() if rows is None else set(rows["arm"][rows["status"] == FINISHED])
    lost = next((arm for arm in missing if arm in known), None)
    need(
        lost is None,
        f"{out / 'budgets.json'} lacks the measured budget of arm {lost!r}, which has finished runs: restore it, or choose "
        "another --out",
    )


def check_recorded(out: Path, ids: set[str]) -> None:
    """Raise RecordRemoved if runs.csv lacks one of these runs, which have ended and written their rows."""
    lost = ids - finished(out) - failed(out)
    if lost:
        raise RecordRemoved(
            f"{out / 'runs.csv'} lacks {len(lost)} of the {len(ids)} runs that ended now, because it was removed meanwhile: give "
            "the same command again to repeat them"
        )


def failed_row(spec: RunSpec, arm: str, reason: str) -> dict[str, Any]:
    """Return the row of a failed run; line breaks in the reason become spaces."""
    return {
        "run": spec.id,
        "arm": arm,
        "seed": spec.seed,
        "status": f"failed: {' '.join(reason.split())}",
        "spec": to_json(spec),
    }
