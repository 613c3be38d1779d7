"""The main job in a process of its own, and what a smoke run of it leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

#: classifiers are hardly trained where nothing is asked of them
HARDLY_CLASSIFIED = ("--labels", "100", "--classification", "{updates: 2, checks: 1, lrs: [0.001], images: 20}")


class Smoke(NamedTuple):
    """A smoke run: the folder of its results, its store, and what the command printed."""

    out: Path
    store: Path
    done: subprocess.CompletedProcess[str]


def layerwise(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "studies.layerwise", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
