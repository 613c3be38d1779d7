"""Does a study that is killed again and again end as if nothing had happened?

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
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from stacked.runs.checkpoint import position
from stacked.runtime.progress import Bar, each, say
from stacked.util.atomic import write_atomically
from stacked.util.checks import whole
from stacked.util.errors import InputError, Interrupted
from studies.record.index import ROOT
from studies.reliability.kills import PROMPT, Ended, Kill
from studies.reliability.session import ReliabilitySession, ReliabilityStudy
from studies.reliability.torture_report import findings
from studies.statistics.compare_records import differences

WORDS = (
    *("--data", "digits", "--channels", "4", "8", "--batch-size", "64", "--seeds", "1", "--labels", "100"),
    *("--arms", "greedy+finetune", "joint", "--epochs", "60", "--finetune", "60"),
)
#: What is sent, and whether to the whole group, as a terminal does it, or to the first process alone; with their weights.
WAYS = {
    ("SIGKILL", "group"): 4,
    ("SIGKILL", "first process"): 2,
    ("SIGTERM", "first process"): 2,
    ("SIGINT", "group"): 2,
}
#: Runs at a time: in the first process itself, or in workers.
JOBS = (1, 2)
#: Updates between checkpoints, drawn anew for every start: 1 is killed while writing one more often than not.
EVERY = (1, 10, 200, None)
#: Seconds after which it is ended for good.
STUCK = 60.0


class TortureSession(ReliabilitySession):
    """Kills a study, each kill noted at once; what was noted at another time is written over."""

    table, head = "kills.csv", "study,way,to"

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Kill as often as asked for; raises Interrupted when `stop` says so."""
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
        """What came of the kills; it failed where a study differs in its end, or ended late."""
        late = any(kill.way != "SIGKILL" and kill.ended_in > PROMPT for kill in self.kills)
        self.failed = late or any(each.differs for each in self.ended)
        return findings(self.kills, self.ended)


def torture(folder: Path, count: int, dice: random.Random) -> Iterator[Kill | Ended]:
    """Kill `count` times, each yielded; studies are begun anew until then, each yielded when it ends, and the last one ends."""
    began = time.monotonic()
    for jobs in each(JOBS, "undisturbed studies"):
        if code := start(undisturbed(folder, jobs), None, jobs).wait():
            raise InputError(f"the study does not run even when left alone (exit code {code}): {' '.join(WORDS)}")
    lasts = (time.monotonic() - began) / len(JOBS)
    say(f"undisturbed it takes {lasts:.0f} s")
    made = number = 0
    while made < count:
        number += 1
        home, before, jobs = folder / f"study-{number}", made, dice.choice(JOBS)
        while True:
            every = dice.choice(EVERY)
            process, at = start(home, every, jobs), time.monotonic()
            # the first seconds are imports; at most as long as it can take, so that it gets on
            wait = dice.uniform(0.5, lasts) if made < count else 10 * lasts
            try:
                code = process.wait(wait)
                if code:
                    last = (home / "log").read_text(errors="replace").splitlines()[-1:]
                    raise InputError(f"the study ended by itself with exit code {code}: {''.join(last)}")
                break
            except subprocess.TimeoutExpired:
                found = kill(process, dice, at, number, home, every, jobs)
                made += 1
                say(f"kill {made}: {found}")
                yield found
            finally:
                if process.poll() is None:  # whoever asked for kills wants no more of them
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        differs = "; ".join(differences(undisturbed(folder, jobs), home))
        say(f"study {number} ended after {made - before} kills: {differs or 'the same'}")
        yield Ended(number, made - before, differs)
        shutil.rmtree(home)


def undisturbed(folder: Path, jobs: int) -> Path:
    """Where the study is that nobody kills; with other jobs a run has other threads, which round otherwise."""
    return folder / f"undisturbed-{jobs}"


def start(home: Path, every: int | None, jobs: int) -> subprocess.Popen[bytes]:
    """The study, in a process group of its own, which writes below `home` alone."""
    home.mkdir(parents=True, exist_ok=True)
    words = [*WORDS, "--jobs", str(jobs), "--out", str(home / "out"), "--store", str(home / "store")]
    words += ["--checkpoint-every", str(every)] if every else []
    with (home / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "studies.layerwise", *words],
            cwd=ROOT,  # a folder `studies` where this was started would be taken for ours
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
    """End it in one of the WAYS, and note what was there then."""
    [(way, to)] = dice.choices(list(WAYS), list(WAYS.values()))
    send = os.killpg if to == "group" else os.kill
    at = time.monotonic()
    send(process.pid, getattr(signal, way))
    try:
        process.wait(STUCK)
    except subprocess.TimeoutExpired:  # which the table shows
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
    """The newest place of every run that has one; a file that is being written does not count yet."""
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


def more(command: argparse.ArgumentParser) -> None:
    """Options of this study."""
    command.add_argument("--kills", type=int, default=100, metavar="N", help="how many (100)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of when and how (0)")


STUDY = ReliabilityStudy(
    name="torture",
    title="Killed at random instants",
    question=__doc__.splitlines()[0],
    protocol=(
        "Claim: whenever a study is ended, by SIGKILL, SIGTERM or Ctrl-C, the same command goes on and ends with the same "
        "weights, rows, curves, pictures and figures, bit for bit, and with every point, picture and file once in MLflow."
    ),
    after_interruption="the kills so far are in kills.csv where --out was given",
    options=more,
    check=lambda given: whole(given.kills, "kills"),
    opened=TortureSession,
)
