"""The command line: python -m stacked.doctor [--store DIR] [--dry-run] [CHECK ...]."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from stacked.cli.command import Command, called, carried_out
from stacked.cli.store_option import STORE_FOLDER, STORE_HELP, store_folder
from stacked.runtime.progress import say_warnings
from stacked.util.checks import choice, need

HELP = """\
records      records of runs that cannot be read (reported only)
relocate     addresses of files from before a store was moved
stale        runs that are RUNNING without a process that trains them
unsent       metrics, pictures and ends of runs that MLflow lacks
checkpoints  checkpoints that no run needs, incomplete files"""
CHOICES = [line.split()[0] for line in HELP.splitlines()]


def main(words: Sequence[str] | None = None) -> int:
    """Check a store and repair it; returns 0 if nothing is left to repair, 1 if something is, 2 for invalid input."""
    say_warnings()
    parser = Command(
        prog=called("stacked.doctor"),
        description="Check and repair a store of runs after crashes. Run with --dry-run first.",
        epilog=f"checks:\n{textwrap.indent(HELP, '  ')}",
    )
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"{', '.join(CHOICES)} (all)")
    parser.add_argument("--store", type=store_folder, default=Path(STORE_FOLDER), metavar="DIR", help=STORE_HELP)
    parser.add_argument("--dry-run", action="store_true", help="list repairs without making them")
    return carried_out(parser.prog, lambda: do(parser, words))


def do(parser: Command, words: Sequence[str] | None) -> int:
    """Run the command; returns the exit code."""
    given = parser.parse_args(words)
    for name in given.checks:
        choice(name, CHOICES, "check")
    if not (given.store / "mlflow.db").exists() and not os.environ.get("MLFLOW_TRACKING_URI"):
        there_is_none = f"there is no database in {str(given.store)!r}"
        need(
            (given.store / "work").is_dir(),
            f"{there_is_none}: give the store's folder with --store, or set MLFLOW_TRACKING_URI if the runs are recorded "
            "elsewhere",
        )
        need(not given.dry_run, f"{there_is_none}: without --dry-run it is created again from the work folders")
    return examine(given.store, given.checks or CHOICES, dry=given.dry_run)


def examine(root: Path, checks: Sequence[str], *, dry: bool) -> int:
    """Run the checks, print their findings and return the exit code."""
    from stacked.doctor.checks import CHECKS
    from stacked.doctor.finding import NotRepaired
    from stacked.tracking.backend.store import OUTAGES, open_store
    from stacked.util.errors import InputError, printable

    found = left = 0
    try:
        store = open_store(root)
        for name in checks:
            for finding in CHECKS[name](store):
                found, left = found + 1, left + 1
                if finding.repair is None:
                    outcome = "repair it by hand"
                elif dry:
                    outcome = f"to be repaired: then {finding.then}"
                else:
                    try:
                        finding.repair()
                        outcome, left = finding.then, left - 1
                    except (NotRepaired, InputError, *OUTAGES) as error:
                        outcome = f"NOT REPAIRED ({str(error).strip().splitlines()[0]})"
                print(printable(f"{name}: {finding.line}. {outcome[0].upper()}{outcome[1:]}."))
    except BrokenPipeError:  # nobody reads the output any more
        raise
    except (InputError, *OUTAGES) as error:
        raise InputError(str(error).strip().splitlines()[0]) from error
    print(f"{found} found, {found - left} repaired." if found else "Nothing is wrong.")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
