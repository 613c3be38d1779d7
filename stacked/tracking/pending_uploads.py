"""Uploads of a run other than metrics (pictures, texts, files, datasets, models), kept in files until they are done."""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked.runtime.malloc import keep_freed_memory
from stacked.util.arrays import read_arrays
from stacked.util.atomic import sweep, write_atomically, writing
from stacked.util.checks import choice, need
from stacked.util.errors import UNREADABLE, InputError, printable
from stacked.util.links import check_inside, leads_out, left_out
from stacked.util.serialization import from_dict, parsed

FOLDER = "unsent"
#: The most bytes of an upload that is stored; a larger one is sent by the process that made it, or not at all.
MOST_BYTES = 2**24
#: The most characters of a stored upload's arguments, and of its label, that stay in memory until it is sent.
KEPT = 2**12


@dataclass(frozen=True)
class Picture:
    """The arguments of the client's `log_image`, except for the image."""

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
    dtype: str = "uint8"


#: Methods of the store's client that a stored upload may name, with their plain arguments.
ARGUMENTS: dict[str, type] = {"log_image": Picture, "log_text": Text, "log_file": Files, "log_dataset": Examples}


@dataclass
class PendingUpload:
    """A call of a method of the store's client: its name, and its arguments after the run's id, by name.

    plain: arguments that JSON can hold. arrays: NumPy arrays. live: objects of this process; an upload that has some cannot be
    stored. once: a label for what is done only once for a run. path: the file that stores the upload. is_read: whether the
    arguments are here, and not only in that file.
    """

    what: str
    plain: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    once: str = ""
    path: Path | None = None
    is_read: bool = True

    def do(self, client: object, run_id: str, folder: Path) -> None:
        """Perform the upload for a run with this work folder, to which paths are relative, and delete the file that stores it."""
        method: Callable[..., None] = getattr(client, self.what)
        whole = self if self.is_read or self.path is None else _read(self.path)
        plain = {name: str(folder / value) if name == "path" else value for name, value in whole.plain.items()}
        path = whole.plain.get("path", "")
        if Path(path).is_absolute() or not leads_out(folder / path, folder):
            method(run_id, **plain, **whole.arrays, **self.live)
        else:
            left_out(folder / path)
        if self.what == "log_dataset":
            self.plain, self.is_read = whole.plain, True  # it is sent again if the database is removed
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            shutil.rmtree(self.path.with_suffix(""), ignore_errors=True)


def store_upload(folder: Path, upload: PendingUpload) -> None:
    """Store an upload in a run's work folder for a later process, with a copy of any file from outside of it.

    One that has more than MOST_BYTES is not stored, with a warning.
    Raises InputError if the copy would be written through a link that leads elsewhere.
    """
    if upload.path is not None or upload.live:
        return
    numbers = [int(path.stem) for path in (folder / FOLDER).glob("*.npz") if path.stem.isdecimal()]
    path = folder / FOLDER / f"{max(numbers, default=0) + 1:06d}.npz"
    if upload.what == "log_file" and Path(upload.plain["path"]).is_absolute():
        check_inside(folder, path.with_suffix(""))
        upload.plain["path"] = str(_copied(Path(upload.plain["path"]), path.with_suffix("")).relative_to(folder))
    words = json.dumps({"what": upload.what, "plain": upload.plain, "once": upload.once}).encode()
    content = io.BytesIO()
    np.savez(content, errand=np.frombuffer(words, np.uint8), **upload.arrays)  # type: ignore[arg-type]  # a stored name
    if content.tell() > MOST_BYTES:
        message = (
            f"{upload.what} has {content.tell() / 2**20:,.0f} MiB, and uploads of at most {MOST_BYTES // 2**20} MiB are kept for "
            "later: if MLflow does not answer before this run ends, it is lost"
        )
        warnings.warn(printable(message), RuntimeWarning, stacklevel=2)
        return
    write_atomically(path, content.getvalue())
    upload.path = path


def stored_uploads(folder: Path) -> list[PendingUpload]:
    """Return the uploads stored in a run's work folder, in their order; InputError for an invalid file or a link.

    Pictures and long texts are not kept in memory: they are read again when they are sent.
    What killed processes left, incomplete files and copies without an upload, is removed.
    """
    check_inside(folder, folder / FOLDER)
    sweep(folder, folder / FOLDER)
    for copied in (folder / FOLDER).glob("*/"):
        if copied.name.isdecimal() and not copied.with_suffix(".npz").exists():
            shutil.rmtree(copied, ignore_errors=True)
    found = sorted((folder / FOLDER).glob("*.npz"))
    check_inside(folder, *found)
    if found:  # each is read into memory of about the size that the last one had
        keep_freed_memory()
    return [_put_off(_read(path)) for path in found]


def _copied(there: Path, into: Path) -> Path:
    """Copy a file, or a folder, into the folder `into`, and return the path of the copy."""
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
        arrays = read_arrays(path, MOST_BYTES)
        errand = arrays.pop("errand")
        need(errand.dtype == np.uint8 and errand.ndim == 1, "it does not name a method to call")
        words = parsed(str(errand.data, "utf-8"))
        del errand  # of as many bytes as the words
        need(isinstance(words, dict) and words.keys() == {"what", "plain", "once"}, "it does not name a method to call")
        choice(words["what"], tuple(ARGUMENTS), "upload")
        once = words["once"]
        need(
            isinstance(once, str) and len(once) <= KEPT, f"label {once!r} is not a word of at most {KEPT:,} characters"
        )
        plain = asdict(from_dict(ARGUMENTS[words["what"]], words["plain"]))
        need(arrays.keys() == ({"image"} if words["what"] == "log_image" else set()), "it has other arrays")
        need(all(is_picture(array) for array in arrays.values()), "its picture is not uint8 [H, W] or [H, W, 3]")
        return PendingUpload(words["what"], plain, arrays, once=once, path=path)
    except (KeyError, *UNREADABLE) as error:
        raise InputError(f"{path} is not a pending upload of a run: move it away") from error


def _put_off(upload: PendingUpload) -> PendingUpload:
    """Return an upload that a file stores, without arguments that take much memory."""
    if upload.arrays or sum(len(str(value)) for value in upload.plain.values()) > KEPT:
        upload.plain, upload.arrays, upload.is_read = {}, {}, False
    return upload


def is_picture(array: NDArray[Any]) -> bool:
    """Whether an array is a picture, uint8 [H, W] or [H, W, 3]."""
    return array.dtype == np.uint8 and array.ndim in (2, 3) and array.shape[2:] in ((), (3,)) and array.size > 0
