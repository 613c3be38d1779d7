"""Small tables that take much memory as a table of pandas: each is refused in a line, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stacked.data.formats import parquet_size
from stacked.data.formats.table_file import read_csv, read_parquet
from tests.helpers.refused import refusal

pyarrow = pytest.importorskip("pyarrow")

ROOT = Path(__file__).parents[2]
#: memory in MiB that one of them may take
MOST_MIB = 250
ROWS, LONG = 5000, "x" * 100_000

#: reads the tables in a folder; prints the growth of memory, and what was said
READ = """
import json, sys
from pathlib import Path
from stacked import InputError
from stacked.data.formats.table_file import read_parquet

folder = Path(sys.argv[1])
read_parquet(folder / "small.parquet")  # what is loaded for it alone is there then

def memory(which):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[which].split()[0]) / 1024

told = {}
for path in sorted((folder / "bombs").iterdir()):
    Path("/proc/self/clear_refs").write_text("5")  # the largest so far is forgotten
    before, said = memory("VmRSS"), ""
    try:
        read_parquet(path)
    except InputError as error:
        said = str(error)
    told[path.name] = [memory("VmHWM") - before, said]
print(json.dumps(told))
"""


def repeated(value: Any, kind: Any, rows: int = ROWS) -> Any:
    """A column with one value in all rows, which is held once."""
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * rows, pyarrow.int32()), pyarrow.array([value], kind))


def lists(kind: Any) -> Any:
    return pyarrow.ListArray.from_arrays(list(range(ROWS + 1)), repeated(LONG, kind))


COLUMNS: dict[str, Callable[[], Any]] = {
    "text": lambda: repeated(LONG, pyarrow.string()),
    "bytes": lambda: repeated(LONG.encode(), pyarrow.binary()),
    "lists": lambda: lists(pyarrow.string()),
    "structs": lambda: pyarrow.StructArray.from_arrays([repeated(LONG, pyarrow.string())], ["in"]),
    "maps": lambda: pyarrow.MapArray.from_arrays(
        list(range(ROWS + 1)), pyarrow.array(list(map(str, range(ROWS)))), repeated(LONG, pyarrow.string())
    ),
    "many rows": lambda: repeated(LONG[:1000], pyarrow.string(), 500_000),
}


def write(path: Path, column: Any, **options: Any) -> None:
    from pyarrow import parquet

    table = pyarrow.table({"a": column, "b": pyarrow.array(range(len(column)))})
    parquet.write_table(table, path, compression="zstd", **{"store_schema": False, **options})


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, str]]:
    """The memory that reading each takes, in a process of its own, and what is said."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("reads the memory of a process from /proc")
    folder = tmp_path_factory.mktemp("all")
    (folder / "bombs").mkdir()
    write(folder / "small.parquet", repeated("x", pyarrow.string(), 10))
    for name, column in COLUMNS.items():
        write(folder / "bombs" / name, column())
        assert (folder / "bombs" / name).stat().st_size < 2**20
    plain = pyarrow.array([LONG] * 1000, pyarrow.string())  # in pages of text that compress well
    write(folder / "bombs" / "plain", plain, use_dictionary=False)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: tuple(each) for name, each in json.loads(done.stdout).items()}


def test_none_takes_much(taken: dict[str, tuple[float, str]]) -> None:
    assert {name: mib for name, (mib, _) in taken.items() if mib > MOST_MIB} == {}


@pytest.mark.parametrize("name", [*COLUMNS, "plain"])
def test_the_line_says_why(name: str, taken: dict[str, tuple[float, str]]) -> None:
    said = taken[name][1]
    assert " MiB of text or more, and " in said
    assert said.endswith("are read from a file of its size: leave out the columns of long text, or give fewer rows")
    assert said.isprintable()


def test_what_is_no_bomb_is_read(tmp_path: Path) -> None:
    """Also a table of each type whose size cannot be told from its counts, and categories, of which each is kept once."""
    rows = 300_000
    table = pd.DataFrame(
        {
            "text": ["male", "female", None] * (rows // 3),
            "category": pd.Categorical(["x" * 300] * rows),
            "list": [["a", "b"], [], None] * (rows // 3),
            "number": range(rows),
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "t.parquet"), pd.read_parquet(tmp_path / "t.parquet"))


def test_the_bytes_of_text_are_counted_for_each_row(tmp_path: Path) -> None:
    sizes: list[int] = []
    write(tmp_path / "t", repeated("four", pyarrow.string(), 1000))
    parquet_size.check_parquet_size(tmp_path / "t", lambda _, size: sizes.append(size))
    assert sizes == [16_000, 20_000]


def test_a_cell_of_a_csv_table_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"a,b\n1,{'x' * 131_073}\n")
    assert refusal(lambda: read_csv(path))[1] == (
        f"{path} has a cell of more than 131,072 characters: shorten it, leave its column out, or close an open quote"
    )
