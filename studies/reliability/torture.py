"""Does a study that is killed and resumed many times give the same results as an undisturbed study?

Command: python -m studies.torture --kills 100 --out results/torture
Expected and cost: results/torture/README.md, generated from kills.csv.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from stacked.runs.checkpoint import position
from stacked.runtime.progress import Bar, each, say
from stacked.util.atomic import write_atomically
from stacked.util.checks import whole
from stacked.util.errors import InputError, Interrupted
from studies.record.index import ROOT
from studies.reliability.compare_records import differences
from studies.reliability.kills import PROMPT, Ended, Kill
from studies.reliability.session import ReliabilitySession, ReliabilityStudy
from studies.reliability.torture_report import findings
from studies.statistics.rows import FINISHED, load_rows

WORDS = (
    *("--data", "digits", "--channels", "4", "8", "--batch-size", "64", "--seeds", "1", "--labels", "100"),
    *("--arms", "greedy+finetune", "joint", "--epochs", "60", "--finetune", "60"),
)
#: Signals and their targets (the process group, as from a terminal, or only the first process), with relative frequencies.
WAYS = {
    ("SIGKILL", "group"): 4,
    ("SIGKILL", "first process"): 2,
    ("SIGTERM", "first process"): 2,
    ("SIGINT", "group"): 2,
}
#: Values of --jobs: runs are made in the first process (1) or in workers.
JOBS = (1, 2)
#: Values of --checkpoint-every, drawn for every start; with 1, most kills happen while a checkpoint is written.
EVERY = (1, 10, 200, None)
#: Seconds after the signal after which the process is killed with SIGKILL.
STUCK = 60.0


class TortureSession(ReliabilitySession):
    """Kills studies and writes a row after each kill; rows of an earlier session are overwritten."""

    table, head = "kills.csv", "study,way,to"

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Kill the given number of times; raise Interrupted if `stop` returns True."""
        self.kills: list[Kill] = []
        self.ended: list[Ended] = []
        with Bar("kills", self.given.kills) as bar:
            for event in torture(self.folder, self.given.kills, random.Random(self.given.seed)):
                if isinstance(event, Ended):
                    self.ended.append(event)
                    continue
                self.kills.append(event)
                write_atomically(self.out / self.table, pd.DataFrame(map(asdict, self.kills)).to_csv(index=False))
                bar.to(len(self.kills))
                yield
                if stop():
                    raise Interrupted("stopped as asked")

    def findings(self) -> list[str]:
        """Return the parts of the page; the study fails if results differ or a process ended late."""
        late = any(kill.way != "SIGKILL" and kill.ended_in > PROMPT for kill in self.kills)
        self.failed = late or any(each.differs for each in self.ended)
        return findings(self.kills, self.ended)


def torture(folder: Path, count: int, dice: random.Random) -> Iterator[Kill | Ended]:
    """Kill studies `count` times and resume them until they end; yield each kill and each study that ended.

    dice: source of randomness.
    """
    started = time.monotonic()
    for jobs in each(JOBS, "undisturbed studies"):
        if code := start(undisturbed(folder, jobs), None, jobs).wait():
            raise InputError(f"the study fails even without kills (exit code {code}): {' '.join(WORDS)}")
    duration = (time.monotonic() - started) / len(JOBS)
    say(f"without kills a study takes {duration:.0f} s")
    made = number = 0
    while made < count:
        number += 1
        home, before, jobs = folder / f"study-{number}", made, dice.choice(JOBS)
        while True:
            every = dice.choice(EVERY)
            process, at = start(home, every, jobs), time.monotonic()
            # the first seconds are imports; the longest wait is the duration of the whole study, so that it makes progress
            wait = dice.uniform(0.5, duration) if made < count else 10 * duration
            try:
                code = process.wait(wait)
                if code:
                    raise InputError(f"the study ended by itself with exit code {code}: {reason(home)}")
                break
            except subprocess.TimeoutExpired:
                found = kill(process, dice, at, number, home, every, jobs)
                made += 1
                say(f"kill {made}: {found}")
                yield found
            finally:
                if process.poll() is None:  # the caller closed the generator
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        differs = "; ".join(differences(undisturbed(folder, jobs), home))
        say(f"study {number} ended after {made - before} kills: {differs or 'the same'}")
        yield Ended(number, made - before, differs)
        shutil.rmtree(home)


def undisturbed(folder: Path, jobs: int) -> Path:
    """Return the folder of the undisturbed study; each value of `jobs` has its own, because the number of threads differs."""
    return folder / f"undisturbed-{jobs}"


def reason(home: Path) -> str:
    """Return why the study in `home` failed: the status of its runs that failed, or else the last line that it printed."""
    failed: list[str] = []
    with suppress(InputError):
        rows = load_rows(home / "out")
        failed = [f"{row.arm}: {row.status}" for row in rows[rows["status"] != FINISHED].itertuples()]
    return "; ".join(failed) or "".join((home / "log").read_text(errors="replace").splitlines()[-1:])


def start(home: Path, every: int | None, jobs: int) -> subprocess.Popen[bytes]:
    """Start the study in its own process group; it writes only to the folder `home`."""
    home.mkdir(parents=True, exist_ok=True)
    argv = [*WORDS, "--jobs", str(jobs), "--out", str(home / "out"), "--store", str(home / "store")]
    argv += ["--checkpoint-every", str(every)] if every else []
    with (home / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "studies.layerwise", *argv],
            cwd=ROOT,  # a folder `studies` in the current directory would shadow this package
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def kill(
    process: subprocess.Popen[bytes],
    dice: random.Random,
    started: float,
    study: int,
    home: Path,
    every: int | None,
    jobs: int,
) -> Kill:
    """Kill the process in one of the WAYS, and return the record of the kill."""
    [(way, to)] = dice.choices(list(WAYS), list(WAYS.values()))
    send = os.killpg if to == "group" else os.kill
    at = time.monotonic()
    send(process.pid, getattr(signal, way))
    try:
        process.wait(STUCK)
    except subprocess.TimeoutExpired:  # the table shows the long time
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    rows = home / "out" / "runs.csv"
    kept = [f"{phases}:{update}" for phases, update in places(home)]
    return Kill(
        study,
        way,
        to,
        round(at - started, 2),
        round(time.monotonic() - at, 2),
        every,
        jobs,
        max(0, rows.read_bytes().count(b"\n") - 1) if rows.exists() else 0,
        " ".join(kept),
    )


def places(home: Path) -> list[tuple[int, int]]:
    """Return (phases, updates) of the newest complete checkpoint of each run."""
    found = []
    for work in sorted((home / "store" / "work").glob("*/")):
        kept = []
        for path in work.glob("[pu]*.safetensors"):
            try:
                kept.append(position(path))
            except (InputError, OSError):
                continue
        found += [max(kept)] if kept else []
    return found


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.add_argument("--kills", type=int, default=100, metavar="N", help="number of kills (100)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the times and kinds of kills (0)")


STUDY = ReliabilityStudy(
    name="torture",
    title="Torture: kills at random times",
    question=__doc__.splitlines()[0],
    protocol=(
        "Claim: if a study is ended at any time by SIGKILL, SIGTERM or Ctrl-C, the same command continues it. The weights, rows, "
        "curves, images and figures are then identical to those of an undisturbed study, and MLflow has every point, image and "
        "file exactly once."
    ),
    after_interruption="with --out, the kills so far are saved in kills.csv",
    options=add_options,
    check=lambda given: whole(given.kills, "kills"),
    make_session=TortureSession,
)
