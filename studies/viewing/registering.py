"""Registers the best encoder and the best classifier of a study in MLflow's model registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stacked.util.errors import InputError, printable
from studies.statistics.best import SCORES, best_run, best_supervised
from studies.statistics.rows import load_rows

if TYPE_CHECKING:
    import pandas as pd

    from stacked.tracking.backend.registry import Registry
    from stacked.tracking.backend.store import Store


def register_best(name: str, study: str, out: Path, store: Store, experiment: str) -> str:
    """Register the best encoder of the record in `out` as `name`, and the best classifier (regressor) as `name`-classifier (...).

    Each becomes a version with the alias "best"; one that is registered already keeps its version. The best encoder is that of
    the trained run with the lowest error on validation images, the best classifier that of most labels with the highest
    validation accuracy, the best regressor that with the highest validation R². Returns a sentence that names the versions.
    Raises InputError if a model is not in the store, and one of `OUTAGES` if the store fails.
    """
    from stacked.tracking.backend.registry import ALIAS, Registry

    registry, rows = Registry(store, experiment), load_rows(out)
    run = best_run(rows)
    if run is None:
        raise InputError(f"no run of {out} was trained and finished: there is nothing to register")
    models = [(name, "encoder", run, "")]
    for kind in SCORES:
        if (found := best_supervised(rows, kind)) is not None:
            row, labels = found
            models.append((f"{name}-{kind}", f"{kind}-{labels}", row, f", {labels} labels"))
    done = []
    for registered, model, row, what in models:
        version = _register(registry, registered, model, row, study)
        done.append(f"{registered} version {version} ({row['arm']}, seed {row['seed']}{what})")
    return printable(f"Registered in MLflow with the alias {ALIAS!r}: {' and '.join(done)}")


def _register(registry: Registry, name: str, model: str, row: pd.Series, study: str) -> str:
    from stacked.tracking.backend.model_description import model_name
    from stacked.tracking.run_record import FILE, read_record

    folder = registry.store.root / "work" / str(row["run"])
    record = read_record(folder, registry.store.name) if (folder / FILE).exists() else None
    found = record and record.run_id and registry.find_model(record.run_id, model_name(model, record.name))
    if not found:
        raise InputError(
            f"the {model} of the best run ({row['arm']}, seed {row['seed']}) is not in MLflow, so that it cannot be registered: "
            "it was trained with another --store, or MLflow failed meanwhile; --no-resume trains all runs again"
        )
    tags = {"study": study, "arm": str(row["arm"]), "seed": str(row["seed"]), "spec": str(row["run"])}
    return registry.register(found, name, tags)
