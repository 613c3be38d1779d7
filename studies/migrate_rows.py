"""Writes the rows.csv of a benchmark that was made before all studies of measurements had one table as it is now.

No number changes: a question's arm becomes a method, a repeat a seed, the question the condition, and the load of the machine a
measure. Command: python -m studies.migrate_rows FOLDER
"""

from __future__ import annotations

import json
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
from studies.statistics.measurement_rows import FIELDS, text
from studies.statistics.reading import Columns, check_unique, table

OLD = ("question", "arm", "repeat", "measure", "value", "load", "commit")
_COLUMNS = Columns(
    OLD,
    number=lambda name: name in ("repeat", "value", "load"),
    whole=("repeat",),
    nonblank=OLD,
    finite=True,
    exact=True,
    written_together=("question", "arm", "repeat"),
)


def migrated(old: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of a benchmark: repeat by repeat, and within one method by method, the load last."""
    lines = []
    for (question, arm, repeat), part in old.groupby(["question", "arm", "repeat"], sort=False):
        key = method_name(question, arm), int(repeat), arm, question
        lines += [(*key, *row) for row in part[["measure", "value", "commit"]].itertuples(index=False)]
        lines.append((*key, LOAD, part["load"].iloc[0], part["commit"].iloc[0]))
    ranks = {name: rank for rank, name in enumerate(STUDY.methods)}
    lines.sort(key=lambda line: (line[1], ranks[line[0]]))
    return pd.DataFrame(lines, columns=list(FIELDS))


def migrate(out: Path) -> int:
    """Write the rows in a folder anew; returns how many measurements there are.

    Raises InputError for rows that are not of a benchmark, or not of one of its questions and arms, and leaves them as they are.
    """
    path = out / "rows.csv"
    need(
        begins(path, ",".join(OLD)),
        f"{path} is not a table of the benchmark in its old form: there is nothing to migrate",
    )
    old = table(path, _COLUMNS).astype({"repeat": int})
    check_unique(path, old, ["question", "arm", "repeat", "measure"])
    names = {method_name(question, arm) for question, arm in zip(old["question"], old["arm"], strict=True)}
    unknown = sorted(names - set(STUDY.methods))
    need(
        not unknown,
        f"{path} has rows of {unknown[0] if unknown else ''!r}, which the benchmark does not measure: remove them",
    )
    alike = old.groupby(["question", "arm", "repeat"])[["load", "commit"]].nunique().le(1).all(axis=None)
    need(bool(alike), f"{path} tells different loads, or commits, of one measurement: restore it")
    write_atomically(out / "configuration.json", json.dumps({"study": STUDY.name}, indent=1) + "\n")
    write_atomically(path, text(migrated(old)))
    return len(old.drop_duplicates(["question", "arm", "repeat"]))


def main(words: list[str] | None = None) -> int:
    """Returns 0, or 2 for bad input."""
    command = Command(prog=called("studies.migrate_rows"), description=(__doc__ or "").splitlines()[0])
    command.add_argument("folder", type=Path, metavar="FOLDER", help="of the record, as results/benchmark")

    def do() -> int:
        out = command.parse_args(sys.argv[1:] if words is None else words).folder
        need((out / "rows.csv").exists(), f"{out} has no rows.csv: give the folder of a record of the benchmark")
        with locked_record(out):
            count = migrate(out)
        print(f"{count} measurements in {out / 'rows.csv'} are written as all studies of measurements have them")
        return 0

    return carried_out(command.prog, do)


if __name__ == "__main__":
    sys.exit(main())
