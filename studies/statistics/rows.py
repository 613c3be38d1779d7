"""Reads the record of a study of training runs: rows, curves, references and samples."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from stacked.spec import from_json
from stacked.util.checks import finite
from stacked.util.errors import InputError
from studies.statistics.lost_points import check_points, runs_with_curves
from studies.statistics.reading import Arrays, Columns, arrays, check_unique, json_object, table
from studies.statistics.run_columns import WHOLE_NUMBERS, is_number, limits

if TYPE_CHECKING:
    import pandas as pd

Samples: TypeAlias = Arrays

FINISHED = "finished"
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
    """Raise InputError if the spec of a row of `path` is invalid, belongs to another run, or has another seed."""
    for run, seed, spec in zip(rows["run"], rows["seed"], rows["spec"], strict=True):
        try:
            ids, own_seed = _ids(spec)
        except InputError as error:
            raise InputError(f"{path} has an invalid spec in the row of run {run!r} ({error}): restore it") from error
        if run not in ids:
            raise InputError(f"{path} has the spec of another run in the row of run {run!r}: restore it")
        if seed != own_seed:
            raise InputError(
                f"{path} has the seed {seed} in the row of run {run!r}, whose spec has the seed {own_seed}: restore it"
            )


def load_curves(out: Path) -> pd.DataFrame:
    """Read curves.csv: one row for each measured step (NaN: not measured), of runs that runs.csv has, if it exists.

    The curve of a run that was killed before its row was written is dropped with a warning. Raises as `load_rows`, and if the
    arm or the seed of a run is not that of its row, a curve is of a run that runs.csv has under another id, or a finished run
    lacks points.
    """
    if not (out / "runs.csv").exists():
        return curves_so_far(out)
    rows = rows_so_far(out)  # before the curves: a study that goes on meanwhile writes the curve of a run first
    path, curves = out / "curves.csv", curves_so_far(out)
    known = {row.run: (row.arm, row.seed) for row in rows.itertuples()}
    done = set(zip(finished(rows)["arm"], finished(rows)["seed"], strict=True))
    for run, *of in curves[["run", "arm", "seed"]].drop_duplicates().itertuples(index=False):
        arm, seed = known.get(run, of)
        if (arm, seed) != tuple(of):
            raise InputError(
                f"{path} has arm {of[0]!r} and seed {of[1]} for run {run!r}, and runs.csv has arm {arm!r} and seed {seed}: "
                "restore it"
            )
        if run not in known and (arm, seed) in done:
            raise InputError(
                f"{path} has a curve of run {run!r}, but runs.csv has another run of arm {arm!r} and seed {seed}: restore it, or "
                "remove that curve"
            )
    check_points(path, finished(rows), curves["run"].value_counts().to_dict())
    killed = ~curves["run"].isin(known)
    if killed.any():
        warnings.warn(
            f"{path}: {curves['run'][killed].nunique()} curves without a row in runs.csv were dropped", stacklevel=2
        )
    return curves[~killed].reset_index(drop=True)


def curves_of(out: Path) -> pd.DataFrame | None:
    """Read curves.csv as `load_curves`; None if the file does not exist, which is an InputError if runs.csv counts points."""
    path = out / "curves.csv"
    if path.exists():
        return load_curves(out)
    known = runs_with_curves(finished(rows_so_far(out)))
    if known:
        raise InputError(
            f"{path} does not exist, and runs.csv has {known} run{'s' * (known != 1)} with curves: restore it, or remove the "
            "rows of these runs in runs.csv, which are then trained again"
        )
    return None


def check_curves(out: Path) -> None:
    """Raise as `curves_of` if the record has rows; what a killed run left is no fault, and nothing is warned of."""
    if (out / "runs.csv").exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            curves_of(out)


def curves_so_far(out: Path) -> pd.DataFrame:
    """Read curves.csv as `load_curves`, with the curves of runs whose rows are not written yet."""
    path = out / "curves.csv"
    curves = _load(path, _CURVE_COLUMNS)
    if curves[["step", "phase_step"]].isna().any(axis=None):
        raise InputError(f"{path} has a row without a step: every row needs one")
    check_unique(path, curves, ["run", "phase", "step", "phase_step"])
    runs = curves[["run", "arm", "seed"]].drop_duplicates()
    twice = runs["run"][runs["run"].duplicated()]
    if not twice.empty:
        raise InputError(f"{path} has two arms or seeds for run {twice.iloc[0]!r}: restore it")
    return curves


def load_reference(out: Path) -> dict[str, float]:
    """Read reference.json: errors of PCA and of the mean image (pca_mse, mean_sse ...) and the number of training labels.

    The result is empty if the file does not exist; unknown keys are ignored. Raises InputError for values that are no numbers.
    """
    path = out / "reference.json"
    if not path.exists():
        return {}
    found = json_object(path, "delete it, and the next run of the study writes it again")
    known = {name: found.get(name) for name in _REFERENCES}
    wrong = [value for value in known.values() if value is not None and not finite(value)]
    if wrong:
        raise InputError(f"{path} must hold one JSON object of numbers, not {wrong[0]!r}: delete it or run again")
    return {name: float(value) for name, value in known.items() if value is not None}


def load_samples(out: Path) -> dict[str, Samples]:
    """Read samples/<arm>-s<seed>.npz of the smallest seed of each arm; return arrays by arm and name.

    Raises InputError if a file cannot be read, or if runs.csv has a finished run of seed 0 whose arm has no file, and another
    one whose arm has one.
    """
    found = [(match["arm"], int(match["seed"]), path) for path, match in _sample_files(out / "samples")]
    if found and (out / "runs.csv").exists():
        _check_samples(out, {arm for arm, *_ in found})
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


def with_error_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a column of error rates, 1 - accuracy, for each column of accuracies: "_error" for "_acc"."""
    accuracies = [name for name in rows.columns if re.search(r"_acc(_|$)", name) and "/" in name]
    errors = {re.sub(r"_acc(?=_|$)", "_error", name): 1.0 - rows[name] for name in accuracies}
    return rows.assign(**errors)


def trained_arms(rows: pd.DataFrame) -> list[str]:
    """Return the arms that made updates; all arms if the rows have no column "updates"."""
    done = finished(rows)
    return [arm for arm in arms_of(rows) if "updates" not in rows or (done[done["arm"] == arm]["updates"] > 0).any()]


def _check_samples(out: Path, present: Collection[str]) -> None:
    rows = finished(rows_so_far(out))
    arms = list(dict.fromkeys(rows["arm"][rows["seed"] == 0]))
    lost = [arm for arm in arms if arm not in present]
    if lost and len(lost) < len(arms):
        raise InputError(
            f"{out / 'samples' / f'{lost[0]}-s0.npz'} does not exist, and other arms have such a file: restore it, or remove "
            f"the row of arm {lost[0]!r} and seed 0 in runs.csv, whose run is then trained again"
        )


def _sample_files(folder: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in folder.glob("*.npz"):
        if match := re.fullmatch(r"(?P<arm>.+)-s(?P<seed>\d+)", path.stem):
            yield path, match


def typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with integer columns as Int64 and other number columns as float64, as they are written."""
    numbers = {name: "Int64" if name in WHOLE_NUMBERS else "float64" for name in rows if is_number(str(name))}
    return rows.astype(numbers)


def _load(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    return table(path, Columns((*required, "seed"), is_number, WHOLE_NUMBERS, ("seed",), limits)).astype({"seed": int})


@lru_cache(maxsize=4096)
def _ids(spec: str) -> tuple[tuple[str, str], int]:
    """Return the ids of the run of a spec (JSON), and its seed.

    The second id is that in old records, which held the dataset name as typed.
    """
    read = from_json(spec)
    return (read.id, hashlib.sha256(spec.encode()).hexdigest()[:16]), read.seed
