"""How robust is the package to damaged files, small files with large cost, invalid answers of a server, and kills?

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
    """Makes all attempts in one session and writes them after the last one."""

    table, head = "attempts.csv", "family,"

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Make the attempts of the selected families; raise Interrupted if `stop` returns True."""
        given = self.given
        self.attempts: list[Attempt] = []
        attempts = reported(all_attempts(self.folder, given.only, given.damaged, given.kills, given.seed))
        for each in through(attempts, None, "attempts"):
            self.attempts.append(each)
            yield
            if stop():
                raise Interrupted("stopped as asked")

    def findings(self) -> list[str]:
        """Write the table and the figure, and return the parts of the page; the study fails if an attempt failed."""
        self.failed = any(each.outcome == FAILED for each in self.attempts)
        write_attempts(self.out / self.table, self.attempts)
        with style():
            write_atomically(self.out / "figures" / "robustness.png", png(draw(self.attempts)))
        return findings(self.attempts)


def all_attempts(folder: Path, families: list[str], copies: int, number: int, seed: int) -> Iterator[Attempt]:
    """Make and yield all attempts of these families."""
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


def reported(attempts: Iterator[Attempt]) -> Iterator[Attempt]:
    """Yield the attempts; print each new subject, and each attempt that was believed or failed."""
    subject = ""
    for each in attempts:
        if each.subject != subject:
            subject = each.subject
            say(f"{each.family}: {subject}")
        if each.outcome in (BELIEVED, FAILED):
            say(f"  {each.outcome}: {each.case} {each.detail}")
        yield each


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.add_argument(
        "--damaged", type=int, default=300, metavar="N", help="number of damaged copies of each file (300)"
    )
    command.add_argument("--kills", type=int, default=12, metavar="N", help="number of kills (12)")
    command.add_argument(
        "--only",
        nargs="+",
        default=list(FAMILIES),
        metavar="NAME",
        help="families to test: " + "; ".join(FAMILIES) + " (all)",
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the damage and of the kills (0)")


def check(given: argparse.Namespace) -> None:
    """Raise InputError for numbers below 1, and for an unknown family."""
    whole(given.damaged, "damaged", 1)
    whole(given.kills, "kills", 1)
    for name in given.only:
        choice(name, FAMILIES, "family")


STUDY = ReliabilityStudy(
    name="robustness",
    title="Robustness to damage",
    question=__doc__.splitlines()[0],
    protocol=(
        "Claim: a damaged model file, checkpoint or PNG raises an error of one line; no small file takes much memory or time; no "
        "answer of a tracking server stops training or loses a point; a study that is killed and resumed gives the same results "
        "as an undisturbed study."
    ),
    after_interruption="no attempts are saved",
    options=add_options,
    check=check,
    make_session=RobustnessSession,
)
