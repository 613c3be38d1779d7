"""Files of datasets on disk: verified before they are believed, fetched only when asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from http.client import HTTPException
from typing import TYPE_CHECKING

from stacked.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from stacked.data.dataset import Source

CHUNK = 1 << 22


def missing(name: str, source: Source, expected: str, also: str = "") -> InputError:
    """The error for a dataset that is not there; `expected` is its folder below the data directory."""
    return InputError(
        f"{name} is not complete at {source.data_dir / expected}: run again with --download, or give the "
        f"folder that holds {expected} with --data-dir (or the environment variable STACKED_DATA){also}"
    )


def corrupt(path: object, expected: str, remedy: str) -> InputError:
    """The error for a file whose bytes are not the published ones; `expected` names what they should be."""
    return InputError(f"{path} is corrupt or truncated (expected {expected}): {remedy}")


def verify(path: Path, algorithm: str, expected: str, remedy: str) -> None:
    """Raise InputError unless the file's hash (hex) is `expected`; `algorithm` is "SHA-256" or "MD5"."""
    digest = hashlib.new(algorithm.replace("-", "").lower(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise corrupt(path, f"{algorithm} {expected}", remedy)


def download(name: str, source: Source, construct: Callable[[], object]) -> None:
    """Run a torchvision constructor with download=True, and tell a failure in one sentence.

    torchvision checks the MD5 of what it has fetched before it unpacks it.
    """
    try:
        construct()
    except (OSError, HTTPException, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{name} could not be downloaded to {source.data_dir} ({reason}): check the network, the free "
            "space and that the folder is writable, then run again"
        ) from error
