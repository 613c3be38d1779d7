"""Reads the record of a study of training runs: rows, curves, references and samples."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from stacked.spec import from_json
from stacked.util.checks import finite
from stacked.util.errors import InputError
from stacked.util.serialization import parsed
from studies.statistics.reading import Arrays, Columns, arrays, table

if TYPE_CHECKING:
    import pandas as pd

Samples: TypeAlias = Arrays

FINISHED = "finished"
_COST_NUMBERS = {"updates", "images_seen", "gflop", "train_seconds", "seconds", "peak_mb", "codes_mb", "threads"}
_NUMBERS = {"seed", "trial", "step", "phase_step"} | _COST_NUMBERS
_WHOLE_NUMBERS = {"seed", "trial", "step", "phase_step", "updates", "images_seen", "threads"}
_REFERENCES = ("pca_mse", "pca_sse", "pca_components", "mean_mse", "mean_sse", "probe_pixels", "train_labels")
_RUN_COLUMNS = ("run", "arm", "seed", "status", "spec")
_CURVE_COLUMNS = ("run", "arm", "seed", "phase", "step", "phase_step")


def load_rows(out: Path) -> pd.DataFrame:
    """Read runs.csv: one row for each arm and seed, including failed runs (statistics use `finished(rows)`).

    Metrics are floats (NaN: not measured), seeds integers. An incomplete last line is dropped with a warning. Raises InputError
    if the file is missing, empty or malformed, or holds two finished runs of an arm and seed.
    """
    rows = rows_so_far(out)
    if rows.empty:
        raise InputError(f"{out / 'runs.csv'} holds no rows: run the study first")
    return rows


def rows_so_far(out: Path) -> pd.DataFrame:
    """Read runs.csv as `load_rows`, but allow an empty table, which a study leaves that was stopped before its first row."""
    path = out / "runs.csv"
    rows = _load(path, _RUN_COLUMNS)
    check_specs(path, rows)
    done = finished(rows)
    twice = done[done.duplicated(["arm", "seed"])]
    if not twice.empty:
        arm, seed = twice.iloc[0]["arm"], twice.iloc[0]["seed"]
        raise InputError(f"{path} holds arm {arm!r} seed {seed} twice: keep the row of one run")
    return rows


def check_specs(path: Path, rows: pd.DataFrame) -> None:
    """Raise InputError if the spec of a row of `path` is invalid or belongs to another run."""
    for run, spec in zip(rows["run"], rows["spec"], strict=True):
        try:
            right = run in _ids(spec)
        except InputError as error:
            raise InputError(f"{path} has an invalid spec in the row of run {run!r} ({error}): restore it") from error
        if not right:
            raise InputError(f"{path} has the spec of another run in the row of run {run!r}: restore it")


def load_curves(out: Path) -> pd.DataFrame:
    """Read curves.csv: one row for each measured step (NaN: not measured); raises as `load_rows`."""
    curves = _load(out / "curves.csv", _CURVE_COLUMNS)
    if curves[["step", "phase_step"]].isna().any(axis=None):
        raise InputError(f"{out / 'curves.csv'} has a row without a step: every row needs one")
    return curves


def load_reference(out: Path) -> dict[str, float]:
    """Read reference.json: errors of PCA and of the mean image (pca_mse, mean_sse ...) and the number of training labels.

    The result is empty if the file does not exist; unknown keys are ignored. Raises InputError for values that are no numbers.
    """
    path = out / "reference.json"
    if not path.exists():
        return {}
    try:
        found = parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must hold one JSON object of numbers ({error}): delete it or run again") from error
    known = {name: found.get(name) for name in _REFERENCES} if isinstance(found, dict) else {"": found}
    wrong = [value for value in known.values() if value is not None and not finite(value)]
    if wrong:
        raise InputError(f"{path} must hold one JSON object of numbers, not {wrong[0]!r}: delete it or run again")
    return {name: float(value) for name, value in known.items() if value is not None}


def load_samples(out: Path) -> dict[str, Samples]:
    """Read samples/<arm>-s<seed>.npz of the smallest seed of each arm; return arrays by arm and name.

    Raises InputError if a file cannot be read.
    """
    found = [(match["arm"], int(match["seed"]), path) for path, match in _sample_files(out / "samples")]
    samples: dict[str, Samples] = {}
    for arm, _, path in sorted(found):
        if arm not in samples:
            samples[arm] = arrays(path)
    return samples


def load_table(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """Read a table of a study with at least the columns `required` and "seed"; raises as `load_rows`."""
    return _load(path, required)


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of finished runs."""
    return rows[rows["status"] == FINISHED]


def arms_of(rows: pd.DataFrame) -> list[str]:
    """Return the arms in order of first appearance, including those of failed runs."""
    return list(dict.fromkeys(rows["arm"]))


def trained_arms(rows: pd.DataFrame) -> list[str]:
    """Return the arms that made updates; all arms if the rows have no column "updates"."""
    done = finished(rows)
    return [arm for arm in arms_of(rows) if "updates" not in rows or (done[done["arm"] == arm]["updates"] > 0).any()]


def _sample_files(folder: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in folder.glob("*.npz"):
        if match := re.fullmatch(r"(?P<arm>.+)-s(?P<seed>\d+)", path.stem):
            yield path, match


def typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with integer columns as Int64 and other number columns as float64, as they are written."""
    numbers = {name: "Int64" if name in _WHOLE_NUMBERS else "float64" for name in rows if _is_number(str(name))}
    return rows.astype(numbers)


def _is_number(name: str) -> bool:
    return "/" in name or name in _NUMBERS


def _load(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    return table(path, Columns((*required, "seed"), _is_number, _WHOLE_NUMBERS, ("seed",))).astype({"seed": int})


@lru_cache(maxsize=4096)
def _ids(spec: str) -> tuple[str, str]:
    """Return the id of the run of a spec (JSON), and its id in old records, which held the dataset name as typed."""
    return from_json(spec).id, hashlib.sha256(spec.encode()).hexdigest()[:16]
