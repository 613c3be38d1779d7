"""The environment of a run: versions, device, threads, determinism, and the commit of the code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

import torch

from stacked.runtime.determinism import is_strict
from stacked.util.errors import InputError

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "mlflow")


#: git's variables that make it read another repository than the one given by -C
REDIRECTING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")


def code_identity() -> tuple[str, bool]:
    """Return (commit, whether files differ from it) of the git checkout that this package is imported from.

    Returns ("unknown", False) if the package is not in a checkout of its own, for instance in an installed wheel. A
    repository that contains the package's folder without tracking its files belongs to another project and does not count.
    """
    here = Path(__file__).resolve().parents[2]
    surroundings = {name: value for name, value in os.environ.items() if name not in REDIRECTING}

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=20, check=True, env=surroundings
        )
        return done.stdout.strip()

    try:
        top, commit = git("rev-parse", "--show-toplevel", "HEAD").rsplit("\n", 1)
        if Path(top).resolve() != here:
            return "unknown", False
        git("ls-files", "--error-unmatch", "--", Path(__file__).resolve().relative_to(here).as_posix())
        return commit, bool(git("status", "--porcelain", "--", "stacked", "studies", "pyproject.toml"))
    except (OSError, ValueError, subprocess.SubprocessError):  # ValueError: a folder's name that is not UTF-8
        return "unknown", False


#: a package has one version in a process, and reading it parses a file of hundreds of lines
_version = cache(importlib.metadata.version)


def environment(device: torch.device) -> dict[str, str]:
    """Return versions, device, threads and whether torch is strictly deterministic, as tags."""
    commit, dirty = code_identity()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": f"{device} ({name})",
        "threads": str(torch.get_num_threads()),
        "deterministic": str(is_strict()).lower(),
        "commit": commit,
        "dirty": str(dirty).lower(),
        **({} if commit == "unknown" else {"mlflow.source.git.commit": commit}),
        **{package: _version(package) for package in PACKAGES},
    }


def device_of(name: str) -> torch.device:
    """Return the torch device called `name`; InputError if this machine cannot compute on it."""
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"device {name!r} is not known: give cpu, cuda (cuda:1 ...) for a GPU of NVIDIA or AMD, or mps for Apple's"
        ) from error
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device {name!r} cannot be used here ({reason}): choose cpu, or a device torch lists"
        ) from error
    if device.type == "cpu" and device.index is not None:
        raise InputError(f"device {name!r} cannot be used here (a CPU has no number): choose cpu")
    return device
