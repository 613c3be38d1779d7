"""What becomes of damaged files, small files of large cost, odd answers of a server, and killed processes?

Claim: a damaged model file, checkpoint or PNG is refused in one line; no small file takes much memory or time; no answer of a
tracking server stops training or loses a point; a study that is killed goes on and ends as if nothing had happened.

Command: python -m studies.robustness --out results/robustness
Expected and cost: results/robustness/README.md, generated from attempts.csv.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from stacked.cli.command import Command, called, carried_out
from stacked.cli.overwriting import begins, below, check_own
from stacked.runtime.progress import say
from stacked.util.atomic import sweep, write_atomically
from stacked.util.checks import choice, whole
from stacked.util.paths import command_without_folders
from studies.figures.style import png, style
from studies.reliability.robustness import bombs, damage, kills, servers
from studies.reliability.robustness.attempts import BELIEVED, FAILED, Attempt, write_attempts
from studies.reliability.robustness.intact import image_files, model_files, study_files
from studies.reliability.robustness.report import draw, page
from studies.report.origin import origin

FAMILIES = (damage.FAMILY, bombs.FAMILY, servers.FAMILY, kills.FAMILY)


def main(words: list[str] | None = None) -> int:
    """The command line; returns 0 when nothing failed, 1 when something did, 2 for bad input."""
    parser = Command(prog=called("studies.robustness"), description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--damaged", type=int, default=300, metavar="N", help="damaged copies of each file (300)")
    parser.add_argument("--kills", type=int, default=12, metavar="N", help="kills of a study (12)")
    parser.add_argument(
        "--only", nargs="+", default=list(FAMILIES), metavar="NAME", help="; ".join(FAMILIES) + " (all)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is damaged and when to kill (0)")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="folder for the record (print it only)")
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # which a shell may have told to be ignored, also by studies
    words = sys.argv[1:] if words is None else words

    def do() -> int:
        given = parser.parse_args(words)
        whole(given.damaged, "damaged", 1)
        whole(given.kills, "kills", 1)
        for name in given.only:
            choice(name, FAMILIES, "family")
        if given.out is not None:
            check_own(
                begins(given.out / "attempts.csv", "family,"),
                below(given.out, "attempts.csv", "README.md", "figures/*"),
            )
            sweep(given.out, given.out / "figures")
        began, made_with = time.monotonic(), origin()  # before what is written counts as a change of the code
        with tempfile.TemporaryDirectory(prefix="robustness-") as folder:
            attempts = list(said(attempted(Path(folder), given.only, given.damaged, given.kills, given.seed)))
        command = command_without_folders([*parser.prog.split(), *words])
        text = page(attempts, (__doc__ or "").splitlines()[0], command, time.monotonic() - began, made_with)
        if given.out is not None:
            write_attempts(given.out / "attempts.csv", attempts)
            with style():
                write_atomically(given.out / "figures" / "robustness.png", png(draw(attempts)))
            write_atomically(given.out / "README.md", text)
        print(text)
        return 1 if any(each.outcome == FAILED for each in attempts) else 0

    return carried_out(parser.prog, do)


def attempted(folder: Path, families: list[str], copies: int, number: int, seed: int) -> Iterator[Attempt]:
    """All attempts of these families."""
    intact = folder / "intact"
    intact.mkdir()
    models = list(model_files(intact)) if {damage.FAMILY, bombs.FAMILY} & set(families) else []
    if damage.FAMILY in families:
        for subject in (*models, *study_files(folder), *image_files(intact)):
            yield from damage.try_damage(subject, copies, seed)
    if bombs.FAMILY in families:
        yield from bombs.try_bombs(intact, folder)
    if servers.FAMILY in families:
        yield from servers.try_answers(folder / "servers")
    if kills.FAMILY in families:
        yield from kills.try_kills(folder, number, random.Random(seed))


def said(attempts: Iterator[Attempt]) -> Iterator[Attempt]:
    """The attempts, each that went wrong told of as it comes, and each new subject."""
    subject = ""
    for each in attempts:
        if each.subject != subject:
            subject = each.subject
            say(f"{each.family}: {subject}")
        if each.outcome in (BELIEVED, FAILED):
            say(f"  {each.outcome}: {each.case} {each.detail}")
        yield each
