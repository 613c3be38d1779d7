"""What a run asks of the store besides points: pictures, texts, files and the like, kept in files until it is done."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked.atomic import write_atomically
from stacked.checks import choice
from stacked.errors import InputError

FOLDER = "unsent"
#: Methods of the store's client that a file may name.
KEPT = ("log_image", "log_file", "log_text", "log_dataset")


@dataclass
class Errand:
    """A method of the store's client by name, and its arguments after the run's id, by name.

    plain: arguments that JSON can hold. arrays: those that are arrays. live: objects that only this process has; an errand
    with one of them is not kept. once: a label, for what is done once in the life of a run.
    """

    what: str
    plain: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    once: str = ""
    path: Path | None = None

    def do(self, client: object, run_id: str, folder: Path) -> None:
        """Do it for a run with that work folder, from which paths start, and forget the file that kept it."""
        method: Callable[..., None] = getattr(client, self.what)
        plain = {name: str(folder / value) if name == "path" else value for name, value in self.plain.items()}
        method(run_id, **plain, **self.arrays, **self.live)
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def keep(folder: Path, errand: Errand) -> None:
    """Write an errand down in a run's work folder, where a later process finds it."""
    if errand.path is not None or errand.live:
        return
    numbers = [int(path.stem) for path in (folder / FOLDER).glob("*.npz")]
    path = folder / FOLDER / f"{max(numbers, default=0) + 1:06d}.npz"
    words = json.dumps({"what": errand.what, "plain": errand.plain, "once": errand.once}).encode()
    content = io.BytesIO()
    np.savez(content, errand=np.frombuffer(words, np.uint8), **errand.arrays)  # type: ignore[arg-type]
    write_atomically(path, content.getvalue())
    errand.path = path


def kept(folder: Path) -> list[Errand]:
    """The errands in a run's work folder, in their order; InputError for a file that holds none."""
    return [_read(path) for path in sorted((folder / FOLDER).glob("*.npz"))]


def _read(path: Path) -> Errand:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        words = json.loads(arrays.pop("errand").tobytes())
        choice(words["what"], KEPT, "errand")
        return Errand(str(words["what"]), dict(words["plain"]), arrays, once=str(words["once"]), path=path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not what a run left to be sent: move it away") from error
