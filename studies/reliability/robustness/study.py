"""What becomes of damaged files, small files of large cost, odd answers of a server, and killed processes?

Command: python -m studies.robustness --out results/robustness
Expected and cost: results/robustness/README.md, generated from attempts.csv.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from stacked.runtime.progress import say, through
from stacked.util.atomic import write_atomically
from stacked.util.checks import choice, whole
from stacked.util.errors import Interrupted
from studies.figures.style import png, style
from studies.reliability.robustness import bombs, damage, kills, servers
from studies.reliability.robustness.attempts import BELIEVED, FAILED, Attempt, write_attempts
from studies.reliability.robustness.intact import image_files, model_files, study_files
from studies.reliability.robustness.report import draw, findings
from studies.reliability.session import ReliabilitySession, ReliabilityStudy

FAMILIES = (damage.FAMILY, bombs.FAMILY, servers.FAMILY, kills.FAMILY)


class RobustnessSession(ReliabilitySession):
    """Makes all attempts anew; they are written when the last is made."""

    table, head = "attempts.csv", "family,"

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Make the attempts of the families that were asked for; raises Interrupted when `stop` says so."""
        given = self.given
        self.attempts: list[Attempt] = []
        attempts = said(attempted(self.folder, given.only, given.damaged, given.kills, given.seed))
        for each in through(attempts, None, "attempts"):
            self.attempts.append(each)
            yield
            if stop():
                raise Interrupted("stopped as asked")

    def findings(self) -> list[str]:
        """Write table and figure; what came of the attempts, of which some may have failed."""
        self.failed = any(each.outcome == FAILED for each in self.attempts)
        write_attempts(self.out / self.table, self.attempts)
        with style():
            write_atomically(self.out / "figures" / "robustness.png", png(draw(self.attempts)))
        return findings(self.attempts)


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


def more(command: argparse.ArgumentParser) -> None:
    """Options of this study."""
    command.add_argument("--damaged", type=int, default=300, metavar="N", help="damaged copies of each file (300)")
    command.add_argument("--kills", type=int, default=12, metavar="N", help="kills of a study (12)")
    command.add_argument(
        "--only", nargs="+", default=list(FAMILIES), metavar="NAME", help="; ".join(FAMILIES) + " (all)"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of what is damaged and when to kill (0)")


def check(given: argparse.Namespace) -> None:
    """Raise InputError for numbers below 1, and for a family that there is not."""
    whole(given.damaged, "damaged", 1)
    whole(given.kills, "kills", 1)
    for name in given.only:
        choice(name, FAMILIES, "family")


STUDY = ReliabilityStudy(
    name="robustness",
    title="Damage on purpose",
    question=__doc__.splitlines()[0],
    protocol=(
        "Claim: a damaged model file, checkpoint or PNG is refused in one line; no small file takes much memory or time; no "
        "answer of a tracking server stops training or loses a point; a study that is killed goes on and ends as if nothing had "
        "happened."
    ),
    after_interruption="of the attempts nothing is kept",
    options=more,
    check=check,
    opened=RobustnessSession,
)
