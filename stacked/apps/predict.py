"""Classification of a folder of images with a trained classifier.

    python -m stacked.predict CLASSIFIER folder:PATH FILE

CLASSIFIER is a classifier-*.safetensors of a run. FILE is a CSV table: for each image its file, the most probable class, and the
probability of every class. Images are read as for training: at the size and with the channels that the classifier was trained on,
and 16-bit grey files with the white level that it was trained with, unless --white-level gives another.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.cli.command import Command, called, carried_out
from stacked.cli.overwriting import FORCE, check_new, check_not_read
from stacked.runtime.progress import say_warnings
from stacked.util.checks import need, whole
from stacked.util.csv_cells import as_text
from stacked.util.errors import printable

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.model.classifier import Classifier


def table(classifier: Classifier, names: Sequence[str], images: Tensor) -> str:
    """Return the predictions for images [N, C, H, W] as a CSV table with the columns file, class, and one for each class."""
    probabilities = classifier.predict_proba(images)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "class", *(as_text(f"probability of {name}") for name in classifier.classes)])
    for name, values in zip(names, probabilities.tolist(), strict=True):
        best = classifier.classes[values.index(max(values))]
        rows.writerow([as_text(name), as_text(best), *(f"{value:.6g}" for value in values)])
    return text.getvalue()


def folder_of(data: str) -> Path:
    """Return the path of "folder:PATH"; raise InputError for another name."""
    kind, _, path = data.partition(":")
    need(kind == "folder" and bool(path), f"{data!r} is not a folder of images: give folder:PATH")
    return Path(path).expanduser()


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 for invalid input."""
    prog = called("stacked.predict")
    say_warnings()
    command = Command(prog=prog, description="Classify the images of a folder with a trained classifier.")
    command.add_argument("classifier", type=Path, metavar="CLASSIFIER", help="a classifier-*.safetensors of a run")
    command.add_argument("data", metavar="folder:PATH", help="images in a folder, at any depth")
    command.add_argument("file", type=Path, metavar="FILE", help="the table of predictions, CSV")
    command.add_argument(
        "--white-level", type=int, metavar="N", help="value of white in 16-bit grey files (as in training)"
    )
    command.add_argument("--max-megapixels", type=float, metavar="X", help="largest image that is read (89)")
    command.add_argument("--force", action="store_true", help=FORCE)

    def do() -> int:
        given = command.parse_args(words)
        check_not_read(given.file, [given.classifier], "FILE")
        check_new([given.file], "FILE", given.force)
        folder = folder_of(given.data)
        from stacked.data.formats.image import WHITE
        from stacked.data.sources.folder import named_images
        from stacked.model.classifier import load_with_training
        from stacked.util.atomic import sweep, write_atomically

        sweep(given.file.parent)
        classifier, training = load_with_training(given.classifier)
        # not the largest image: files need not be trusted, and that limit is a protection
        white = training.get("white_level") if given.white_level is None else given.white_level
        if white is not None:
            whole(white, "white level", most=WHITE)
        shape, is_bytes = classifier.input_shape, classifier.encoder.scaling is None
        need(
            is_bytes and len(shape) == 3 and shape[0] in (1, 3) and shape[1] == shape[2],
            f"{given.classifier} reads {'images' if is_bytes else 'floats'} of {' x '.join(map(str, shape))}, as which folders "
            "are not read: call its predict in Python",
        )
        paths, images = named_images(folder, shape[1], shape[0] == 1, white, given.max_megapixels)
        names = [path.relative_to(folder).as_posix() for path in paths]
        write_atomically(given.file, table(classifier, names, images))
        count = f"{len(names):,} image{'s' * (len(names) != 1)}"
        print(printable(f"{given.file}: classes and probabilities of {count}"))
        return 0

    return carried_out(prog, do)
