"""Classification of a folder of images, a table or an array with a trained classifier.

    python -m stacked.predict CLASSIFIER folder:PATH FILE
    python -m stacked.predict CLASSIFIER csv:PATH FILE --names id

CLASSIFIER is a classifier-*.safetensors of a run. FILE is a CSV table: for each example its name, the most probable class, and
the probability of every class. Images are read as for training: at the size and with the channels that the classifier was
trained on, and 16-bit grey files with the white level that it was trained with, unless --white-level gives another. Tables
(csv:PATH, parquet:PATH) need the columns of the training, in any order, and are filled in, encoded and scaled by what was
fitted to the training rows; other columns are not read. npz:PATH holds an array X. Rows are named by their numbers from 1, by
the index of a Parquet file, or by the column that --names gives.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.apps.new_examples import TABLES, NewExamples, images_of, located, rows_of_array, rows_of_table
from stacked.cli.command import Command, called, carried_out
from stacked.cli.overwriting import FORCE, check_new, check_not_read
from stacked.runtime.progress import say_warnings
from stacked.util.checks import need
from stacked.util.csv_cells import as_text
from stacked.util.errors import printable

if TYPE_CHECKING:
    from stacked.model.classifier import Classifier


def table(classifier: Classifier, examples: NewExamples) -> str:
    """Return the predictions for examples as a CSV table: a column of names, one of classes, and one for each class."""
    probabilities = classifier.predict_proba(examples.values)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        [as_text(examples.heading), "class", *(as_text(f"probability of {name}") for name in classifier.classes)]
    )
    for name, values in zip(examples.names, probabilities.tolist(), strict=True):
        best = classifier.classes[values.index(max(values))]
        rows.writerow([as_text(name), as_text(best), *(f"{value:.6g}" for value in values)])
    return text.getvalue()


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 for invalid input."""
    prog = called("stacked.predict")
    say_warnings()
    command = Command(prog=prog, description="Classify images, or the rows of a table, with a trained classifier.")
    command.add_argument("classifier", type=Path, metavar="CLASSIFIER", help="a classifier-*.safetensors of a run")
    command.add_argument(
        "data", metavar="DATA", help="folder:PATH (images at any depth), csv:PATH, parquet:PATH or npz:PATH (array X)"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="the table of predictions, CSV")
    command.add_argument(
        "--white-level", type=int, metavar="N", help="value of white in 16-bit grey files (as in training)"
    )
    command.add_argument("--max-megapixels", type=float, metavar="X", help="largest image that is read (89)")
    command.add_argument("--names", metavar="COLUMN", help="column of a table with the names of its rows (row numbers)")
    command.add_argument("--force", action="store_true", help=FORCE)

    def do() -> int:
        given = command.parse_args(words)
        kind, path = located(given.data)
        check_not_read(given.file, [given.classifier, *([path] if kind != "folder" else [])], "FILE")
        check_new([given.file], "FILE", given.force)
        need(given.names is None or kind in TABLES, f"--names is for tables, and {given.data} is none: leave it out")
        for option in ("white_level", "max_megapixels"):
            flag = f"--{option.replace('_', '-')}"
            need(
                getattr(given, option) is None or kind == "folder",
                f"{flag} is for folders of images, and {given.data} is none: leave it out",
            )
        from stacked.model.classifier import load_with_training
        from stacked.util.atomic import sweep, write_atomically

        sweep(given.file.parent)
        classifier, training = load_with_training(given.classifier)
        if kind == "folder":
            # not the largest image: files need not be trusted, and that limit is a protection
            white = training.get("white_level") if given.white_level is None else given.white_level
            examples = images_of(path, classifier, given.classifier, white, given.max_megapixels)
        elif kind in TABLES:
            examples = rows_of_table(kind, path, classifier, given.classifier, given.names)
        else:
            examples = rows_of_array(path)
        write_atomically(given.file, table(classifier, examples))
        what = "image" if kind == "folder" else "row"
        count = f"{len(examples.names):,} {what}{'s' * (len(examples.names) != 1)}"
        print(printable(f"{given.file}: classes and probabilities of {count}"))
        return 0

    return carried_out(prog, do)
