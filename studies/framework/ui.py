"""The MLflow user interface of a study: its saved views, and a server to look at them."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.util.errors import InputError
from studies.record.index import INDEX, ROOT, committed_as, has_block
from studies.record.names import configuration, experiment_name
from studies.record.runs import recorded
from studies.statistics.rows import arms_of, finished, load_curves, load_rows

if TYPE_CHECKING:
    from stacked.spec import RunSpec
    from stacked.tracking.backend.store import Store
    from studies.cli.options import Options

#: columns of a row that become tags of its run
TAGS = ("arm", "seed", "commit", "device", "threads")
#: (what the view shows, the key under which it is saved, the experiment's id)
View = tuple[str, str, str]


def save(study: str, base: RunSpec, out: Path, store: Store) -> list[View]:
    """Save the two views of a study, and its report as the artifacts of a run of its own."""
    from stacked.tracking.backend.client import StoreClient
    from stacked.tracking.tracker import study_run
    from stacked.viewing.views import save_views

    experiment, columns = experiment_name(base), set(load_rows(out).columns)
    with study_run(store, experiment, study) as run:
        for path, folder in (
            (out / "README.md", "report"),
            (out / "runs.csv", "tables"),
            (out / "figures", "report/figures"),
        ):
            if path.exists():
                run.artifact(path, folder)
    budgets = ["all" if budget is None else str(budget) for budget in base.classification.labels]
    outcomes = [
        "final/recon_mse",
        "final/probe_acc",
        *(f"final/classifier_acc_{budget}" for budget in budgets),
    ]
    outcomes = [metric for metric in outcomes if metric in columns]
    keys = save_views(store, experiment, study, probe="final/probe_acc" in columns, images=True, outcomes=outcomes)
    return [(f"{study}: {name}", key, StoreClient(store, experiment).experiment_id) for name, key in keys.items()]


def tell(views: Sequence[View], store: Store, port: int, host: str, running: bool = False) -> None:
    """Print the addresses of the views, and unless it is running what starts the server that they need."""
    from stacked.util.paths import without_login
    from stacked.viewing.server import address, typed_command
    from stacked.viewing.views import view_url

    if views and not running and not store.is_server:
        print("In the MLflow UI, which --ui starts:")
    for name, key, experiment_id in views:
        print(
            f"  {name}: {view_url(without_login(store.uri) if store.is_server else address(port, host), experiment_id, key)}"
        )
    if not running and not store.is_server:
        print(f"Without --ui it is started by: {typed_command(store, port, host)}")


def show(study: str, given: Options) -> int:
    """Load the committed rows into the store where they are missing, start the server, print the addresses, and wait."""
    from stacked.tracking.tracker import open_store
    from stacked.viewing.server import address, serve, stop, warning

    store = open_store(given.store)
    views: list[View] = []
    kept = ROOT / "results" / study
    committed = [out for out in (kept, *sorted(kept.glob("*/"))) if has_block(INDEX, committed_as(out, ROOT) or "")]
    for out in dict.fromkeys([*committed, given.out.resolve()]):
        if (out / "runs.csv").exists():
            views += replay(study, out, store)
    if not views:
        raise InputError(f"there is nothing to show in {given.out}: run the study first")
    if store.is_server:
        tell(views, store, given.port, given.host)
        return 0
    server = serve(store, given.port, host=given.host)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a session notes only, to end when it can
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the server too
    try:
        print(f"The MLflow UI of {store.root} runs at {address(given.port, given.host)} (Ctrl-C ends it):")
        tell(views, store, given.port, given.host, running=True)
        print(warning(given.port, given.host), file=sys.stderr)
        sys.stdout.flush()
        while server.poll() is None:
            time.sleep(0.5)
    finally:
        stop(server)
    return 0


def replay(study: str, out: Path, store: Store) -> list[View]:
    """Log the finished runs recorded in `out` into the store, where it has them not yet, and save their views.

    A run that was trained into this store is left as it is; one that was trained elsewhere gets its points, its final
    metrics and the tag replayed=true.
    """
    from stacked.spec import from_json
    from stacked.tracking.tracker import Tracker
    from stacked.util.serialization import flat
    from studies.figures.style import arm_colours

    base, equal = recorded(out)
    rows, curves = finished(load_rows(out)), load_curves(out)
    for file, table, needed in (
        ("runs.csv", rows, (*TAGS, "updates")),
        ("curves.csv", curves, ("train/loss", "train/lr")),
    ):
        missing = [name for name in needed if name not in table]
        if missing:
            raise InputError(
                f"{out / file} lacks the column {missing[0]!r}, without which it cannot be shown: restore it"
            )
    if rows["updates"].isna().any():
        raise InputError(f"{out / 'runs.csv'} has a finished run without its updates, and cannot be shown: restore it")
    name, colours = f"{study}-{configuration(base, equal)}", arm_colours(arms_of(rows))
    for row in rows.to_dict("records"):
        spec, work = from_json(row["spec"]), store.root / "work" / row["run"]
        if work.exists():
            continue
        tags = {key: row[key] for key in TAGS}
        tags |= {
            "kind": "arm",
            "study": name,
            "spec": row["run"],
            "replayed": "true",
            "mlflow.runColor": colours[row["arm"]],
        }
        with Tracker(
            store,
            experiment_name(base),
            name=f"{row['arm']}/s{row['seed']}",
            work=work,
            tags=tags,
            params=flat(spec),
        ) as tracker:
            points = curves[curves["run"] == row["run"]]
            for point in points.to_dict("records"):
                tracker.log(measurements(point), step=int(point["step"]))
            trained = points.dropna(subset="train/loss")
            for index, (phase, part) in enumerate(trained.groupby("phase", sort=False), start=1):
                with tracker.stage(index, str(phase), {"updates": int(part["phase_step"].max())}) as stage:
                    for point in part.to_dict("records"):
                        values = {"stage/loss": point["train/loss"], "stage/lr": point["train/lr"]}
                        stage.log(values, step=int(point["phase_step"]))
            tracker.log(measurements(row), step=int(row["updates"]))
    return save(name, base, out, store)


def measurements(values: dict[Any, Any]) -> dict[str, float]:
    """The metrics among the columns of a row, those that were measured."""
    return {str(key): float(value) for key, value in values.items() if "/" in str(key) and value == value}
