"""A disk that fills up or takes nothing: what was kept is whole, one line says why, and the same command goes on from there.

The disks are small ones in memory (tmpfs), which root may mount, and anyone in a name space of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from stacked import RunSpec
from stacked.cost.disk import check_writable
from stacked.runs.checkpoint import load_checkpoint, read_header, save_checkpoint
from stacked.spec import from_json
from stacked.tracking.backend.circuit_breaker import circuit_breaker_for
from stacked.tracking.backend.store import open_store
from stacked.tracking.metric_log import MetricLog, read_entries
from stacked.tracking.tracker import Tracker
from stacked.util.atomic import write_atomically
from stacked.util.errors import InputError, Unwritable
from stacked.util.serialization import to_json
from studies.cli.command_line import parser
from studies.cli.options import options
from studies.execution import job as working
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from studies.record import runs as record
from studies.reliability.compare_records import differences
from studies.statistics.rows import load_rows

from mlflow import MlflowClient  # isort: skip

ROOT = Path(__file__).parents[2]
NEW_SPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def works(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A disk of `size` at `folder`."""
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True, capture_output=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def can_mount() -> bool:
    folder = Path(f"/tmp/.stacked-can-mount-{os.getpid()}")
    try:
        with mounted(folder, "64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)


CAN_MOUNT = can_mount()
mounts = pytest.mark.skipif(not CAN_MOUNT, reason="no disk can be mounted here (needs root, or a user name space)")


@pytest.mark.skipif(
    CAN_MOUNT or not works(*NEW_SPACE, "true"), reason="what follows runs as it is, or nowhere: see its own reasons"
)
def test_all_of_this_in_a_name_space_of_its_own() -> None:
    done = subprocess.run(
        [*NEW_SPACE, sys.executable, "-m", "pytest", "-m", "robustness", "-p", "no:cacheprovider", __file__],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    with mounted(tmp_path / "small", "2m") as folder:
        yield folder


def fill(folder: Path) -> Path:
    """Take all the space that is left on the disk of `folder`; the file that takes it."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    assert shutil.disk_usage(folder).free == 0
    return ballast


def hidden(folder: Path) -> list[str]:
    """Files that were begun and not finished."""
    return [path.name for path in folder.rglob(".*-*")]


# Each thing that is written


@mounts
def test_a_point_is_added_whole_or_not_at_all(small: Path) -> None:
    points, added = MetricLog(small / "points.jsonl"), 0
    points.add("run", {"loss": 0.5}, 0, 7)
    ballast = fill(small)

    def more() -> None:
        nonlocal added
        for added in range(1, 1000):  # the last block takes some
            points.add("run", {"loss": 1 / added}, added, 7)

    with pytest.raises(
        Unwritable, match=r"points\.jsonl cannot be written \(No space left on device\): free some space"
    ):
        more()
    assert 1 < added < 100
    assert [point.step for point in points.entries] == list(range(added))
    assert read_entries(points.path) == points.entries
    ballast.unlink()
    points.add("run", {"loss": 0.1}, added, 7)
    assert read_entries(points.path) == points.entries
    assert len(points.entries) == added + 1


@mounts
def test_a_checkpoint_is_replaced_or_left(small: Path) -> None:
    spec, path = RunSpec(), small / "update-0.safetensors"
    for value in (1, 2):
        tensors = {"w": torch.full((10_000,), float(value))}
        save_checkpoint(path, spec, 0, value, tensors, {})
    ballast = fill(small)
    with pytest.raises(Unwritable, match=r"update-0\.safetensors cannot be written \(No space left on device\)"):
        save_checkpoint(path, spec, 0, 3, tensors, {})
    assert load_checkpoint(path, spec).update == 2
    assert hidden(small) == []
    ballast.unlink()
    save_checkpoint(path, spec, 0, 3, tensors, {})
    assert load_checkpoint(path, spec).update == 3


@mounts
def test_rows_are_kept_and_a_row_that_cannot_be_written_does_not_hide_why(small: Path) -> None:
    spec = RunSpec(policy="joint")
    row = {
        "run": spec.id,
        "arm": "joint",
        "seed": 0,
        "status": "finished",
        "final/recon_mse": 0.5,
        "spec": to_json(spec),
    }
    record.add(
        small, row, [{"run": spec.id, "arm": "joint", "seed": 0, "phase": "joint", "step": 0, "phase_step": 0}], {}
    )
    words = f"--data digits --channels 4 --out {small} --store {small}/store --arms joint --seeds 2"
    given = options("layerwise", parser("p", "q", STUDY.arm_names).parse_args(words.split()))
    before: tuple[bytes, bytes] | None = None

    def fail(seed: int) -> None:
        nonlocal before
        before = (small / "runs.csv").read_bytes(), (small / "curves.csv").read_bytes()
        job = working.Job(RunSpec(policy="joint", seed=seed), "joint", "s", "e", {}, given, 1)
        working.record_failure(job, "the loss became nan")

    def more() -> None:
        for seed in range(1, 100):  # the last block takes some
            fail(seed)

    ballast = fill(small)
    with pytest.raises(
        Unwritable, match=r"^joint/s\d+ failed \(the loss became nan\), and .*/runs\.csv cannot be written \(No s"
    ):
        more()
    assert ((small / "runs.csv").read_bytes(), (small / "curves.csv").read_bytes()) == before
    assert hidden(small) == []
    known = len(load_rows(small))
    ballast.unlink()
    fail(known)
    assert list(load_rows(small)["status"]) == ["finished", *["failed: the loss became nan"] * known]


@mounts
def test_a_store_that_cannot_be_made_leaves_nothing(small: Path) -> None:
    fill(small)
    with pytest.raises(InputError, match=r"cannot be opened as an MLflow store \(.*full"):
        open_store(small / "store")
    assert list((small / "store").glob("*.db*")) == []


@mounts
def test_a_full_database_is_an_outage_while_the_work_folder_takes_what_is_measured(
    small: Path,
    empty_database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(empty_database, small)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{small}/mlflow.db")
    store = open_store(tmp_path / "store")
    made = {"name": "joint/s0", "work": tmp_path / "work", "tags": {"kind": "arm"}, "params": {"lr": 0.1}}
    with Tracker(store, "full", **made) as tracker:  # type: ignore[arg-type]
        tracker.log({"loss": 1.0}, 0)
    ballast = fill(small)

    def more() -> None:
        with Tracker(store, "full", **made) as tracker:  # type: ignore[arg-type]
            for step in range(1, 60):
                tracker.log({f"metric {number}": step + number for number in range(20)}, step)
            assert tracker.unsent > 0

    capfd.readouterr()
    with pytest.warns(RuntimeWarning, match=r"mlflow\.db failed \(.*training goes on"):
        more()
    assert capfd.readouterr().err == ""  # MLflow prints no trace of its own
    ballast.unlink()
    circuit_breaker_for.cache_clear()  # as a later process has it
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with Tracker(store, "full", **made) as tracker:  # type: ignore[arg-type]
            assert tracker.flush()
    history = MlflowClient(store.uri).get_metric_history(tracker.run_id, "metric 3")
    assert [(point.step, point.value) for point in history] == [(step, step + 3) for step in range(1, 60)]
    assert MlflowClient(store.uri).get_run(tracker.run_id).info.status == "FINISHED"


@mounts
@pytest.mark.parametrize("what", ["--out", "--store"])
def test_a_disk_that_is_read_only_is_refused_before_training(
    what: str, small: Path, empty_database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(empty_database, small)
    (small / "runs.csv").write_text("")
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    with pytest.raises(
        Unwritable, match=r"small cannot be written \(Read-only file system\): choose a folder that can"
    ):
        check_writable(small)
    with pytest.raises(Unwritable, match="Read-only file system"):
        write_atomically(small / "x", "")
    other = {"--out": "--store", "--store": "--out"}[what]
    (tmp_path / "store").mkdir()
    shutil.copy(empty_database, tmp_path / "store")
    words = ["--smoke", "--jobs", "1", what, str(small), other, str(tmp_path / other.strip("-"))]
    assert main(STUDY, words) == 2
    [said] = capsys.readouterr().err.strip().splitlines()
    assert f"{small}" in said
    assert "Read-only file system" in said or "Permission denied" in said


# The command

WORDS = (
    *("--data", "digits", "--channels", "4", "8", "--batch-size", "64", "--seeds", "1", "--labels", "100"),
    *("--arms", "greedy", "--epochs", "2", "--finetune", "2", "--checkpoint-every", "10"),
    *("--classification", "{updates: 5, checks: 1}", "--evaluation", "{probe_labels: 300}"),
)


def words(home: Path, jobs: int) -> list[str]:
    return [*WORDS, "--jobs", str(jobs), "--out", str(home / "out"), "--store", str(home / "store")]


def start(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "studies.layerwise", *words(home, jobs=2)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@mounts
@pytest.mark.usefixtures("no_models", "no_page")
def test_a_study_on_a_disk_that_fills_up_goes_on_when_there_is_space(empty_database: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    (alone / "store").mkdir(parents=True)
    shutil.copy(empty_database, alone / "store")
    with mounted(tmp_path / "small", "16m") as home:
        (home / "store").mkdir()
        shutil.copy(empty_database, home / "store")
        running = start(home)
        deadline = time.monotonic() + 900
        while not list(home.glob("store/work/*/update-1.safetensors")):
            assert running.poll() is None, running.stderr.read() if running.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.killpg(running.pid, signal.SIGSTOP)
        ballast = fill(home)
        os.killpg(running.pid, signal.SIGCONT)
        _, said = running.communicate(timeout=900)
        assert running.returncode == 2
        assert "Traceback" not in said
        [last] = [line for line in said.splitlines() if "python -m studies.layerwise: " in line]
        assert "cannot be written (No space left on device): free some space and run the same command again" in last
        assert said.strip().endswith(last)
        kept = list(home.glob("store/work/*/*.safetensors"))
        assert len(kept) >= 2
        for path in kept:
            load_checkpoint(path, from_json(read_header(path)["spec"]))
        assert hidden(home / "store") + hidden(home / "out") == []
        assert not (home / "out" / "runs.csv").exists()

        ballast.unlink()
        for place in (home, alone):
            assert main(STUDY, words(place, jobs=1)) == 0
        assert list(load_rows(home / "out")["status"]) == ["finished"]
        assert differences(alone, home) == []
        copies = list(home.glob("store/artifacts/*/artifacts/checkpoints/*.safetensors"))
        assert len(copies) == len(list(home.glob("store/work/*/phase-*.safetensors"))) == 2
        for path in copies:  # that which the disk took half of is whole now
            load_checkpoint(path, from_json(read_header(path)["spec"]))
