"""What a process holds does not grow from run to run, and the endurance test would see it if it did."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stacked import RunSpec, StackSpec
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.tracking.tracker import Tracker, open_store
from studies.framework.main import main
from studies.reliability.endurance import PROC, STUDY, Sample, endure, process_resources
from studies.reliability.endurance_report import Slope, findings, slope
from tests.helpers.splits import toy_splits

pytestmark = pytest.mark.skipif(not PROC.exists(), reason="reads what a process holds from /proc")


def samples(**columns: list[float]) -> pd.DataFrame:
    """Ten runs of ten phases that hold always the same, but for these columns."""
    same = {
        "seconds": 1.0,
        "cpu_seconds": 1.0,
        "memory": 100.0,
        "files": 9,
        "threads": 2,
        "children": 0,
        "objects": 500,
    }
    runs = np.arange(1, 11)
    return pd.DataFrame(
        {"run": runs, "phases": 10 * runs, **{name: [value] * 10 for name, value in same.items()}} | columns
    )


def test_a_slope_is_that_of_the_second_half_with_its_interval() -> None:
    first, second = [7.0, 900.0, -3.0, 4.0, 0.0], [1.0, 4.0, 2.0, 6.0, 5.0]
    found = slope(samples(memory=first + second), "memory")
    x, y = np.arange(60, 101, 10), np.array(second)
    expected = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    residuals = y - y.mean() - expected * (x - x.mean())
    error = np.sqrt((residuals**2).sum() / (5 - 2) / ((x - x.mean()) ** 2).sum())
    assert found.value == pytest.approx(1000 * expected)
    assert found.high - found.value == pytest.approx(1000 * error * stats.t.ppf(0.975, 3))
    assert found.value - found.low == pytest.approx(found.high - found.value)
    assert not found.grows  # 10 more per 100 phases, and the interval holds 0
    assert slope(samples(memory=[*first, 10.0, 20.0, 30.0, 40.0, 50.0]), "memory").grows
    assert slope(samples(memory=[*first, 9.0, 9.0, 9.0, 9.0, 9.0]), "memory") == Slope(0.0, 0.0, 0.0)
    assert Slope(np.nan, np.nan, np.nan).grows  # it was not shown to stay as it was


@pytest.mark.parametrize(
    ("columns", "verdict"),
    [
        ({}, "curves. **Does not grow:** resident memory, open files, threads, child processes, Python objects, "),
        ({"files": list(range(10))}, "curves. **Grows:** open files. **Does not grow:** resident memory, threads, "),
        ({"files": list(range(10, 0, -1))}, "curves. **Does not grow:** resident memory, open files, "),
        (
            {"memory": [10.0 * k for k in range(10)], "children": [0] * 5 + [1, 2, 3, 4, 5]},
            "**Grows:** resident memory, child",
        ),
    ],
)
def test_a_page_says_what_grew(columns: dict[str, list[float]], verdict: str, tmp_path: Path) -> None:
    samples(**columns).to_csv(tmp_path / "samples.csv", index=False)
    parts, grew = findings(tmp_path)
    assert verdict in parts[0]
    assert grew == ("**Grows:**" in verdict)
    assert "100 phases in 10 runs" in parts[0]
    assert (tmp_path / "figures" / "endurance.png").read_bytes().startswith(b"\x89PNG")


#: what `held` says of a file, a thread and a child that come and go, in a process that has no others
HELD = """
import gc, mmap, subprocess, sys, threading, time
from studies.reliability.endurance import process_resources
gc.collect()
memory, files, threads, children, objects = process_resources()
kept = [[] for _ in range(100_000)]
filled, done = mmap.mmap(-1, 50_000_000), threading.Event()  # not from the heap, which may have room left
filled.write(b"x" * len(filled))
thread = threading.Thread(target=done.wait)
thread.start()
with open(sys.argv[1], "w"), subprocess.Popen(["sleep", "60"]) as child:
    now = process_resources()
    child.kill()
done.set()
thread.join()
assert now[1:4] == (files + 1, threads + 1, children + 1), now
assert now[0] - memory > 0.9 * len(filled) / 1e6
assert now[4] - objects > 0.9 * len(kept)
deadline = time.monotonic() + 10  # a thread that was joined is listed until the system has removed it
while (left := process_resources()[1:4]) != (files, threads, children) and time.monotonic() < deadline:
    time.sleep(0.01)
assert left == (files, threads, children), left
"""


@pytest.mark.slow
def test_what_is_held_is_what_there_is(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", HELD, str(tmp_path / "file")], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.slow
def test_runs_in_one_process_leave_no_file_thread_or_process_behind(tmp_path: Path) -> None:
    """Six runs with checkpoints, each tracked in a real store but for its model, after one that imports and connects."""
    spec = RunSpec(
        policy="joint",
        stack=StackSpec.of("conv", 4),
        budget=Budget((1.0,), 1.0, "updates"),
        optimisation=Optimisation(batch_size=16),
        evaluation=Evaluation(every=1, images=16, probe_images=16, probe_labels=16),
        classification=Classification(labels=()),
    )
    store, splits = open_store(tmp_path), toy_splits(32)

    class Light(Tracker):
        def model(self, *_: object) -> None:
            """Not exported: that takes a second."""

    def one(seed: int) -> None:
        work = tmp_path / "work" / str(seed)
        with Light(store, "e", name=f"s{seed}", work=work, tags={"arm": "joint"}, params={}) as tracker:
            run(replace(spec, seed=seed), splits, work=work, tracker=tracker, checkpoint_every=1)

    one(0)
    before = process_resources()[1:4]
    for seed in range(1, 7):
        one(seed)
    assert process_resources()[1:4] == before


@pytest.mark.slow
def test_an_endurance_test_trains_what_it_says(tmp_path: Path) -> None:
    assert len(list(endure(tmp_path, tmp_path / "out" / "samples.csv", 20, lambda: False))) == 2
    found = pd.read_csv(tmp_path / "out" / "samples.csv")
    assert list(found) == list(Sample.__dataclass_fields__)
    assert found["phases"].tolist() == [10, 20]
    assert (found[["seconds", "cpu_seconds"]] > 0).all(axis=None)
    for column in ("files", "threads", "children"):
        assert found[column].nunique() == 1
    with sqlite3.connect(tmp_path / "store" / "mlflow.db") as store:
        kinds = "select value, status, count(*) from runs join tags using (run_uuid) where key = 'kind' group by value, status"
        assert store.execute(kinds).fetchall() == [("arm", "FINISHED", 2), ("stage", "FINISHED", 20 + 2)]
    assert len(pd.read_csv(tmp_path / "record" / "runs.csv")) == 2


@pytest.mark.parametrize("phases", ["0", "59"])
def test_too_few_phases_are_refused(phases: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(STUDY, ["--phases", phases]) == 2
    assert f"phases {phases} is not allowed: give an integer of at least 60" in capsys.readouterr().err


def test_samples_of_another_time_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "samples.csv").write_text("mine")
    assert main(STUDY, ["--out", str(tmp_path)]) == 2
    assert f"{tmp_path} holds samples of an earlier session: choose another --out" in capsys.readouterr().err
    assert (tmp_path / "samples.csv").read_text() == "mine"
