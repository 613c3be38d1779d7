"""Progress is one line on a terminal and whole lines elsewhere; the time left follows from the runs that have finished."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from stacked import RunSpec, StackSpec, run
from stacked.runtime import progress, time_left
from stacked.runtime.progress import CLEAR, LINE_EVERY, Bar, Screen, each, say, say_warnings, shown
from stacked.runtime.time_left import RunProgress
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from studies.execution.shared_text import SIZE, SharedText
from tests.helpers.splits import toy_splits

ROOT = Path(__file__).parents[2]


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (progress, time_left):
        monkeypatch.setattr(module, "time", made)
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    made = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=made))  # pytest has its own in sys
    monkeypatch.setattr(progress, "columns", lambda: 120)
    yield made
    assert made.getvalue().endswith((CLEAR, "\n")) or not made.getvalue()  # nothing is left on the line


def drawn(terminal: Terminal) -> list[str]:
    """The lines that were drawn, each over the one before."""
    assert terminal.getvalue().startswith(CLEAR)
    return terminal.getvalue().split(CLEAR)[1:]


def test_a_library_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Bar("stage 1", 2, "updates", ends=True) as bar:
        bar.to(2, 0.5)
    assert list(each([1, 2], "depths")) == [1, 2]
    assert capfd.readouterr() == ("", "")


def test_a_terminal_has_one_line(terminal: Terminal, clock: Clock) -> None:
    with shown(), RunProgress(["joint"] * 3) as runs:
        runs.end(runs.begin("joint, seed 0", "joint"))
        number = runs.begin("joint, seed 1", "joint")
        with Bar("stage 1", 100, "updates") as bar:
            clock.now += 10
            bar.to(40, 0.25)
            clock.now += 0.001
            bar.to(41, 0.25)  # too soon after the last
            say("a line")
            clock.now += 10
            bar.to(80)
        runs.end(number)
    assert "\n" not in terminal.getvalue().replace("a line\n", "")
    assert drawn(terminal) == [
        "run 1 of 3 (joint, seed 0)",
        "run 2 of 3 (joint, seed 1), about 1 s left",
        "run 2 of 3 (joint, seed 1), about 1 s left: stage 1 [####......] 40/100 updates, loss 0.25000, 15 s left",
        "a line\n",
        "run 2 of 3 (joint, seed 1), about 1 s left: stage 1 [########..] 80/100 updates, loss 0.25000, 5 s left",
        "",
    ]


def test_a_line_is_cut_to_the_terminal(terminal: Terminal, clock: Clock) -> None:
    with shown(), Bar("x" * 300, 2):
        pass
    assert drawn(terminal)[0] == "x" * 119


def test_elsewhere_there_are_whole_lines(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with shown(), RunProgress(["joint", "greedy"]) as runs:
        number = runs.begin("joint, seed 0", "joint")
        for depth in each(range(3), "linear probe", "depths"):
            clock.now += 1 + LINE_EVERY * (depth == 1)
        with Bar("stage 1", 4, "updates", ends=True) as bar:
            clock.now += 12
            bar.to(4, 0.125)
        runs.end(number)
        runs.begin("greedy, seed 0", "greedy")
    assert capfd.readouterr().err.splitlines() == [
        "run 1 of 2 (joint, seed 0)",
        "joint, seed 0, linear probe: 2/3 depths, 22 s, 11 s left",
        "joint, seed 0, stage 1: 4/4 updates, loss 0.12500, 12 s",
        "run 2 of 2 (greedy, seed 0), about 35 s left",
    ]


def test_a_bar_inside_another_tells_both(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with shown():
        for _ in each("ab", "normal classes"):
            with Bar("stage 1", 10, "updates") as bar:
                clock.now += LINE_EVERY + 1
                bar.to(5)
    told = capfd.readouterr().err.splitlines()
    assert told[0] == "normal classes 0/2, stage 1: 5/10 updates, 21 s, 21 s left"
    assert "normal classes 1/2, stage 1: 5/10 updates, 21 s, 21 s left" in told


def test_what_was_done_at_another_time_says_nothing_of_the_time_left(clock: Clock) -> None:
    bar = Bar("stage 1", 100, "updates")
    bar.resume(50)
    clock.now += 10
    bar.to(60)
    assert bar.told(drawn=False) == "stage 1: 60/100 updates, 10 s, 40 s left"


def test_the_first_of_many_steps_does_not_count_for_the_time_left(clock: Clock) -> None:
    bar = Bar("stage 1", 100, "updates")
    clock.now += 30  # compiling
    bar.to(1)
    assert bar.told(drawn=False) == "stage 1: 1/100 updates, 30 s"
    clock.now += 2
    bar.to(2)
    assert bar.told(drawn=False) == "stage 1: 2/100 updates, 32 s, 3 min left"
    clock.now += 6
    bar.to(20)
    assert bar.told(drawn=False) == "stage 1: 20/100 updates, 38 s, 34 s left"


def test_the_first_of_few_steps_counts_for_the_time_left(clock: Clock) -> None:
    bar = Bar("linear probe", 3, "depths")
    clock.now += 30
    bar.to(1)
    assert bar.told(drawn=False) == "linear probe: 1/3 depths, 30 s, 60 s left"


def test_the_time_left_follows_from_runs_of_the_same_kind(clock: Clock) -> None:
    runs = RunProgress(["slow", "quick", "slow", "quick"])
    number = runs.begin("slow, seed 0", "slow")
    assert runs.left() is None
    clock.now += 100
    runs.end(number)
    assert runs.left() == 300  # for want of anything better
    number = runs.begin("quick, seed 0", "quick")
    clock.now += 4
    runs.end(number)
    assert runs.left() == 104
    number = runs.begin("slow, seed 1", "slow")
    clock.now += 60
    assert runs.left() == 44
    assert runs.told() == "run 3 of 4 (slow, seed 1), about 44 s left"
    runs.lost(number)
    assert runs.left() == 104
    assert runs.begin("slow, seed 1", "slow") == number
    runs.end(number, counts=False)
    assert runs.expected("slow") == 100


def test_kinds_that_differ_tell_no_time_before_each_is_known(clock: Clock) -> None:
    runs = RunProgress(["net", "filter", "net", "filter"], alike=False)
    for kind, seconds in (("net", 100), ("filter", 1)):
        assert runs.left() is None
        number = runs.begin(kind, kind)
        clock.now += seconds
        runs.end(number)
    assert runs.left() == 101


def test_runs_at_a_time_share_what_is_left(clock: Clock, terminal: Terminal) -> None:
    texts = SharedText(2)
    with shown(), RunProgress(["joint"] * 5, at_once=2, worker_texts=texts.read) as runs:
        number = runs.begin("joint, seed 0", "joint")
        clock.now += 60
        runs.end(number)
        for seed in (1, 2):
            runs.begin(f"joint, seed {seed}", "joint")
        texts.write("joint, seed 1, stage 1 40 %")
        clock.now += 1
        runs.refresh()
        assert runs.left() == (2 * 59 + 2 * 60) / 2
    assert "runs 2, 3 of 5, about 2 min left: joint, seed 1, stage 1 40 %" in drawn(terminal)


def test_a_worker_writes_to_its_own_place(terminal: Terminal, clock: Clock) -> None:
    texts = SharedText(2)
    with shown(Screen("joint, seed 0", send=texts.write)), Bar("stage 1", 4, "updates") as bar:
        clock.now += 1
        bar.to(3)
        assert texts.read() == ["joint, seed 0, stage 1 75 %"]
    assert texts.read() == []
    texts.write("é" * SIZE)
    assert texts.read() == ["é" * (SIZE // 2)]
    assert terminal.getvalue() == ""


def test_every_part_of_a_run_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phases, and what comes after them: errors, probes and classifiers."""
    ended: list[tuple[str, int, int | None]] = []
    monkeypatch.setattr(Screen, "end", lambda self, bar, whole: ended.append((bar.label, bar.done, bar.total)))
    spec = RunSpec(
        policy="greedy",
        stack=StackSpec.of("conv", 4, 6),
        budget=Budget((2.0,), 2.0, "updates"),
        optimisation=Optimisation(batch_size=32),
        evaluation=Evaluation(images=32, probe_images=32, probe_labels=32),
        classification=Classification(labels=(32, None), updates=3, epochs=0.01, checks=1, lrs=(1e-3, 3e-3)),
    )
    splits = toy_splits()
    with shown():
        run(spec, splits)
    parts = [("stage 1", 2, 2), ("stage 2", 2, 2), ("test error", 2, 2), ("linear probe", 3, 3)]
    labels = f"classifier of {len(splits.train):,} labels"
    assert ended == [*parts, ("classifier of 32 labels", 6, 6), (labels, 6, 6)]


#: A worker that shows a bar on the terminal and is ended from outside, as workers are when a study is interrupted.
WORKER = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from stacked.runtime.progress import Bar, Screen, shown
from studies.execution.shared_text import SharedText
from studies.execution.pool import stop_workers
from studies.execution.worker import prepare_worker

SHARED = []

def initial(parent, texts):
    prepare_worker(parent)
    SHARED.append(texts)

def shows(path):
    with shown(Screen("run", send=SHARED[0].write)), Bar("stage 1", 100, "updates") as bar:
        time.sleep(0.3)
        bar.to(10, 0.5)
        open(path, "w").close()
        time.sleep(60)

if __name__ == "__main__":
    texts = SharedText(1)
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=initial, initargs=(os.getpid(), texts))
    running = pool.submit(shows, sys.argv[1])
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.05)
    from studies.execution import pool as execution_pool
    execution_pool.GRACE_SECONDS = 0.1
    print(texts.read(), flush=True)
    stop_workers(multiprocessing.active_children(), [running])
"""


def test_a_worker_that_is_ended_leaves_no_semaphore(tmp_path: Path) -> None:
    """Python would tell of "leaked semaphore objects" at the end; a lock for drawing bars was one."""
    (tmp_path / "script.py").write_text(WORKER)
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    words = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "begun")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words, env=env, stdin=follower, stdout=subprocess.PIPE, stderr=follower, check=False, timeout=120
    )
    os.close(follower)
    told = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:
            break
        told += part
        if not part:
            break
    os.close(leader)
    assert done.stdout == b"['run, stage 1 10 %']\n", told
    assert b"leaked" not in told


def test_a_warning_is_one_line_that_does_not_control_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # restored after the test
    say_warnings()
    assert warnings.formatwarning("a\nb \x1b[2J", UserWarning, "x.py", 1) == "warning: a b \\x1b[2J\n"


def test_lines_that_stay_have_each_loss_once() -> None:
    bar = Bar("stage 1", 100, "updates")
    bar.to(10, 0.5)
    assert ", loss 0.50000" in bar.told(True)
    assert ", loss 0.50000" in bar.told(False)
    bar.to(20)
    assert "loss" not in bar.told(False)
    assert ", loss 0.50000" in bar.told(True)
    bar.to(30, 0.25)
    assert ", loss 0.25000" in bar.told(False)
