"""For maintainers: converts the rows.csv of an old benchmark record to the table of all studies of measurements.

No number changes. The arm of a question becomes a method, a repeat becomes a seed, the question becomes the condition, and the
load of the machine becomes a measure. Command: python -m studies.migrate_rows FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from stacked.cli.command import Command, called, carried_out
from stacked.cli.overwriting import begins
from stacked.util.atomic import write_atomically
from stacked.util.checks import need
from studies.benchmark.questions import LOAD
from studies.benchmark.study import STUDY, method_name
from studies.record.lock import locked_record
from studies.statistics.checksums import object_text
from studies.statistics.measurement_rows import FIELDS, text
from studies.statistics.reading import Columns, check_unique, table

OLD = ("question", "arm", "repeat", "measure", "value", "load", "commit")
_COLUMNS = Columns(
    OLD,
    number=lambda name: name in ("repeat", "value", "load"),
    whole=("repeat",),
    nonblank=OLD,
    exact=True,
    written_together=("question", "arm", "repeat"),
)


def migrated(old: pd.DataFrame) -> pd.DataFrame:
    """Return the converted rows, ordered by repeat and method, with the load last."""
    lines = []
    for (question, arm, repeat), part in old.groupby(["question", "arm", "repeat"], sort=False):
        key = method_name(question, arm), int(repeat), arm, question
        lines += [(*key, *row) for row in part[["measure", "value", "commit"]].itertuples(index=False)]
        lines.append((*key, LOAD, part["load"].iloc[0], part["commit"].iloc[0]))
    ranks = {name: rank for rank, name in enumerate(STUDY.methods)}
    lines.sort(key=lambda line: (line[1], ranks[line[0]]))
    return pd.DataFrame(lines, columns=list(FIELDS))


def migrate(out: Path) -> int:
    """Convert the rows in a folder and return the number of measurements.

    Raises InputError, and changes nothing, for rows that are not of a benchmark, or of an unknown question or arm.
    """
    path = out / "rows.csv"
    need(
        begins(path, ",".join(OLD)),
        f"{path} is not a benchmark table in the old format: there is nothing to convert",
    )
    old = table(path, _COLUMNS).astype({"repeat": int})
    check_unique(path, old, ["question", "arm", "repeat", "measure"])
    names = {method_name(question, arm) for question, arm in zip(old["question"], old["arm"], strict=True)}
    unknown = sorted(names - set(STUDY.methods))
    need(
        not unknown,
        f"{path} has rows of {unknown[0] if unknown else ''!r}, which the benchmark does not measure: remove these rows",
    )
    alike = old.groupby(["question", "arm", "repeat"])[["load", "commit"]].nunique().le(1).all(axis=None)
    need(bool(alike), f"{path} has different loads or commits for one measurement: restore it")
    write_atomically(out / "configuration.json", object_text({"study": STUDY.name}))
    write_atomically(path, text(migrated(old)))
    return len(old.drop_duplicates(["question", "arm", "repeat"]))


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for invalid input."""
    command = Command(prog=called("studies.migrate_rows"), description=(__doc__ or "").splitlines()[0])
    command.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the record, such as results/benchmark")

    def run() -> int:
        out = command.parse_args(sys.argv[1:] if argv is None else argv).folder
        need((out / "rows.csv").exists(), f"{out} has no rows.csv: give the folder of a record of the benchmark")
        with locked_record(out):
            count = migrate(out)
        print(f"{count} measurements in {out / 'rows.csv'} were converted")
        return 0

    return carried_out(command.prog, run)


if __name__ == "__main__":
    sys.exit(main())
