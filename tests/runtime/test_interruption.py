"""Processes that are asked to end, and processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from stacked.runs.checkpoint import Checkpoints
from stacked.runs.run import Result, run
from stacked.runtime.interruption import Interruption
from stacked.spec import Budget
from stacked.util.errors import Interrupted
from tests.helpers.runs import SPEC, numbers, same_weights
from tests.helpers.splits import toy_splits


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_once_and_raises_the_second_time(number: int) -> None:
    before = signal.getsignal(number)
    with Interruption(grace=60.0) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert stop.number == number
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_does_not_ask_is_ended_after_the_grace(number: int) -> None:
    began = time.monotonic()
    with Interruption(grace=0.2):
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            time.sleep(5)
    assert 0.15 < time.monotonic() - began < 2


def test_what_is_swallowed_comes_again() -> None:
    with Interruption(grace=0.2):
        os.kill(os.getpid(), signal.SIGTERM)
        with suppress(Interrupted):  # as an import may do that tries one module and then another
            time.sleep(5)
        with pytest.raises(Interrupted):
            time.sleep(5)


def test_nothing_comes_after_the_context_was_left() -> None:
    with Interruption(grace=0.1) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.2)
    assert stop()


LONG = replace(SPEC, budget=Budget((12.0,), 12.0))


def trained(work: Path) -> Result:
    """A run in this folder, which is begun or continued, and ends early when it is asked."""
    with Interruption() as stop:
        return run(LONG, toy_splits(150), work=work, checkpoint_every=1, stop=stop)


#: Trains in the folder it is given, and says when it begins.
SCRIPT = """
import sys
from pathlib import Path
from tests.runtime.test_interruption import trained

print("ready", flush=True)
trained(Path(sys.argv[1]))
"""


def start(work: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(work)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def newer(work: Path, began: float) -> bool:
    """Whether a checkpoint was written since `began`, by the clock; without opening what another process may replace."""
    for entry in os.scandir(work):
        with suppress(FileNotFoundError):
            if entry.name.startswith("update-") and entry.stat().st_mtime > began:
                return True
    return False


def place(work: Path) -> tuple[int, int]:
    """The finished phases, and the updates of the next one, at the newest checkpoint."""
    saved = Checkpoints(work, LONG).newest()
    return (saved.phases, saved.update) if saved else (0, 0)


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Once by SIGKILL and once by SIGTERM, while it writes checkpoints after every update; this process ends what is left."""
    work, places = tmp_path / "killed", []
    work.mkdir()
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = start(work)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.time()
        while not newer(work, began) and time.time() < began + 60:
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(10) != 0
        places.append(place(work))
    assert (0, 0) < places[0] < places[1] < (len(LONG.phases()), 0)
    continued, whole = trained(work), trained(tmp_path / "whole")
    assert numbers(continued) == numbers(whole)
    assert same_weights(continued.stack, whole.stack)
