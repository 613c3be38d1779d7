"""A record of four runs that were never trained, and its tables with changed cells, columns and rows."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from stacked import RunSpec
from stacked.spec import Budget
from stacked.util.serialization import to_json
from studies.record import runs as record
from studies.statistics.checksums import with_checksums
from studies.statistics.rows import load_rows
from tests.helpers.refused import note, refusal

ARMS = ("greedy", "joint")

SPECS = [RunSpec(policy=arm, seed=seed) for seed in (0, 1) for arm in ARMS]


def row(spec: RunSpec, **changes: Any) -> dict[str, Any]:
    known = {"run": spec.id, "arm": spec.policy, "seed": spec.seed, "status": "finished", "commit": "0a1b2c3"}
    numbers = {"updates": 10, "images_seen": 100, "gflop": 0.5, "seconds": 2.5, "threads": 1, "final/recon_mse": 0.1}
    return known | numbers | {"final/probe_acc": 0.75} | changes | {"spec": to_json(spec)}


def curve(spec: RunSpec) -> list[dict[str, Any]]:
    point = {"run": spec.id, "arm": spec.policy, "seed": spec.seed, "phase": "é, joint", "phase_step": 5}
    return [point | {"step": step, "train/loss": 0.5, "eval/recon_mse": 0.25} for step in (0, 5)]


def cells_of(path: Path) -> pd.DataFrame:
    """The cells of a table as text, without its checksums."""
    return pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="checksum")


def unchecked(path: Path) -> bytes:
    """The bytes of a table without its checksums, as they were before checksums existed."""
    return cells_of(path).to_csv(index=False, lineterminator="\n").encode()


def change(path: Path, to: Path, column: str, cell: str, rows: int = 1) -> None:
    """Write a copy of a table with another value in the first rows of a column, and the checksums of the changed rows."""
    table = cells_of(path)
    table.loc[: rows - 1, column] = cell
    to.write_text(with_checksums(table.to_csv(index=False)))


CELLS = st.sampled_from(
    ["", " ", "x", "nan", "inf", "-1", "1.5", "1e400", "1e17", "0x1", "finished", "joint", "é", "\x00"]
) | st.text(st.characters(codec="utf-8"), max_size=5)


@st.composite
def changed_tables(draw: st.DrawFn, content: bytes) -> bytes:
    """A CSV file with cells, columns and rows changed, doubled and left out."""
    table = list(csv.reader(io.StringIO(content.decode(), newline="")))
    for _ in range(draw(st.integers(1, 3))):
        i, j = draw(st.integers(0, len(table) - 1)), draw(st.integers(0, len(table[0]) - 1))
        way = draw(
            st.sampled_from(["cell", "cell", "cell", "row twice", "no row", "column twice", "no column", "swap"])
        )
        if way == "cell" and j < len(table[i]):
            table[i][j] = draw(CELLS)
        elif way == "row twice":
            table.append(table[i])
        elif way == "no row" and len(table) > 1:
            table.pop(i)
        elif way == "column twice":
            table = [[*cells, *cells[j : j + 1]] for cells in table]
        elif way == "no column" and len(table[0]) > 1:
            table = [cells[:j] + cells[j + 1 :] for cells in table]
        elif way == "swap":
            table[i].reverse()
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


def rows_in(out: Path) -> tuple[pd.DataFrame | None, str, list[str]]:
    """The rows of a record, or why there are none, and what was warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rows, refused = refusal(lambda: load_rows(out))
    note("refused" if refused else "read")
    assert not refused or refused.startswith(str(out / "runs.csv"))
    return rows, refused, [str(each.message) for each in told]


def make_record(out: Path) -> None:
    """Write the record of four runs, one of which failed."""
    record.prepare(out, RunSpec(), "flops", "d1")
    record.save_budgets(out, {arm: Budget((3, 4, 5, 6), 7, "updates") for arm in ARMS})
    for spec in SPECS[:3]:
        record.add(out, row(spec), curve(spec), {"originals": np.zeros((2, 4, 4, 1), np.uint8)})
    record.add(out, record.failed_row(SPECS[3], "joint", "it broke\nin two"), [], {})
    (out / "reference.json").write_text(json.dumps({"pca_mse": 0.1, "mean_sse": 5.0, "train_labels": 3}))
