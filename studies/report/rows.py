"""Reads what a study left in its folder: the rows, the curves, the references and the sample pictures."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from stacked.arrays import read_arrays
from stacked.checks import finite
from stacked.errors import UNREADABLE, InputError
from stacked.plain import parsed
from stacked.spec import from_json

Samples: TypeAlias = dict[str, npt.NDArray[Any]]

FINISHED = "finished"
#: bytes of a table at most; it takes some fifty times as many in memory
MOST_BYTES = 2**26
_COST_NUMBERS = {"updates", "images_seen", "gflop", "train_seconds", "seconds", "peak_mb", "codes_mb", "threads"}
_NUMBERS = {"seed", "trial", "step", "phase_step"} | _COST_NUMBERS
_WHOLE_NUMBERS = {"seed", "trial", "step", "phase_step", "updates", "images_seen", "threads"}
_REFERENCES = ("pca_mse", "pca_sse", "pca_components", "mean_mse", "mean_sse", "probe_pixels", "train_labels")
_RUN_COLUMNS = ("run", "arm", "seed", "status", "spec")
_CURVE_COLUMNS = ("run", "arm", "seed", "phase", "step", "phase_step")


def load_rows(out: Path) -> pd.DataFrame:
    """Read runs.csv: one row an arm and seed, failed runs included (the statistics use `finished(rows)`).

    Metrics are floats (NaN: not measured), seeds integers. A torn last line is dropped with a warning.
    Raises InputError when the file is missing, empty or malformed, or holds a finished arm and seed twice.
    """
    rows = rows_so_far(out)
    if rows.empty:
        raise InputError(f"{out / 'runs.csv'} holds no rows: run the study first")
    return rows


def rows_so_far(out: Path) -> pd.DataFrame:
    """As `load_rows`, but there may be none: a study that was stopped while it wrote its first goes on from there."""
    path = out / "runs.csv"
    rows = _load(path, _RUN_COLUMNS)
    for run, spec in zip(rows["run"], rows["spec"], strict=True):
        try:
            right = run in _ids(spec)
        except InputError as error:
            raise InputError(
                f"{path} has a spec that is none in the row of run {run!r} ({error}): restore it"
            ) from error
        if not right:
            raise InputError(f"{path} has the spec of another run in the row of run {run!r}: restore it")
    done = finished(rows)
    twice = done[done.duplicated(["arm", "seed"])]
    if not twice.empty:
        arm, seed = twice.iloc[0]["arm"], twice.iloc[0]["seed"]
        raise InputError(f"{path} holds arm {arm!r} seed {seed} twice: keep the row of one run")
    return rows


def load_curves(out: Path) -> pd.DataFrame:
    """Read curves.csv: one row a measured step, NaN where nothing was measured; errors as `load_rows`."""
    curves = _load(out / "curves.csv", _CURVE_COLUMNS)
    if curves[["step", "phase_step"]].isna().any(axis=None):
        raise InputError(f"{out / 'curves.csv'} has a row without a step: every row needs one")
    return curves


def load_reference(out: Path) -> dict[str, float]:
    """Read reference.json: errors of PCA and of the mean image (pca_mse, mean_sse ...) and train_labels, as far as known.

    Without the file the result is empty; other keys are ignored. Raises InputError for anything but numbers.
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
    """Read samples/<arm>-s<seed>.npz: arm -> arrays by name, for the smallest seed each arm has.

    Raises InputError when a file cannot be read.
    """
    found = [(match["arm"], int(match["seed"]), path) for path, match in _sample_files(out / "samples")]
    samples: dict[str, Samples] = {}
    for arm, _, path in sorted(found):
        if arm in samples:
            continue
        try:
            samples[arm] = read_arrays(path)
        except UNREADABLE as error:
            raise InputError(f"{path} cannot be read ({error}): delete it or run the study again") from error
    return samples


def load_table(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """Read a table of a study whose columns include `required`, "seed" among them; errors as `load_rows`."""
    return _load(path, required)


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that reached their end."""
    return rows[rows["status"] == FINISHED]


def arms_of(rows: pd.DataFrame) -> list[str]:
    """The arms in order of first appearance, failed ones included."""
    return list(dict.fromkeys(rows["arm"]))


def _sample_files(folder: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in folder.glob("*.npz"):
        if match := re.fullmatch(r"(?P<arm>.+)-s(?P<seed>\d+)", path.stem):
            yield path, match


def _load(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    header, *records = _records(path)
    twice = [name for name in header if header.count(name) > 1]
    if "" in header:
        raise InputError(f"{path} has a column without a name: restore it")
    if twice:
        raise InputError(f"{path} has the column {twice[0]!r} twice: restore it")
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}: is it a study's file?")
    columns = zip(*records, strict=True) if records else ([] for _ in header)
    values = dict(zip(header, map(list, columns), strict=True))
    frame = pd.DataFrame({name: _column(path, name, column) for name, column in values.items()})
    if frame["seed"].isna().any():
        raise InputError(f"{path} has a row without a seed: every row needs one")
    return frame.astype({"seed": int})


def _records(path: Path) -> list[list[str]]:
    """All records, header first; a last line that was cut off while written is left out.

    Our writers end every record with a newline, so one without may have lost the end of its last number.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"{path} has {size:,} bytes, more than {MOST_BYTES:,}: is it a study's file?")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: run the study first") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    whole = content[: content.rfind(b"\n") + 1]
    try:
        text = whole.decode("utf-8-sig")
        records = [record for record in csv.reader(io.StringIO(text, newline=""), strict=True) if record]
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path} is not a CSV file ({error}): restore it or run the study again") from error
    if not records:
        raise InputError(f"{path} is empty, or cut off in its first line: restore it, or delete it to begin anew")
    if len(whole) < len(content):
        warnings.warn(f"{path}: the last line is torn and was dropped", stacklevel=4)
    for number, record in enumerate(records[1:], start=2):
        if len(record) != len(records[0]):
            raise InputError(
                f"{path} has {len(record)} fields in record {number}, {len(records[0])} are expected: restore it"
            )
    return records


@lru_cache(maxsize=4096)
def _ids(spec: str) -> tuple[str, str]:
    """The id of the run that a spec, as JSON, is of, and the one that it had when the name of its data was recorded as typed."""
    return from_json(spec).id, hashlib.sha256(spec.encode()).hexdigest()[:16]


def _column(path: Path, name: str, texts: list[str]) -> pd.Series:
    if "/" not in name and name not in _NUMBERS:
        return pd.Series(texts, dtype="object")
    try:
        values = pd.Series([float(text) if text.strip() else np.nan for text in texts], dtype="float64")
    except ValueError as error:
        raise InputError(f"{path} has text where column {name!r} needs a number ({error}): restore it") from error
    if name in _WHOLE_NUMBERS:
        wrong = values[values.notna() & ~((values % 1 == 0) & (values.abs() < 2**53))]
        if not wrong.empty:
            raise InputError(f"{path} has {wrong.iloc[0]} where column {name!r} needs a whole number: restore it")
    return values
