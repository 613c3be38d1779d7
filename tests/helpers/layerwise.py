"""What a smoke run of the main job leaves, and options that make runs of it short."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

#: classifiers are hardly trained where nothing is asked of them
HARDLY_CLASSIFIED = ("--labels", "100", "--classification", "{updates: 2, checks: 1, lrs: [0.001], images: 20}")


class Smoke(NamedTuple):
    """A smoke run: the folder of its results, its store, and what the command printed."""

    out: Path
    store: Path
    stdout: str
    stderr: str
