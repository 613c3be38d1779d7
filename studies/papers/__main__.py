"""The papers that have a study, and a table of all their claims."""

from __future__ import annotations

import sys
from pathlib import Path

from stacked.cli.command import Command, called, carried_out
from stacked.util.atomic import write_atomically
from stacked.util.checks import need
from studies.record.index import ROOT


def main(argv: list[str] | None = None) -> int:
    """Print the table of all claims, write its page, and return the exit code: 0, or 2 for invalid input."""
    command = Command(prog=called("studies.papers"), description=(__doc__ or "").splitlines()[0])
    command.add_argument(
        "--results", type=Path, default=ROOT / "results", metavar="DIR", help="folder of the records (results)"
    )

    def run() -> int:
        from studies.papers.overview import page
        from studies.report.terminal import plain

        results = command.parse_args(sys.argv[1:] if argv is None else argv).results
        need(results.is_dir(), f"{results} is no folder: give the folder of the records")
        text = page(results)
        write_atomically(results / "papers" / "README.md", text)
        print(plain(text))
        return 0

    return carried_out(command.prog, run)


if __name__ == "__main__":
    sys.exit(main())
