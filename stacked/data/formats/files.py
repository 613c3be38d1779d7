"""Dataset files on disk: verified by SHA-256 before they are parsed, downloaded only on request and only by HTTPS."""

from __future__ import annotations

import hashlib
import ssl
import tarfile
import urllib.request
from collections.abc import Collection, Mapping
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.error import URLError

import numpy as np

from stacked.runtime.progress import Bar, shown
from stacked.util.atomic import part, put, sweep
from stacked.util.errors import InputError
from stacked.util.reading import opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stacked.data.formats.dataset import Source

CHUNK = 1 << 22
MEGA = 1_000_000
#: Seconds to wait for data from a server.
TIMEOUT = 60


def at_home(path: str | Path) -> Path:
    """Return the path with a leading ~ or ~user expanded; InputError if that home folder is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path} begins with a home folder that is not known: write the path out") from error


def missing(name: str, source: Source, expected: str, also: str = "") -> InputError:
    """Return the error for a dataset that is missing; `expected` is its file or folder below the data directory."""
    return InputError(
        f"{name} is missing or incomplete at {source.data_dir / expected}: run again with --download, or give the "
        f"folder that holds {expected} with --data-dir (or the environment variable STACKED_DATA){also}"
    )


def corrupt(path: object, expected: str, remedy: str) -> InputError:
    """Return the error for a file whose content is not the published one; `expected` describes the latter."""
    return InputError(f"{path} is corrupt or truncated (expected {expected}): {remedy}")


def fetch(name: str, address: str, folder: Path, sha256: Mapping[str, str]) -> None:
    """Download the files named in `sha256` (file name -> hex digest) that `folder` lacks from below `address`.

    A file with another SHA-256 is discarded. Raises InputError if a file cannot be downloaded or written.
    """
    for file, digest in sha256.items():
        if not (folder / file).is_file():
            _fetch(name, address + file, folder / file, digest)


def _fetch(name: str, url: str, path: Path, sha256: str) -> None:
    """Download one file; it is moved to `path` only if its SHA-256 is right."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        with part(path.parent) as file:
            found = _copy(url, file, path.name)
            if found == sha256:
                put(file, path)
    except (OSError, HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{name} could not be downloaded to {path.parent} ({reason}): check the network, the free space and "
            "that the folder is writable, then run again"
        ) from error
    if found != sha256:
        raise InputError(
            f"{name} could not be downloaded: {url} sent data with SHA-256 {found}, and the published file has "
            f"{sha256}; run again later, or put the file into {path.parent} yourself"
        )


def _copy(url: str, file: IO[bytes], label: str) -> str:
    """Download `url` into `file`, show on stderr how much is there, and return its SHA-256 (hex)."""
    digest = hashlib.sha256()
    with _opener().open(url, timeout=TIMEOUT) as answer:
        size = int(answer.headers.get("Content-Length") or 0) or None
        with shown(), Bar(label, size // MEGA if size else None, "MB") as bar:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                bar.to(file.tell() // MEGA)
    return digest.hexdigest()


class _HttpsAlone(urllib.request.HTTPRedirectHandler):
    """Refuses redirects to addresses that are not HTTPS."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https://"):
            raise URLError(f"redirected to {newurl}, which is not HTTPS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Return a URL opener that checks certificates against those of the system and follows HTTPS redirects only."""
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(https, _HttpsAlone)


def read_archive(path: Path, sha256: str, members: Collection[str], remedy: str) -> dict[str, NDArray[np.uint8]]:
    """Return the content of these members of a .tar.gz file, whose SHA-256 is verified before it is read.

    Nothing is unpacked to disk. Raises InputError if the SHA-256 differs or a member is missing.
    """
    found: dict[str, NDArray[np.uint8]] = {}
    with opened(path) as file:
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise corrupt(path, f"SHA-256 {sha256}", remedy)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r|gz", bufsize=CHUNK) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name in members else None
                if content is not None:
                    found[member.name] = np.empty(member.size, dtype=np.uint8)
                    content.readinto(found[member.name].data)  # type: ignore[attr-defined]  # it is a BufferedReader
                if len(found) == len(members):
                    return found
    raise corrupt(path, f"an archive with {', '.join(sorted(set(members) - set(found)))}", remedy)
