"""Processes that are asked to end, and processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from stacked.runs.checkpoint import Checkpoints
from stacked.runtime.interruption import Interruption
from stacked.spec import from_json
from stacked.util.errors import Interrupted


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


#: Trains in the folder it is given, and says when it is done with what.
SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.helpers.splits import toy_splits
from stacked.util.serialization import to_json
from stacked.runtime.interruption import Interruption
from stacked.runs.run import run
from tests.helpers.runs import SPEC, numbers
from stacked.spec import Budget

spec = replace(SPEC, budget=Budget((20.0,), 20.0))
Path(sys.argv[1]).mkdir(exist_ok=True)
Path(sys.argv[1], "spec").write_text(to_json(spec))
print("ready", flush=True)
with Interruption() as stop:
    result = run(spec, toy_splits(150), work=Path(sys.argv[1]), checkpoint_every=1, stop=stop)
print(sorted(numbers(result)[0].items()), sum(float(p.detach().double().abs().sum()) for p in result.stack.parameters()))
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
    saved = Checkpoints(work, from_json((work / "spec").read_text())).newest()
    return (saved.phases, saved.update) if saved else (0, 0)


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Three times, each while it writes checkpoints after every update; and is asked once."""
    whole, _ = start(tmp_path / "whole").communicate(timeout=120)
    work, places = tmp_path / "killed", []
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
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
    assert places == sorted(set(places))
    assert places[0] > (0, 0)
    assert start(work).communicate(timeout=120)[0] == whole
