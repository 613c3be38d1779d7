"""Whether two records of the same study are the same, but for times: rows, curves, pictures, figures, weights, MLflow.

Of the figures all but curves.png, which shows seconds. Of MLflow its runs, points, models and artifacts.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from safetensors import safe_open

from stacked.arrays import read_arrays
from stacked.atomic import PARTS
from studies.report.rows import load_curves, load_rows

#: Columns that tell of the clock, or of who edited the code meanwhile.
TIMES = ("train_seconds", "seconds", "progress/train_seconds", "commit", "threads")
#: Artifacts whose bytes tell of neither: pictures, figures, and the spec.
TIMELESS = re.compile(r"images/.*|(?!.*curves\.png).*\.png|spec\.json")


def differences(one: Path, other: Path) -> list[str]:
    """In what two homes of a study differ, `out` and `store` below each; nothing where all is the same."""
    found = []
    for name, load in (("runs.csv", load_rows), ("curves.csv", load_curves)):
        a, b = (load(home / "out").drop(columns=list(TIMES), errors="ignore") for home in (one, other))
        if not a.equals(b):
            found.append(name)
    found += _files(one / "out", other / "out", "samples/*.npz", _same_arrays)
    found += _files(one / "out", other / "out", "figures/*.png", _same_picture)
    found += _files(one / "store" / "work", other / "store" / "work", "*/*.safetensors", _same_tensors)
    found += [f"{path.relative_to(other)} was left" for path in sorted(other.rglob(PARTS))]
    found += _logged_differently(one / "store" / "mlflow.db", other / "store" / "mlflow.db")
    return found + _kept_differently(one / "store", other / "store")


def _logged_differently(one: Path, other: Path) -> list[str]:
    """What the other store has that it should not, and what it lacks: runs, their ends, their points."""
    (mine, _), (theirs, statuses) = _logged(one), _logged(other)
    found = [] if set(statuses) <= {"FINISHED"} else [f"MLflow has runs {dict(statuses)}"]
    for name in sorted(mine.keys() | theirs.keys()):
        a, b = mine.get(name, []), theirs.get(name, [])
        if len(a) != len(b):
            found.append(f"MLflow has run {name} {len(b)} times, not {len(a)}")
        elif a != b:
            missing = sum(sum((x - y).values()) for x, y in zip(a, b, strict=True))
            more = sum(sum((y - x).values()) for x, y in zip(a, b, strict=True))
            found.append(f"MLflow points of {name}: {missing} missing, {more} too many")
    return found


def _kept_differently(one: Path, other: Path) -> list[str]:
    """The artifacts of runs and of their models that the other store lacks, has too often, or has with other bytes."""
    mine, theirs = _artifacts(one), _artifacts(other)
    lacks, more = (sorted((a - b).elements()) for a, b in ((mine, theirs), (theirs, mine)))
    return [f"MLflow lacks {name}" for name in lacks] + [f"MLflow has {name} besides" for name in more]


def _artifacts(store: Path) -> Counter[str]:
    """The artifacts of a store: of which run or model of a run, called what, without times and random names, and some bytes.

    What belongs to none counts as well.
    """
    with closing(sqlite3.connect(f"{(store / 'mlflow.db').as_uri()}?mode=ro", uri=True)) as database:
        owners = dict(database.execute("select run_uuid, name from runs where lifecycle_stage = 'active'"))
        models = "select model_id, name, source_run_id from logged_models where lifecycle_stage = 'active'"
        owners |= {
            model: f"{owners.get(run)}, model {name}" for model, name, run in database.execute(models).fetchall()
        }
    found, root = Counter[str](), store / "artifacts"
    for path in (path for path in root.rglob("*") if path.is_file()):
        where = path.relative_to(root).as_posix().removeprefix("models/")
        of, _, name = where.partition("/artifacts/")
        told = re.sub(r"[+%]timestamp[+%]\d+[+%][0-9a-f-]{36}", "", name)
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:8] if TIMELESS.fullmatch(name) else ""
        found[" ".join([f"{owners.get(of, 'nobody')}:", told or where, content]).strip()] += 1
    return found


def _files(one: Path, other: Path, pattern: str, same: Callable[[Path, Path], bool]) -> list[str]:
    """The files of this pattern that are in one folder alone, or not the `same`."""
    mine, theirs = ({path.relative_to(root).as_posix() for path in root.glob(pattern)} for root in (one, other))
    return [name for name in sorted(mine | theirs) if name not in mine & theirs or not same(one / name, other / name)]


def _same_arrays(one: Path, other: Path) -> bool:
    a, b = read_arrays(one), read_arrays(other)
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


def _same_tensors(one: Path, other: Path) -> bool:
    """Names, shapes, types and bits; states also tell of times and commits."""
    with safe_open(one, "np") as a, safe_open(other, "np") as b:
        names = sorted(a.keys())
        return names == sorted(b.keys()) and all(
            a.get_tensor(name).tobytes() == b.get_tensor(name).tobytes() for name in names
        )


def _same_picture(one: Path, other: Path) -> bool:
    return one.name == "curves.png" or one.read_bytes() == other.read_bytes()


def _logged(database: Path) -> tuple[dict[str, list[Counter[tuple[str, int, float]]]], Counter[str]]:
    """(run name -> the points (metric, step, value) of each run of that name, values of the clock left out; runs by status)"""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as store:
        runs = store.execute("select run_uuid, name, status from runs where lifecycle_stage = 'active'").fetchall()
        points = store.execute("select run_uuid, key, step, value from metrics").fetchall()
    of_run: dict[str, Counter[tuple[str, int, float]]] = {run: Counter() for run, _, _ in runs}
    for run, key, step, value in points:
        if run in of_run:
            of_run[run][key, step, 0.0 if key in TIMES else value] += 1
    found: dict[str, list[Counter[tuple[str, int, float]]]] = {}
    for run, name, _ in runs:
        found.setdefault(name, []).append(of_run[run])
    return found, Counter(status for _, _, status in runs)
