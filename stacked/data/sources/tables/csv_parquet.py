"""Tables in a user's own CSV and Parquet files."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.data.formats.dataset import DataSource, Source, check_below
from stacked.data.formats.split import Splits
from stacked.data.formats.table_file import read_csv, read_parquet
from stacked.util.checks import need

if TYPE_CHECKING:
    import pandas as pd

TEST = 1 / 6


def check_classes(frame: pd.DataFrame, target: str | None, path: Path) -> None:
    """Raise InputError if a target of integers has too many different values to be classes."""
    import pandas as pd

    if target is None or list(frame.columns).count(target) != 1 or not pd.api.types.is_integer_dtype(frame[target]):
        return
    different, rows = frame[target].nunique(), int(frame[target].count())
    need(
        different <= max(2, rows / 3),
        f"target {target!r} of {path} has {different:,} different integers in {rows:,} rows, too many to be classes: write them "
        "as decimal numbers, such as 3.0, if they are to be predicted",
    )


class Table(DataSource):
    """A table with a row for each example. Without a test set of its own, a fixed stratified sixth is the test set.

    Columns of numbers are standardised, and text, truth values and categories become a column of 0 and 1 for each category
    (scikit-learn's OneHotEncoder). All of this is fitted to the training rows, before `limit` is applied. The target's
    integers and texts are classes, its decimal numbers are numbers to predict, and rows without a value have no label.
    """

    is_table = True

    @classmethod
    def check(cls, argument: str) -> None:
        """Raise InputError unless the path is relative and stays below the data directory."""
        check_below(cls.name.partition(":")[0], argument)

    def splits(self, source: Source, name: str, valid: float) -> Splits:
        """Read and divide the table; InputError, in one sentence, for what cannot be read or trained on."""
        from stacked.data.splitting import divided

        path = source.data_dir / source.argument
        frame = self.read(path, source.target)
        check_classes(frame, source.target, path)
        return Splits.from_division(
            name, divided(frame, None, valid, TEST, source.target, None, None, source.missing, str(path))
        )

    @staticmethod
    @abstractmethod
    def read(path: Path, target: str | None) -> pd.DataFrame:
        """Return the table in a file, whose column `target` may hold anything; InputError if it cannot be read."""


class Csv(Table):
    """A CSV table in UTF-8, with commas between cells and a first line of column names.

    A column of numbers, in Python's notation, holds nothing else. Empty cells, NA, NaN, null and None are missing values.
    """

    name = "csv:PATH"
    read = staticmethod(read_csv)


class Parquet(Table):
    """A Parquet table, with the types of its columns; needs pyarrow."""

    name = "parquet:PATH"
    read = staticmethod(read_parquet)
