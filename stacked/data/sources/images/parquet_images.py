"""Encoded images and their classes in Parquet files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from stacked.data.formats.dataset import DataSource, Source, check_below
from stacked.data.formats.shards import image_classes, shards_of
from stacked.data.formats.split import Splits
from stacked.data.image_files.encoded import file_state
from stacked.data.image_files.reading import image_splits
from stacked.util.checks import need
from stacked.util.errors import InputError
from stacked.util.reading import check_regular

IMAGE, LABEL = "image", "label"
#: the most characters of a class
MOST_CLASS = 200
#: the most bytes of a row group, which is read at once into one array with 32-bit offsets
MOST_GROUP = 2**31 - 1


class ParquetImages(DataSource):
    """Encoded images in Parquet files, as 3 x image_size x image_size, or 1 x ... if grey; PATH is a file, or a folder of them.

    The column "image" holds the bytes of an image file, or a struct with a field "bytes" of them, as datasets of Hugging Face
    do. The column "label", integers or short text, holds the classes; a row without a value has no label, and without the column
    there are none. If PATH/train and PATH/test both exist, their files are the official splits; otherwise a fixed stratified
    sixth is the test set. Needs pyarrow. A row group at a time is in memory.
    """

    name = "parquet-images:PATH"
    decodes = True
    can_be_mapped = True
    most_unreadable = 0.01

    @classmethod
    def check(cls, argument: str) -> None:
        """Raise InputError unless the path is relative and stays below the data directory."""
        check_below("parquet-images", argument)

    def splits(self, source: Source, name: str, valid: float) -> Splits:
        """List and decode the images; InputError for files that are missing or no such Parquet files, and too few images."""
        root = source.data_dir / source.argument
        files, tested = shards_of(root, ".parquet")
        texts: list[str | None] = []
        places: list[tuple[int, int, int]] = []
        for number, path in enumerate(files):
            groups, labels = _contents(path)
            places += [(number, group, row) for group, rows in enumerate(groups) for row in range(rows)]
            texts += labels
        need(bool(places), f"{root} has no rows: give images")
        found, classes = image_classes(texts, str(root))
        test = np.flatnonzero([tested[file] for file, _, _ in places]) if any(tested) else None
        return image_splits(RowImages(files, places), found, classes, source, name, valid, test)


class RowImages:
    """Images in rows of Parquet files; places: file, row group and row in it of each."""

    def __init__(self, files: list[Path], places: list[tuple[int, int, int]]) -> None:
        self.files, self.places = files, places
        self.states = [file_state(path) for path in files]
        self._group = lru_cache(maxsize=1)(self._read_group)

    def __len__(self) -> int:
        return len(self.places)

    def name(self, number: int) -> str:
        """Return the file, the row group and the row, counted from 0."""
        file, group, row = self.places[number]
        return f"{self.files[file]}: row {row} of row group {group}"

    def read(self, number: int) -> bytes:
        """Return the bytes of an image; OSError or ValueError if the row has none, or its group cannot be read."""
        file, group, row = self.places[number]
        found = self._group(file, group)
        if isinstance(found, str):
            raise ValueError(f"its row group cannot be read: {found}")
        value = found[row].as_py()
        if value is None:
            raise ValueError("there is no image in this row")
        return bytes(value)

    def _read_group(self, file: int, group: int) -> Any:
        """Return the array of the encoded images of a row group, or why it cannot be read, which is kept for its other rows."""
        from pyarrow import ArrowException, parquet, types

        path = self.files[file]
        try:
            with parquet.ParquetFile(path, read_dictionary=_repeatable(path, IMAGE)) as opened:
                column = opened.read_row_group(group, columns=[IMAGE]).column(IMAGE).combine_chunks()
        except MemoryError:
            raise
        except (OSError, ArrowException) as error:
            return str(error)
        return column.field("bytes") if types.is_struct(column.type) else column

    def state(self, number: int) -> str:
        """Return the state of the file, and the place in it."""
        file, group, row = self.places[number]
        return f"{self.states[file]} {group} {row}"

    def where(self) -> str:
        """Return the folder of the files, or the only one."""
        return str(self.files[0] if len(self.files) == 1 else self.files[0].parent)


def _contents(path: Path) -> tuple[list[int], list[str | None]]:
    """Return the number of rows of each row group, and the class of each row as text; InputError for other tables."""
    try:
        from pyarrow import ArrowException, parquet, types
    except ImportError as error:
        raise InputError(f"{path} needs pyarrow to be read: pip install pyarrow") from error
    try:
        check_regular(path)
        with parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            kind = schema.field(IMAGE).type if schema.names.count(IMAGE) == 1 else None
            if kind is not None and types.is_struct(kind):
                kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else None
            need(
                kind is not None and (types.is_binary(kind) or types.is_large_binary(kind)),
                f"{path} has no column {IMAGE!r} of bytes of image files, or of structs with 'bytes': name it so",
            )
            groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
            largest = max((group.total_byte_size for group in groups), default=0)
            need(
                largest <= MOST_GROUP,
                f"{path} has a row group of {largest / 2**30:,.1f} GiB, which is read at once: write it again with smaller ones",
            )
            rows = [group.num_rows for group in groups]
            if LABEL not in schema.names:
                return rows, [None] * sum(rows)
            need(schema.names.count(LABEL) == 1, f"{path} has several columns {LABEL!r}: leave one")
            kind = schema.field(LABEL).type
            kind = kind.value_type if types.is_dictionary(kind) else kind
            need(
                types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind),
                f"{path} has a column {LABEL!r} of {kind}: give integers or text, which are classes",
            )
        with parquet.ParquetFile(path, read_dictionary=_repeatable(path, LABEL)) as file:
            return rows, _texts(file.read(columns=[LABEL]).column(LABEL), path)
    except (OSError, ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read as a Parquet file ({reason}): write it again") from error


def _texts(column: Any, path: Path) -> list[str | None]:
    """Return the values of a column of classes as texts, equal ones as one object; InputError for a long one."""
    from pyarrow import types

    column = column.combine_chunks()
    column = column if types.is_dictionary(column.type) else column.dictionary_encode()
    names = [None if value is None else str(value) for value in column.dictionary.to_pylist()]
    longest = max((len(name) for name in names if name), default=0)
    need(
        longest <= MOST_CLASS,
        f"{path} has a class of {longest:,} characters in the column {LABEL!r}, and {MOST_CLASS} are read at most: give shorter "
        "names",
    )
    return [None if k is None else names[k] for k in column.indices.to_pylist()]


def _repeatable(path: Path, column: str) -> list[str]:
    """Return the paths in a Parquet file of a column's texts and bytes.

    They are read as dictionaries, in which a repeated value stands once as in the file, whose size so bounds the memory.
    """
    from pyarrow import parquet

    schema = parquet.read_metadata(path).schema
    leaves = [schema.column(k) for k in range(len(schema))]
    return [leaf.path for leaf in leaves if leaf.path.split(".")[0] == column and leaf.physical_type == "BYTE_ARRAY"]
