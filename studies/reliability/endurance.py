"""Does a process that trains one run after the other stay as large as it was?

Claim: over 2,000 phases, memory, open files, threads, child processes and Python's objects do not grow, nor does the time that
a run takes.

Command: python -m studies.endurance --phases 2000 --out results/endurance
Expected and cost: results/endurance/README.md, generated from samples.csv.
"""

from __future__ import annotations

import csv
import gc
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from stacked.cli.command import Command, called
from stacked.cli.overwriting import check_own
from stacked.runs.run import load
from stacked.runtime.interruption import Interruption
from stacked.runtime.progress import say
from stacked.util.atomic import sweep, write_atomically
from stacked.util.checks import need, whole
from stacked.util.paths import command_without_folders
from studies.figures.style import arm_colours
from studies.framework.command_line import parser
from studies.framework.exit_codes import ended
from studies.framework.names import experiment_name
from studies.framework.options import options
from studies.framework.workers import Job, work
from studies.reliability.endurance_report import report
from studies.report.origin import origin

ARM = "greedy+unfreeze"
#: Five stages of two kinds on digits: ten phases a run, two updates each, and every part of a run's record.
STUDY = (
    *("--data", "digits", "--limit", "200", "--batch-size", "32", "--level", "0.1", "--jobs", "1", "--arms", ARM),
    *(
        "--stack",
        "{stages: [{kind: conv, width: 4}, {kind: conv, width: 4}, {kind: dense, width: 12}, "
        "{kind: dense, width: 8}, {kind: dense, width: 4}]}",
    ),
    *("--unit", "updates", "--epochs", "2", "--finetune", "10", "--labels", "50"),
    *("--evaluation", "{images: 64, probe_images: 64, probe_labels: 64}"),
    *("--classification", "{updates: 4, checks: 1, lrs: [0.001], images: 64}"),
)
PROC = Path("/proc/self")
#: Phases that give a line with an interval: three runs in the second half.
LEAST = 60


@dataclass(frozen=True)
class Sample:
    """This process after so many runs. memory: resident, in MB. seconds, cpu_seconds: of the last run, of this process alone."""

    run: int
    phases: int
    seconds: float
    cpu_seconds: float
    memory: float
    files: int
    threads: int
    children: int
    objects: int


def main(words: list[str] | None = None) -> int:
    """The command line; returns 0 when nothing grew, 1 when something did, 2 for bad input, 130 when interrupted."""
    description = (__doc__ or "").splitlines()[0]
    command = Command(prog=called("studies.endurance"), description=description)
    command.add_argument("--phases", type=int, default=2000, metavar="N", help="how many to train, at least (2000)")
    command.add_argument(
        "--out", type=Path, default=None, metavar="DIR", help="folder for samples, figure and report (print it only)"
    )
    words, stop = sys.argv[1:] if words is None else words, Interruption()

    def do() -> int:
        given = command.parse_args(words)
        whole(given.phases, "phases", LEAST)
        need(PROC.exists(), f"there is no {PROC} on this system, which tells of memory and open files: use Linux")
        with stop, tempfile.TemporaryDirectory(prefix="endurance-") as folder:
            out = given.out or Path(folder) / "out"
            need(
                not (out / "samples.csv").exists(),
                f"{out} holds samples of another time: choose another --out, or move them away",
            )
            check_own(False, (out / "README.md", out / "figures" / "endurance.png"))
            sweep(out, out / "figures")
            made_with = origin()  # before what is written counts as a change of the code
            endure(Path(folder), out / "samples.csv", given.phases, stop)
            page, grew = report(out, description, command_without_folders([*command.prog.split(), *words]), made_with)
        print(page)
        return 1 if grew else 0

    return ended(command.prog, stop, do, "the samples so far are kept where --out was given")


def endure(folder: Path, samples: Path, phases: int, stop: Callable[[], bool]) -> None:
    """Train at least so many phases in this process, recorded below `folder` as those of any study; a sample after each run."""
    jobs = runs(folder, phases)
    splits = load(jobs[0].spec)
    each = len(jobs[0].spec.phases())
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(Sample))
    began, spent = time.perf_counter(), time.process_time()
    for number, row in enumerate(work(jobs, 1, splits, stop), start=1):
        need(row["status"] == "finished", f"run {number} did not end as it should: {row['status']}")
        seconds, cpu_seconds = round(time.perf_counter() - began, 3), round(time.process_time() - spent, 3)
        sample = Sample(number, number * each, seconds, cpu_seconds, *held())
        table.writerow(astuple(sample))
        write_atomically(samples, text.getvalue())  # all of them: the folder may have been removed
        say(f"{sample.phases}/{phases} phases: {sample}")
        began, spent = time.perf_counter(), time.process_time()


def runs(folder: Path, phases: int) -> list[Job]:
    """Runs of one spec with so many seeds that they have at least so many phases, each of which trains."""
    words = [*STUDY, "--out", str(folder / "record"), "--store", str(folder / "store")]
    given = options("endurance", parser("", "", (ARM,)).parse_args(words))
    spec = replace(given.base, policy=ARM, evaluation=replace(given.base.evaluation, every=5))
    seeds = range(-(-phases // len(spec.phases())))
    study, experiment, colours = f"endurance-{given.configuration}", experiment_name(spec), arm_colours([ARM])
    return [Job(replace(spec, seed=seed), ARM, study, experiment, colours[ARM], given, 1, (ARM,)) for seed in seeds]


def held() -> tuple[float, int, int, int, int]:
    """What this process holds now: resident memory in MB; open files, threads, living children, Python's objects.

    Nothing is collected for the occasion: garbage that waits for Python's own collector counts.
    """
    pages = int((PROC / "statm").read_text().split()[1])
    tasks = list((PROC / "task").iterdir())
    return (
        round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 3),
        len(os.listdir(PROC / "fd")) - 1,  # without the one that lists them
        len(tasks),
        sum(len((task / "children").read_text().split()) for task in tasks),
        len(gc.get_objects()),
    )
