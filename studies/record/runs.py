"""The record of a study of training runs: configuration, budgets, runs.csv, curves.csv, trials and samples in its folder.

Files are written atomically; rows of runs are added to theirs, where what a kill leaves in the middle of one is seen and mended.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from stacked.cli.overwriting import below, check_own
from stacked.runs.checkpoint import stored_differences
from stacked.spec import Budget, RunSpec, from_json
from stacked.util.atomic import write_atomically, writing
from stacked.util.checks import need
from stacked.util.errors import InputError
from stacked.util.serialization import from_dict, to_dict, to_json
from studies.record.samples import write_arrays
from studies.record.table_file import Table
from studies.statistics.reading import json_object
from studies.statistics.rows import load_curves, rows_so_far
from studies.statistics.trials import FILE, load_trials

#: Files that a study replaces when it is run again, and patterns of those in folders below.
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
    """Make the folder, and note in configuration.json what its runs share, the data's digest included.

    Raises InputError when it holds runs of another configuration, or of other data under the same name, or files of these
    names that no study wrote.
    """
    path = out / "configuration.json"
    mine = {"equal": equal, "data": digest, "base": to_json(base)}
    if not os.path.exists(path):  # unlike Path.exists, of any name: what is wrong with it is said when it is written
        check_own(False, below(out, *FILES, *PICTURES))
        write_atomically(path, json.dumps(mine, indent=1) + "\n")
        return
    theirs = _configuration(path)
    if theirs.get("data") != digest and theirs["base"] == mine["base"]:
        raise InputError(f"{out} holds runs on other data of the name {base.data.name!r}: choose another --out")
    if theirs != mine:
        equals = "" if theirs["equal"] == equal else f"equal is {theirs['equal']!r} there and {equal!r} here"
        specs = stored_differences(theirs["base"], base) if theirs["base"] != mine["base"] else ""
        others = f"it has the fields {', '.join(sorted(theirs))}"
        raise InputError(
            f"{out} holds another configuration ({'; '.join(filter(None, [specs, equals])) or others}): choose another --out"
        )


def recorded(out: Path) -> tuple[RunSpec, str]:
    """What the runs in this folder share: (the base spec, what was made equal)."""
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
    """Say in which file of a record the fault is, and what to do."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path} is not of a study ({error}): restore it, or choose another --out") from error


def remembered_budgets(out: Path) -> dict[str, Budget]:
    """The budgets of earlier runs in this folder: where they were measured, a later run must not measure anew."""
    path = out / "budgets.json"
    if not path.exists():
        return {}
    found = json_object(path)
    with _read_from(path):
        return {arm: from_dict(Budget, values) for arm, values in found.items()}


def remember_budgets(out: Path, budgets: dict[str, Budget]) -> None:
    """Keep the budgets for later runs."""
    text = json.dumps({arm: to_dict(budget) for arm, budget in budgets.items()}, indent=1)
    write_atomically(out / "budgets.json", text + "\n")


def finished(out: Path) -> set[str]:
    """The ids of the specs whose runs are finished."""
    rows = _rows(out)
    return set() if rows is None else set(rows["run"][rows["status"] == "finished"])


def failed(out: Path) -> set[str]:
    """The ids of the specs whose runs failed."""
    rows = _rows(out)
    return set() if rows is None else set(rows["run"][rows["status"] != "finished"])


def _rows(out: Path) -> pd.DataFrame | None:
    """The rows that are there by now, perhaps none; None before the first."""
    return rows_so_far(out) if (out / "runs.csv").exists() else None


@lru_cache(maxsize=16)
def _table(path: Path) -> Table:
    """What this process knows of a table of a record."""
    if path.name == FILE:
        return Table(path, lambda path: load_trials(path.parent), same=("run", "space"), by="trial")
    return Table(path, lambda path: {"runs.csv": rows_so_far, "curves.csv": load_curves}[path.name](path.parent))


def add(
    out: Path, row: dict[str, Any], curve: list[dict[str, Any]], samples: dict[str, Any], arms: Sequence[str] = ()
) -> None:
    """Write a run's pictures, then its curve, then its row, which says that all is there; an older one is replaced.

    The row of a run that failed does not replace that of the same run finished. See `settle` for the order of rows, and of
    `arms`.
    """
    with writing(out), FileLock(out / ".lock"):
        runs = _table(out / "runs.csv")
        if row["status"] != "finished" and runs.status(row) == "finished":
            return
        if samples and row["seed"] == 0:
            write_arrays(out / "samples" / f"{row['arm']}-s{row['seed']}.npz", samples)
        if curve:
            _table(out / "curves.csv").add(curve, arms)
        runs.add([row], arms)


def add_trial(out: Path, row: dict[str, Any], arms: Sequence[str] = ()) -> None:
    """Write the row of a trial of tuning, in place of an older one of the same trial."""
    with writing(out), FileLock(out / ".lock"):
        _table(out / FILE).add([row], arms)


def settle(out: Path, arms: Sequence[str] = ()) -> None:
    """Put the rows in order when all are there, for they come in any: by seed, or by trial, and within it in the order of `arms`.

    So the files are the same whenever, and however often, a study was stopped.
    """
    with writing(out), FileLock(out / ".lock"):
        for name in ("runs.csv", "curves.csv", FILE):
            _table(out / name).settle(arms)


def check_same_arms(out: Path, ids: dict[tuple[str, int], str]) -> None:
    """Raise InputError where a finished run of an arm and a seed is not the one with this id.

    It was made with other settings of the arm: rows of both would not be those of one arm.
    """
    rows = _rows(out)
    for row in [] if rows is None else rows[rows["status"] == "finished"].itertuples():
        mine = ids.get((row.arm, row.seed), row.run)
        need(
            mine == row.run,
            f"{out} holds a run of {row.arm!r} with seed {row.seed} and other settings of that arm: choose another --out",
        )


def failed_row(spec: RunSpec, arm: str, reason: str) -> dict[str, Any]:
    """The row of a run that failed; the reason becomes one line, as rows are."""
    return {
        "run": spec.id,
        "arm": arm,
        "seed": spec.seed,
        "status": f"failed: {' '.join(reason.split())}",
        "spec": to_json(spec),
    }
