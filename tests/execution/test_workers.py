"""A study's worker processes: one that is killed is replaced, all end when asked, and none outlives the first process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stacked.runs.checkpoint import position
from stacked.runtime.interruption import Interruption
from stacked.util.errors import InputError, Interrupted
from studies.execution import pool
from studies.execution.job import GRACE_SECONDS
from studies.execution.pool import run_jobs, stop_workers
from studies.execution.worker import prepare_worker
from tests.helpers.splits import toy_splits
from tests.helpers.working import is_stuck, trains

ROOT = Path(__file__).parents[2]
STUDY = (
    *("--data", "digits", "--channels", "4", "8", "--batch-size", "64", "--seeds", "1", "--labels", "100"),
    *("--arms", "greedy", "joint", "--epochs", "2000", "--finetune", "2000", "--jobs", "2", "--checkpoint-every", "20"),
)
linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads the children of a process from /proc")


def workers(parent: int) -> set[int]:
    """The living worker processes of a study, its resource tracker left out."""
    found = set()
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for child in children:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(int(child))
    except OSError:
        return set()
    return found


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def places(home: Path) -> dict[str, tuple[int, int]]:
    """The newest place of each run that has one."""
    found: dict[str, tuple[int, int]] = {}
    for path in (home / "store" / "work").glob("*/[pu]*.safetensors"):
        try:
            found[path.parent.name] = max(found.get(path.parent.name, (0, 0)), position(path))
        except (InputError, OSError):  # being replaced
            continue
    return found


@pytest.fixture
def process(tmp_path: Path, empty_database: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The first process of the study in `tmp_path`; nothing of it is left running."""
    (tmp_path / "store").mkdir()
    shutil.copy(empty_database, tmp_path / "store")
    words = [sys.executable, "-m", "studies.layerwise", *STUDY]
    words += ["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    with (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    yield started
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)


@pytest.mark.slow
@linux
def test_workers_are_replaced_and_asked(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    wait_for(lambda: len(places(tmp_path)) == 2)
    before = workers(process.pid)
    assert len(before) == 2

    # one is killed: its run, and the other's, go on in new processes
    reached = places(tmp_path)
    os.kill(min(before), signal.SIGKILL)
    wait_for(lambda: all(places(tmp_path)[run] > reached[run] for run in reached) and not workers(process.pid) & before)
    assert process.poll() is None
    assert not (tmp_path / "out" / "runs.csv").exists()  # nothing failed

    # the first process is asked: all end with their place kept, and MLflow knows
    process.send_signal(signal.SIGTERM)
    now, began = workers(process.pid), time.monotonic()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 10
    assert not any(map(alive, now))
    with sqlite3.connect(tmp_path / "store" / "mlflow.db") as store:
        assert {status for (status,) in store.execute("select status from runs")} == {"KILLED"}
    assert b"the same command continues from there" in (tmp_path / "log").read_bytes()


#: Has two workers that train for it in the folder that it is given.
TRAINING = """
import sys
from pathlib import Path
from types import SimpleNamespace
from studies.execution import pool
from tests.helpers.splits import toy_splits
from tests.helpers.working import trains_in
pool.run_in_worker = trains_in
jobs = [
    SimpleNamespace(spec=SimpleNamespace(id=name), arm="joint", label=name, folder=Path(sys.argv[1]))
    for name in ("one", "other")
]
list(pool.run_jobs(jobs, 2, toy_splits()))
"""


@pytest.mark.slow
@linux
def test_workers_keep_their_place_and_do_not_outlive_a_process_that_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", TRAINING, str(tmp_path)], cwd=ROOT)
    try:
        wait_for(lambda: {"one begun", "other begun"} <= {path.name for path in tmp_path.iterdir()})
        now = workers(process.pid)
        assert len(now) == 2
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not any(map(alive, now)), seconds=15)
    assert {"one kept", "other kept"} <= {path.name for path in tmp_path.iterdir()}


@contextmanager
def one_of_two_at_work(what: Callable[[Path], Any], folder: Path) -> Iterator[Future[Any]]:
    """Two workers, of which one waits; after the context no worker is left, and nobody waits for one."""
    pool = ProcessPoolExecutor(
        2, multiprocessing.get_context("spawn"), initializer=prepare_worker, initargs=(os.getpid(),)
    )
    running, other = pool.submit(what, folder / "begun"), pool.submit(os.getpid)
    assert other.result(60) != os.getpid()
    wait_for((folder / "begun").exists)
    yield running
    ending = threading.Thread(target=pool.shutdown, daemon=True)
    ending.start()
    ending.join(20)
    assert not ending.is_alive()
    assert multiprocessing.active_children() == []


def test_a_worker_that_waits_does_not_keep_the_others_from_ending(tmp_path: Path) -> None:
    with one_of_two_at_work(trains, tmp_path) as running:
        began = time.monotonic()
        stop_workers(multiprocessing.active_children(), [running])
        assert running.result(0) == "kept"
        assert time.monotonic() - began < 0.5 * GRACE_SECONDS


def test_workers_are_ended_also_when_their_parent_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "GRACE_SECONDS", 1.0)
    with one_of_two_at_work(is_stuck, tmp_path) as running, Interruption(grace=0.65):
        os.kill(os.getpid(), signal.SIGTERM)  # and 0.65 seconds later, while it waits, again
        began = time.monotonic()
        stop_workers(multiprocessing.active_children(), [running])
        assert time.monotonic() - began >= 0.9


@pytest.mark.parametrize("processes", [1, 2])
def test_what_waits_is_not_begun_when_it_is_time_to_end(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "run_job", lambda *_: pytest.fail("it was begun"))
    jobs = [SimpleNamespace(arm="joint"), SimpleNamespace(arm="greedy")]
    with pytest.raises(Interrupted):
        list(run_jobs(jobs, processes, toy_splits(), lambda: True))  # type: ignore[arg-type]
    assert list(run_jobs([], processes, toy_splits(), lambda: True)) == []


def attended() -> None:
    """As in a terminal; a shell lets what it starts in the background ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("seconds", [0.1, 0.25, 0.4, 0.6, 0.9])
def test_a_study_that_is_interrupted_while_it_is_loaded_ends(seconds: float, tmp_path: Path) -> None:
    """Whatever the libraries that it imports make of it."""
    words = [
        sys.executable,
        "-m",
        "studies.layerwise",
        *STUDY,
        "--out",
        str(tmp_path / "out"),
        "--store",
        str(tmp_path / "s"),
    ]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=attended)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode != 0
    assert not (tmp_path / "out" / "runs.csv").exists()
    assert b"interrupted" in told or process.returncode != 128 + signal.SIGINT


@linux
@pytest.mark.slow
def test_ctrl_c_while_workers_start_prints_one_sentence(tmp_path: Path, empty_database: Path) -> None:
    """A terminal sends it to all processes, also to workers that do not ignore it yet."""
    (tmp_path / "store").mkdir()
    shutil.copy(empty_database, tmp_path / "store")
    words = [sys.executable, "-m", "studies.layerwise", *STUDY]
    words += ["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    process = subprocess.Popen(
        words, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=attended, text=True
    )
    wait_for(lambda: len(workers(process.pid)) == 2)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in told
    assert told.count("interrupted") == 1


def test_processes_that_are_started_without_interrupts_block_them() -> None:
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with pool.without_interrupts():
        blocked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert blocked.stdout == "True\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_only_a_study_that_is_started_ends_at_once() -> None:
    code = "import signal, studies; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, preexec_fn=attended)
    assert done.stdout == "True\n"


#: Starts two workers for jobs of no content; what they do is a function that every process has.
PLAIN = """
import sys
from types import SimpleNamespace
from studies.execution import pool
from tests.helpers.splits import toy_splits
pool.run_in_worker = vars
jobs = [
    SimpleNamespace(spec=SimpleNamespace(id=str(k)), arm="joint", label=f"joint, seed {k}", number=k, status="finished")
    for k in range(3)
]
"""


@pytest.mark.slow
def test_a_program_that_is_typed_has_workers_too() -> None:
    code = PLAIN + "print(sorted(row['number'] for row in pool.run_jobs(jobs, 2, toy_splits())))"
    done = subprocess.run([sys.executable, "-"], input=code, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2]\n"), done.stderr


@pytest.mark.slow
def test_a_script_that_starts_a_study_when_it_is_imported_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(PLAIN + "print(list(pool.run_jobs(jobs, 2, toy_splits())))")
    words = [sys.executable, str(tmp_path / "script.py")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "memory" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "stacked.util.errors.InputError: no worker process could be started: a script must call the study below "
        "`if __name__ == '__main__':`; or give --jobs 1"
    )
