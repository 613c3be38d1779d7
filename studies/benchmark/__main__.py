"""The command line: python -m studies.benchmark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pandas import DataFrame, concat

from stacked.cli.command import Command, called
from stacked.cli.overwriting import begins, below, check_own
from stacked.runtime.interruption import Interruption
from stacked.runtime.progress import say
from stacked.util.atomic import sweep, write_atomically
from stacked.util.checks import choice, need, whole
from stacked.util.errors import InputError, Interrupted
from studies.benchmark import __doc__ as question
from studies.benchmark.peers import available
from studies.benchmark.questions import Call, Question, questions
from studies.benchmark.rows import FIELDS, load, text
from studies.benchmark.spent import MEMORY
from studies.framework.exit_codes import ended
from studies.framework.places import INDEX, ROOT

#: fewer do not give a median that can be relied on
LEAST = 5


def main(words: list[str] | None = None) -> int:
    """Returns 0, 2 for bad input, 130 when interrupted; measurements of another time in --out are not made again."""
    prog, known = called("studies.benchmark"), questions()
    command = Command(prog=prog, description=(question or "").strip())
    command.add_argument(
        "--out", type=Path, default=Path("results/benchmark"), metavar="DIR", help="folder of the record"
    )
    command.add_argument("--repeats", type=int, default=LEAST, metavar="N", help=f"of each measurement ({LEAST})")
    names = ", ".join(one.name for one in known)
    command.add_argument("--only", nargs="+", default=None, metavar="NAME", help=f"of {names}")
    words = sys.argv[1:] if words is None else words
    stop = Interruption()

    def do() -> int:
        given = command.parse_args(words)
        whole(given.repeats, "repeats", 1)
        for name in given.only or ():
            choice(name, [one.name for one in known], "question")
        need(MEMORY.exists(), f"there is no {MEMORY} on this system, which tells of memory: use Linux")
        own = begins(given.out / "rows.csv", ",".join(FIELDS[:4]))
        check_own(own, below(given.out, "rows.csv", "README.md", "figures/*.png"))
        sweep(given.out, given.out / "figures")
        with stop:
            asked = [one for one in known if given.only is None or one.name in given.only]
            measure(asked, given.out / "rows.csv", given.repeats, stop)
            from studies.benchmark.report import block, report
            from studies.framework.record import committed_as
            from studies.report import has_block, update_readme

            page = report(given.out, known, command_of(prog, given.out / "rows.csv", known))
            kept = committed_as(given.out, ROOT)
            if kept and has_block(INDEX, kept):
                update_readme(INDEX, kept, block(given.out, known))
        print(page)
        return 0

    return ended(prog, stop, do)


def command_of(prog: str, path: Path, known: Sequence[Question]) -> str:
    """The command that makes the rows at `path`, however many were typed until they were there."""
    there = set(load(path)["question"])
    names = [one.name for one in known if one.name in there]
    return prog if len(names) == len(known) else f"{prog} --only {' '.join(names)}"


def measure(asked: list[Question], path: Path, repeats: int, stop: Callable[[], bool]) -> None:
    """Add what is missing to the rows at `path`, arm after arm and then the next repeat; raises Interrupted when asked."""
    from stacked.runtime.environment import code_identity

    commit, changed = code_identity()
    if not path.exists():
        write_atomically(path, ",".join(FIELDS) + "\n")
    there = load(path)
    made = set(zip(there["question"], there["arm"], there["repeat"], strict=True))
    for one in asked:
        for repeat in range(repeats):
            for arm, call in one.arms.items():
                if stop():
                    raise Interrupted("stopped as asked")
                if (one.name, arm, repeat) in made:
                    continue
                if arm == "ClustPy" and not available():
                    say(f"{one.name}: ClustPy is not installed, and is left out (pip install -e '.[benchmark]')")
                    continue
                busy = os.getloadavg()[0]
                found = measured(call, {"seed": repeat} if one.seeded else {})
                say(f"{one.name}, {arm}, repeat {repeat + 1} of {repeats}: {found}")
                by = commit[:7] + "+changes" * changed
                new = [(one.name, arm, repeat, name, value, busy, by) for name, value in found.items()]
                there = concat([there, DataFrame(new, columns=FIELDS)])
                write_atomically(path, text(there))  # all of a measurement, or nothing


def measured(call: Call, more: dict[str, int]) -> dict[str, float]:
    """What a process of its own finds; InputError where it fails."""
    program, arguments = call
    words = [f"{name}={json.dumps(value)}" for name, value in {**arguments, **more}.items()]
    done = subprocess.run(
        [sys.executable, "-m", "studies.benchmark.run_one", program, *words],
        cwd=ROOT,  # a folder `studies` where this was started would be taken for ours
        capture_output=True,
        text=True,
    )
    if done.returncode in (-signal.SIGINT, 128 + signal.SIGINT):  # Ctrl-C reaches it too
        raise Interrupted("stopped as asked")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise InputError(f"the measurement {program} {' '.join(words)} failed: {last[0]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if program == "grid":
        found["per_second"] = 1 / found["seconds"]
    return found


if __name__ == "__main__":
    sys.exit(main())
