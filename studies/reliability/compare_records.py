"""Compares two records of a study: rows, curves, samples, figures, weights and MLflow, without times.

The figure curves.png is not compared, because it shows seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stacked.model.tensor_file import open_tensors
from stacked.util.atomic import PARTS
from studies.reliability.compare_mlflow import TIMES, mlflow_differences
from studies.statistics.reading import arrays
from studies.statistics.rows import load_curves, load_rows


def differences(one: Path, other: Path) -> list[str]:
    """Return the differences between two folders with subfolders `out` and `store`, a sentence each; empty if none."""
    found = []
    for name, load in (("runs.csv", load_rows), ("curves.csv", load_curves)):
        a, b = (load(home / "out").drop(columns=list(TIMES), errors="ignore") for home in (one, other))
        if not a.equals(b):
            found.append(name)
    found += _files(one / "out", other / "out", "samples/*.npz", _same_arrays)
    found += _files(one / "out", other / "out", "figures/*.png", _same_picture)
    found += _files(one / "store" / "work", other / "store" / "work", "*/*.safetensors", _same_tensors)
    found += [f"temporary file {path.relative_to(other)} was left" for path in sorted(other.rglob(PARTS))]
    return found + mlflow_differences(one / "store", other / "store")


def _files(one: Path, other: Path, pattern: str, same: Callable[[Path, Path], bool]) -> list[str]:
    """Return the files of a pattern that only one folder has, or that differ by `same`."""
    mine, theirs = ({path.relative_to(root).as_posix() for path in root.glob(pattern)} for root in (one, other))
    return [name for name in sorted(mine | theirs) if name not in mine & theirs or not same(one / name, other / name)]


def _same_arrays(one: Path, other: Path) -> bool:
    a, b = arrays(one), arrays(other)
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


def _same_tensors(one: Path, other: Path) -> bool:
    """Return whether names, shapes, types and bits of all tensors are equal; the metadata hold times and are ignored."""
    with open_tensors(one, "np") as a, open_tensors(other, "np") as b:
        names = sorted(a.keys())
        if names != sorted(b.keys()):
            return False
        both = ((a.get_tensor(name), b.get_tensor(name)) for name in names)
        return all((x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes()) for x, y in both)


def _same_picture(one: Path, other: Path) -> bool:
    return one.name == "curves.png" or one.read_bytes() == other.read_bytes()
