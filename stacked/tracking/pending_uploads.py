"""What a run asks of the store besides points: pictures, texts, files and the like, kept in files until it is done."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked.util.arrays import read_arrays
from stacked.util.atomic import sweep, write_atomically, writing
from stacked.util.checks import choice, need
from stacked.util.errors import UNREADABLE, InputError
from stacked.util.links import check_inside, leads_out, left_out
from stacked.util.serialization import from_dict, parsed

FOLDER = "unsent"


@dataclass(frozen=True)
class Picture:
    """The plain arguments of the client's `log_image`."""

    key: str
    step: int
    at: int


@dataclass(frozen=True)
class Text:
    """The arguments of `log_text`."""

    text: str
    artifact_file: str


@dataclass(frozen=True)
class Files:
    """The arguments of `log_file`: a path in the run's work folder, and a folder of its artifacts."""

    path: str
    folder: str | None

    def __post_init__(self) -> None:
        path = Path(self.path)
        need(not path.is_absolute() and ".." not in path.parts, f"{self.path!r} is not in the run's work folder")


@dataclass(frozen=True)
class Examples:
    """The arguments of `log_dataset`."""

    name: str
    digest: str
    rows: int
    shape: tuple[int, ...]
    context: str


#: Methods of the store's client that a file may name, with their plain arguments.
KEPT: dict[str, type] = {"log_image": Picture, "log_text": Text, "log_file": Files, "log_dataset": Examples}


@dataclass
class PendingUpload:
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
        path = self.plain.get("path", "")
        if Path(path).is_absolute() or not leads_out(folder / path, folder):
            method(run_id, **plain, **self.arrays, **self.live)
        else:
            left_out(folder / path)
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            shutil.rmtree(self.path.with_suffix(""), ignore_errors=True)


def keep(folder: Path, upload: PendingUpload) -> None:
    """Write an errand down in a run's work folder, where a later process finds it, with a copy of a file that lies elsewhere."""
    if upload.path is not None or upload.live:
        return
    numbers = [int(path.stem) for path in (folder / FOLDER).glob("*.npz") if path.stem.isdecimal()]
    path = folder / FOLDER / f"{max(numbers, default=0) + 1:06d}.npz"
    if upload.what == "log_file" and Path(upload.plain["path"]).is_absolute():
        upload.plain["path"] = str(_copied(Path(upload.plain["path"]), path.with_suffix("")).relative_to(folder))
    words = json.dumps({"what": upload.what, "plain": upload.plain, "once": upload.once}).encode()
    content = io.BytesIO()
    np.savez(content, errand=np.frombuffer(words, np.uint8), **upload.arrays)  # type: ignore[arg-type]
    write_atomically(path, content.getvalue())
    upload.path = path


def kept(folder: Path) -> list[PendingUpload]:
    """The errands in a run's work folder, in their order; InputError for a file that holds none, or a link.

    What a process was killed over, while it wrote in the folder or forgot an errand, is removed.
    """
    check_inside(folder, folder / FOLDER)
    sweep(folder, folder / FOLDER)
    for copied in (folder / FOLDER).glob("*/"):
        if copied.name.isdecimal() and not copied.with_suffix(".npz").exists():
            shutil.rmtree(copied, ignore_errors=True)
    found = sorted((folder / FOLDER).glob("*.npz"))
    check_inside(folder, *found)
    return [_read(path) for path in found]


def _copied(there: Path, into: Path) -> Path:
    """A copy of a file, or of the files in a folder, in the folder `into`."""
    here = into / there.name
    with writing(into):
        into.mkdir(parents=True, exist_ok=True)
        if there.is_dir():
            shutil.copytree(there, here, dirs_exist_ok=True)
        else:
            shutil.copyfile(there, here)
    return here


def _read(path: Path) -> PendingUpload:
    try:
        arrays = read_arrays(path)
        words = parsed(arrays.pop("errand").tobytes().decode())
        need(
            isinstance(words, dict) and words.keys() == {"what", "plain", "once"}, "it does not say what is to be done"
        )
        choice(words["what"], tuple(KEPT), "errand")
        need(isinstance(words["once"], str), f"label {words['once']!r} is not a word")
        plain = asdict(from_dict(KEPT[words["what"]], words["plain"]))
        need(arrays.keys() == ({"image"} if words["what"] == "log_image" else set()), "it has other arrays")
        need(all(picture(array) for array in arrays.values()), "its picture is none")
        return PendingUpload(words["what"], plain, arrays, once=words["once"], path=path)
    except (KeyError, *UNREADABLE) as error:
        raise InputError(f"{path} is not what a run left to be sent: move it away") from error


def picture(array: NDArray[Any]) -> bool:
    """Whether it is one, uint8 [H, W] or [H, W, 3]."""
    return array.dtype == np.uint8 and array.ndim in (2, 3) and array.shape[2:] in ((), (3,)) and array.size > 0
