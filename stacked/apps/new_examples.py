"""New examples for a trained classifier or regressor: images of a folder, rows of a table or of an array, each with a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.util.checks import choices, meant, need, whole

if TYPE_CHECKING:
    import pandas as pd

    from stacked.model.head import EncoderWithHead

#: kinds of data that are predicted from, as in "folder:PATH"
KINDS = ("folder", "csv", "parquet", "npz")
#: those of them that are tables
TABLES = ("csv", "parquet")


@dataclass(frozen=True, eq=False)
class NewExamples:
    """Examples in their own units, uint8 or floats [N, ...], with a name for each; heading: what the names are."""

    heading: str
    names: Sequence[str]
    values: Any


def located(data: str) -> tuple[str, Path]:
    """Return kind and path of "kind:PATH"; raise InputError for another name."""
    kind, _, path = data.partition(":")
    need(
        kind in KINDS and bool(path),
        f"{data!r} is neither a folder of images nor a file with rows: give {', '.join(f'{each}:PATH' for each in KINDS[:-1])} "
        f"or {KINDS[-1]}:PATH",
    )
    return kind, Path(path).expanduser()


def images_of(
    folder: Path, model: EncoderWithHead, file: Path, white_level: int | None, max_megapixels: float | None
) -> NewExamples:
    """Return the images of a folder, named by their files and read as the model of `file` needs them."""
    from stacked.data.image_files.image import WHITE
    from stacked.data.sources.images.folder import named_images

    if white_level is not None:
        whole(white_level, "white level", most=WHITE)
    shape, is_bytes = model.input_shape, model.encoder.scaling is None
    need(
        is_bytes and len(shape) == 3 and shape[0] in (1, 3) and shape[1] == shape[2],
        f"{file} reads {'images' if is_bytes else 'floats'} of {' x '.join(map(str, shape))}, as which folders are not read: "
        "call its predict in Python",
    )
    paths, images = named_images(folder, shape[1], shape[0] == 1, white_level, max_megapixels)
    return NewExamples("file", [path.relative_to(folder).as_posix() for path in paths], images)


def rows_of_table(kind: str, path: Path, model: EncoderWithHead, file: Path, names: str | None) -> NewExamples:
    """Return the rows of a CSV or Parquet file, read as the table that the model of `file` was trained on.

    names: the column with the names of the rows (None: the index of a Parquet file, else row numbers from 1).
    """
    from stacked.data.formats.table_file import read_csv, read_parquet

    scaling = model.encoder.scaling
    columns = scaling.columns if scaling is not None else ()
    need(
        scaling is not None and bool(columns),
        f"{file} was not trained on a table with names of columns: give examples of {list(model.input_shape)} as npz:PATH",
    )
    assert scaling is not None
    numbers = {column.name for column in columns if not column.categories}
    frame = read_csv(path, numbers=numbers) if kind == "csv" else read_parquet(path)
    heading, found = named(frame, path, names)
    known = {column.name for column in columns}
    read = frame if names in known else frame.drop(columns=[] if names is None else names)
    return NewExamples(heading, found, scaling.numbers_of(read, str(path)))


def named(frame: pd.DataFrame, path: Path, names: str | None) -> tuple[str, list[str]]:
    """Return a heading for the names of the rows of a table, and the names."""
    import pandas as pd

    if names is not None:
        given = [str(name) for name in frame.columns]
        need(
            given.count(names) == 1,
            f"names {names!r} is not a column of {path}{choices(names, given, meant(names, given))}",
        )
        column = frame.iloc[:, given.index(names)]
        blank = [row for row, is_blank in enumerate(column.isna(), start=1) if is_blank]
        need(
            not blank,
            f"names {names!r} has no value in row {blank[0] if blank else 0} of {path}: fill it in, or choose another column",
        )
        return names, [str(value) for value in column]
    if isinstance(frame.index, pd.RangeIndex):
        return "row", [str(row) for row in range(1, len(frame) + 1)]
    return str(frame.index.name or "row"), [str(value) for value in frame.index]


def rows_of_array(path: Path) -> NewExamples:
    """Return the examples X of a .npz file, named by their numbers from 1."""
    from stacked.data.sources.tables.npz import arrays_of

    values = arrays_of(path)["X"]
    need(values.dtype.kind in "biuf" and values.ndim > 0, f"X of {path} holds {values.dtype}: give numbers")
    return NewExamples("row", [str(row) for row in range(1, len(values) + 1)], values)
