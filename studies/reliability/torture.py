"""Does a study that is killed again and again end as if nothing had happened?

Claim: whenever a study is ended, by SIGKILL, SIGTERM or Ctrl-C, the same command goes on and ends with the same weights, rows,
curves, pictures and figures, bit for bit, and with every point, picture and file once in MLflow.

Command: python -m studies.torture --kills 100 --out results/torture
Expected and cost: results/torture/README.md, generated from kills.csv.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from stacked.cli.command import Command, called, carried_out
from stacked.cli.overwriting import begins, below, check_own
from stacked.runs.checkpoint import position
from stacked.runtime.progress import say
from stacked.util.atomic import sweep, write_atomically
from stacked.util.checks import whole
from stacked.util.errors import InputError
from stacked.util.paths import command_without_folders
from studies.framework.places import ROOT
from studies.report.origin import origin
from studies.report.verbatim import code
from studies.statistics.compare_records import differences

STUDY = (
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
#: Seconds in which a process that was asked to end must have ended.
PROMPT = 10.0
#: Seconds after which it is ended for good.
STUCK = 60.0


@dataclass(frozen=True)
class Kill:
    """One kill. after, ended_in: seconds from start to signal, and from signal to end. kept: places by run, as phases:updates."""

    study: int
    way: str
    to: str
    after: float
    ended_in: float
    checkpoint_every: int | None
    jobs: int
    finished_rows: int
    kept: str


@dataclass(frozen=True)
class Ended:
    """A study that ended after `kills`: in what it differs from one that nobody killed, "" where in nothing."""

    study: int
    kills: int
    differs: str


def main(words: list[str] | None = None) -> int:
    """The command line; returns 0 when every study ended as the uninterrupted one, 1 when not, 2 for bad input."""
    parser = Command(prog=called("studies.torture"), description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="how many (100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of when and how (0)")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="folder for the table (print it only)")
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # which a shell may have told to be ignored, also by studies
    words = sys.argv[1:] if words is None else words

    def do() -> int:
        given = parser.parse_args(words)
        whole(given.kills, "kills")
        if given.out is not None:
            own = begins(given.out / "kills.csv", ",".join(field.name for field in fields(Kill)[:3]))
            check_own(own, below(given.out, "kills.csv", "README.md"))
            sweep(given.out)
        began, made_with = time.monotonic(), origin()  # before what is written counts as a change of the code
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            kills, ended = torture(Path(folder), given.kills, random.Random(given.seed), given.out)
        command = command_without_folders([*parser.prog.split(), *words])
        page = report(kills, ended, command, round(time.monotonic() - began), made_with)
        if given.out is not None:
            write_atomically(given.out / "README.md", page)
        print(page)
        late = any(kill.way != "SIGKILL" and kill.ended_in > PROMPT for kill in kills)
        return 1 if late or any(each.differs for each in ended) else 0

    return carried_out(parser.prog, do)


def torture(folder: Path, count: int, dice: random.Random, out: Path | None) -> tuple[list[Kill], list[Ended]]:
    """Kill `count` times, each noted in `out`; studies are begun anew until then, and the last one ends."""
    began = time.monotonic()
    for jobs in JOBS:
        if code := start(undisturbed(folder, jobs), None, jobs).wait():
            raise InputError(f"the study does not run even when left alone (exit code {code}): {' '.join(STUDY)}")
    lasts = (time.monotonic() - began) / len(JOBS)
    say(f"undisturbed it takes {lasts:.0f} s")
    kills: list[Kill] = []
    ended: list[Ended] = []
    while len(kills) < count:
        home, before, jobs = folder / f"study-{len(ended) + 1}", len(kills), dice.choice(JOBS)
        while True:
            every = dice.choice(EVERY)
            process, at = start(home, every, jobs), time.monotonic()
            # the first seconds are imports; at most as long as it can take, so that it gets on
            wait = dice.uniform(0.5, lasts) if len(kills) < count else 10 * lasts
            try:
                code = process.wait(wait)
                if code:
                    last = (home / "log").read_text(errors="replace").splitlines()[-1:]
                    raise InputError(f"the study ended by itself with exit code {code}: {''.join(last)}")
                break
            except subprocess.TimeoutExpired:
                kills.append(kill(process, dice, at, len(ended) + 1, home, every, jobs))
                say(f"kill {len(kills)}: {kills[-1]}")
                if out is not None:
                    write_atomically(out / "kills.csv", pd.DataFrame(map(asdict, kills)).to_csv(index=False))
        found = differences(undisturbed(folder, jobs), home)
        ended.append(Ended(len(ended) + 1, len(kills) - before, "; ".join(found)))
        say(f"study {len(ended)} ended after {ended[-1].kills} kills: {ended[-1].differs or 'the same'}")
        shutil.rmtree(home)
    return kills, ended


def undisturbed(folder: Path, jobs: int) -> Path:
    """Where the study is that nobody kills; with other jobs a run has other threads, which round otherwise."""
    return folder / f"undisturbed-{jobs}"


def start(home: Path, every: int | None, jobs: int) -> subprocess.Popen[bytes]:
    """The study, in a process group of its own, which writes below `home` alone."""
    home.mkdir(parents=True, exist_ok=True)
    words = [*STUDY, "--jobs", str(jobs), "--out", str(home / "out"), "--store", str(home / "store")]
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


def report(kills: list[Kill], ended: list[Ended], command: str, seconds: int, origin: str) -> str:
    """What came of it, as Markdown."""
    same = sum(each.kills for each in ended if not each.differs)
    asked = [kill.ended_in for kill in kills if kill.way != "SIGKILL"]
    lines = [
        "# Killed at random instants",
        "",
        (__doc__ or "").splitlines()[0],
        "",
        f"{len(kills)} kills of a study of 2 runs, resumed each time; {len(ended)} studies were brought to their end so. "
        f"**{same} of {len(kills)}** kills left no trace: weights, rows, curves, pictures and figures equal those of a study "
        "that nobody killed, bit for bit but for times; every point, parameter, tag, picture, file and model is in MLflow once, "
        "no run is left RUNNING, no model PENDING, and no file half written.",
        "",
        f"Command: {code(command)}, {seconds / 60:.0f} minutes. {origin}",
        "",
        "| signal | to | kills | with a place inside a phase | slowest end (s) |",
        "| --- | --- | --: | --: | --: |",
    ]

    for (way, to), number in sorted(Counter((kill.way, kill.to) for kill in kills).items()):
        those = [kill for kill in kills if (kill.way, kill.to) == (way, to)]
        inside = sum(any(not each.endswith(":0") for each in kill.kept.split()) for kill in those)
        lines.append(f"| {way} | {to} | {number} | {inside} | {max(kill.ended_in for kill in those):.1f} |")
    lines += [
        "",
        *([f"Asked to end, it ended within {max(asked):.1f} s; {PROMPT:.0f} s are allowed.", ""] if asked else []),
        "| study | kills | differs in |",
        "| --: | --: | --- |",
        *(f"| {each.study} | {each.kills} | {each.differs or '–'} |" for each in ended),
        "",
    ]
    return "\n".join(lines)
