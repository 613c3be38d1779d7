"""Predictions of a trained classifier or regressor for a folder of images, a table or an array.

    python -m stacked.predict MODEL folder:PATH FILE
    python -m stacked.predict MODEL csv:PATH FILE --names id

MODEL is a classifier-*.safetensors or a regressor-*.safetensors of a run. FILE is a CSV table with the name of each example. A
classifier adds the most probable class and the probability of every class, a regressor the predicted values, in the units of
the targets and with all digits of float64. Images are read as for training: at the size and with the channels that the model
was trained on, and 16-bit grey files with the white level that it was trained with, unless --white-level gives another. Tables
(csv:PATH, parquet:PATH) need the columns of the training, in any order, and are filled in, encoded and scaled by what was
fitted to the training rows; other columns are not read. npz:PATH holds an array X. Rows are named by their numbers from 1, by
the index of a Parquet file, or by the column that --names gives.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.apps.new_examples import TABLES, NewExamples, images_of, located, rows_of_array, rows_of_table
from stacked.cli.command import Command, called, carried_out
from stacked.cli.overwriting import FORCE, check_new, check_not_read
from stacked.runtime.progress import say, say_warnings
from stacked.util.checks import need
from stacked.util.csv_cells import as_text
from stacked.util.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stacked.model.classifier import Classifier
    from stacked.model.regressor import Regressor


def table(model: Classifier | Regressor, examples: NewExamples, target: str | None = None) -> str:
    """Return the predictions for examples as a CSV table whose first column is their names.

    The other columns are, of a classifier, the class and the probability of each class; of a regressor, a prediction for each
    target. target: the name of the only target of a regressor (None: it is not known).
    """
    from stacked.model.classifier import Classifier

    if isinstance(model, Classifier):
        return written(
            examples, ["class", *(f"probability of {name}" for name in model.classes)], classified(model, examples)
        )
    predictions = model.predict(examples.values)
    count = predictions.shape[1]
    only = "prediction" if target is None else f"predicted {target}"
    headings = [only] if count == 1 else [f"prediction {k}" for k in range(1, count + 1)]
    return written(examples, headings, ([repr(value) for value in row] for row in predictions.tolist()))


def classified(classifier: Classifier, examples: NewExamples) -> Iterable[list[str]]:
    """Yield the cells of each example: its most probable class, and the probability of each class."""
    for values in classifier.predict_proba(examples.values).tolist():
        best = classifier.classes[values.index(max(values))]
        yield [as_text(best), *(f"{value:.6g}" for value in values)]


def written(examples: NewExamples, headings: Sequence[str], cells: Iterable[list[str]]) -> str:
    """Return a CSV table with these headings, whose rows are the names of the examples and their cells."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([as_text(heading) for heading in (examples.heading, *headings)])
    for name, values in zip(examples.names, cells, strict=True):
        rows.writerow([as_text(name), *values])
    return text.getvalue()


def model_in(path: Path) -> tuple[Classifier | Regressor, dict[str, Any]]:
    """Return the model in a file of a run and what is known of its training; InputError if it is neither of the two kinds."""
    from stacked.model import classifier, regressor
    from stacked.model.model_file import kind_of

    wanted = "give the classifier-*.safetensors or regressor-*.safetensors of a run"
    need(path.is_file(), f"{path} is no file: {wanted}")
    kind = kind_of(path)
    if kind == regressor.FORMAT:
        return regressor.load_with_training(path)
    need(
        kind in ("", classifier.FORMAT),
        f"{path} holds a {kind!r}, which predicts nothing: {wanted}",
    )
    return classifier.load_with_training(path)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 for invalid input."""
    prog = called("stacked.predict")
    say_warnings()
    command = Command(prog=prog, description="Predict classes or numbers for images, or for the rows of a table.")
    command.add_argument(
        "model", type=Path, metavar="MODEL", help="a classifier-*.safetensors or regressor-*.safetensors of a run"
    )
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
        check_not_read(given.file, [given.model, *([path] if kind != "folder" else [])], "FILE")
        check_new([given.file], "FILE", given.force)
        need(given.names is None or kind in TABLES, f"--names is for tables, and {given.data} is none: leave it out")
        for option in ("white_level", "max_megapixels"):
            flag = f"--{option.replace('_', '-')}"
            need(
                getattr(given, option) is None or kind == "folder",
                f"{flag} is for folders of images, and {given.data} is none: leave it out",
            )
        from stacked.model.classifier import Classifier
        from stacked.util.atomic import sweep, write_atomically

        folder = given.file.parent
        is_new = not folder.exists()
        sweep(folder)
        model, training = model_in(given.model)
        if kind == "folder":
            # not the largest image: files need not be trusted, and that limit is a protection
            white = training.get("white_level") if given.white_level is None else given.white_level
            examples = images_of(path, model, given.model, white, given.max_megapixels)
            channels, side, _ = model.input_shape
            colour = "grey" if channels == 1 else "in colour"
            size = f"cropped to squares and resized to {side} x {side} pixels"
            say(printable(f"images are read {colour}, {size}, as {given.model} needs them"))
        elif kind in TABLES:
            examples = rows_of_table(kind, path, model, given.model, given.names)
        else:
            examples = rows_of_array(path)
        write_atomically(given.file, table(model, examples, training.get("target")))
        if is_new:
            say(printable(f"the folder {folder} was created"))
        what = "image" if kind == "folder" else "row"
        count = f"{len(examples.names):,} {what}{'s' * (len(examples.names) != 1)}"
        found = "classes and probabilities of" if isinstance(model, Classifier) else "predictions for"
        print(printable(f"{given.file}: {found} {count}"))
        return 0

    return carried_out(prog, do)
