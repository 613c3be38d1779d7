"""Compares two MLflow stores of a study: runs, models, artifacts and views, without times and random names."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

#: Columns, metrics and tags that depend on time, the commit or the machine.
TIMES = ("train_seconds", "seconds", "progress/train_seconds", "commit", "mlflow.source.git.commit", "dirty", "threads")
#: Tags that hold random names.
RANDOM = ("record_key", "mlflow.parentRunId")
#: Artifacts whose bytes depend on neither: images, figures and the spec.
TIMELESS = re.compile(r"images/.*|(?!.*curves\.png).*\.png|spec\.json")
#: The status of a model, by its number in the database.
STATES = {0: "unspecified", 1: "PENDING", 2: "READY", 3: "FAILED"}

#: An entry of a store on a run: (kind, name, value).
Fact: TypeAlias = tuple[str, str, object]

#: For each kind of entry, a query of (run id, name, value). Parent runs are given by name. System metrics are left out, because
#: they depend on all other work on the machine.
FACTS = {
    "points": "select run_uuid, key, printf('%d %.17g %d', step, value, is_nan) from metrics where key not like 'system/%'",
    "last points": "select run_uuid, key, printf('%d %.17g %d', step, value, is_nan) from latest_metrics "
    "where key not like 'system/%'",
    "parameters": "select run_uuid, key, value from params",
    "tags": "select run_uuid, key, value from tags",
    "parents": "select run_uuid, name, '' from tags join (select run_uuid as parent, name from runs) on parent = value "
    "where key = 'mlflow.parentRunId'",
    "data": "select destination_id, datasets.name, digest || ' ' || input_tags.value from inputs "
    "join datasets on source_id = dataset_uuid left join input_tags using (input_uuid) where source_type = 'DATASET'",
    "outputs": "select source_id, name, step from inputs join logged_models on destination_id = model_id",
    "models": "select source_run_id, name, status from logged_models where lifecycle_stage = 'active'",
}


def mlflow_differences(one: Path, other: Path) -> list[str]:
    """Return the differences of the store `other` from the store `one`, a sentence each; empty if there are none."""
    with _opened(one) as mine, _opened(other) as theirs:
        return _logged_differently(mine, theirs) + _kept_differently(_artifacts(one, mine), _artifacts(other, theirs))


def _opened(store: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{(store / 'mlflow.db').as_uri()}?mode=ro", uri=True))


def _logged_differently(one: sqlite3.Connection, other: sqlite3.Connection) -> list[str]:
    """Return differences in runs, their status and entries, incomplete models, and views."""
    statuses = Counter(
        status for (status,) in other.execute("select status from runs where lifecycle_stage = 'active'")
    )
    found = [] if set(statuses) <= {"FINISHED"} else [f"MLflow has runs {dict(statuses)}"]
    for name, state in other.execute("select name, status from logged_models where status != 2"):
        found.append(f"MLflow has a model {name} with status {STATES.get(state, state)}")
    mine, theirs = _logged(one), _logged(other)
    for name in sorted(mine.keys() | theirs.keys()):
        a, b = mine.get(name, []), theirs.get(name, [])
        if len(a) != len(b):
            found.append(f"MLflow has run {name} {len(b)} times, not {len(a)}")
            continue
        for kind in FACTS if a != b else ():
            lacks, more = (
                [fact[1] for x, y in zip(p, q, strict=True) for fact in (x - y).elements() if fact[0] == kind]
                for p, q in ((a, b), (b, a))
            )
            if lacks or more:
                names = ", ".join(sorted({*lacks, *more})[:5])
                found.append(f"MLflow {kind} of {name}: {len(lacks)} missing, {len(more)} too many ({names})")
    views = "select key from experiment_tags order by key"
    return found + (["MLflow has other views"] if list(one.execute(views)) != list(other.execute(views)) else [])


def _logged(store: sqlite3.Connection) -> dict[str, list[Counter[Fact]]]:
    """Return the entries of each run, by the name of the run; several runs may have the same name."""
    runs = store.execute("select run_uuid, name from runs where lifecycle_stage = 'active'").fetchall()
    of_run: dict[str, Counter[Fact]] = {run: Counter() for run, _ in runs}
    for run, fact in _facts(store):
        if run in of_run:
            of_run[run][fact] += 1
    found: dict[str, list[Counter[Fact]]] = {}
    for run, name in runs:
        found.setdefault(name, []).append(of_run[run])
    return found


def _facts(store: sqlite3.Connection) -> Iterator[tuple[str, Fact]]:
    """Yield (run id, entry) with an empty value for times and random names."""
    for kind, query in FACTS.items():
        for run, name, what in store.execute(query):
            comparable = "" if name in (*TIMES, *RANDOM) else what
            if name in TIMES and "points" in kind:
                comparable = what.partition(" ")[0]
            yield run, (kind, name, comparable)


def _kept_differently(mine: Counter[str], theirs: Counter[str]) -> list[str]:
    """Return artifacts that the other store lacks, has in addition, or has with other bytes."""
    lacks, more = (sorted((a - b).elements()) for a, b in ((mine, theirs), (theirs, mine)))
    return [f"MLflow lacks {name}" for name in lacks] + [f"MLflow has {name} besides" for name in more]


def _artifacts(store: Path, database: sqlite3.Connection) -> Counter[str]:
    """Return the artifacts of a store as "owner: name checksum", without times and random names.

    The owner is a run, or a model of a run, or "nobody".
    """
    owners = dict(database.execute("select run_uuid, name from runs where lifecycle_stage = 'active'"))
    models = "select model_id, name, source_run_id from logged_models where lifecycle_stage = 'active'"
    owners |= {model: f"{owners.get(run)}, model {name}" for model, name, run in database.execute(models).fetchall()}
    found, root = Counter[str](), store / "artifacts"
    for path in (path for path in root.rglob("*") if path.is_file()):
        where = path.relative_to(root).as_posix().removeprefix("models/")
        of, _, name = where.partition("/artifacts/")
        comparable = re.sub(r"[+%]timestamp[+%]\d+[+%][0-9a-f-]{36}", "", name)
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:8] if TIMELESS.fullmatch(name) else ""
        found[" ".join([f"{owners.get(of, 'nobody')}:", comparable or where, content]).strip()] += 1
    return found
