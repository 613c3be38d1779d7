"""Arrays in a user's own .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.data.formats.dataset import DataSource, Source, check_below, check_own_valid
from stacked.data.formats.split import Splits
from stacked.util.arrays import read_arrays
from stacked.util.checks import meant, need
from stacked.util.errors import UNREADABLE, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEST = 1 / 6
#: what a file may hold: examples and labels of each part
KNOWN = ("X", "y", "X_test", "y_test", "X_valid", "y_valid")
#: the share of the free memory that the arrays may take
MOST = 0.4


class Npz(DataSource):
    """Arrays that numpy.savez wrote: X, and optionally its labels y; X_test and y_test; X_valid and y_valid.

    X holds vectors [N, D], signals [N, C, L], images [N, C, H, W] or volumes [N, C, D, H, W], uint8 or any real numbers, which
    are read and scaled as by `Splits.of`. Without X_test, a fixed stratified sixth is the test set. Nothing is unpickled.
    """

    name = "npz:PATH"

    @classmethod
    def check(cls, argument: str) -> None:
        """Raise InputError unless the path is relative and stays below the data directory."""
        check_below("npz", argument)

    def splits(self, source: Source, name: str, valid: float) -> Splits:
        """Read and divide the arrays; InputError, in one sentence, for what cannot be read or trained on."""
        from stacked.data.splitting import divided

        path = source.data_dir / source.argument
        arrays = arrays_of(path)
        if "X_valid" in arrays:
            check_own_valid(name, valid)
        test, held = (
            (arrays[f"X_{part}"], arrays.get(f"y_{part}")) if f"X_{part}" in arrays else fraction
            for part, fraction in (("test", TEST), ("valid", valid))
        )
        return Splits.from_division(
            name, divided(arrays["X"], arrays.get("y"), held, test, None, None, None, what=f"X of {path}")
        )


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file by name; InputError if it cannot be read, or holds other arrays."""
    import torch

    from stacked.runtime.free_memory import free_bytes

    try:
        found = read_arrays(path, most_bytes=int(MOST * free_bytes(torch.device("cpu"))))
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} cannot be read as arrays ({reason}): give a file that numpy.savez(FILE, X=X, y=y) wrote, without objects"
        ) from error
    other = next((name for name in found if name not in KNOWN), None)
    need(
        other is None,
        f"{path} holds an array {other!r}: name arrays {', '.join(KNOWN)}{meant(other, [*KNOWN])}",
    )
    for name, array in found.items():
        examples = name.replace("y", "X")
        need(
            examples in found,
            f"{path} holds {name} without {examples}: give the examples too, as an array {examples!r}",
        )
        need(array.dtype.kind in "biufUS", f"{name} of {path} holds {array.dtype}: give numbers, or labels as text")
    need("X" in found, f"{path} holds no array 'X': give the examples by that name")
    return found
