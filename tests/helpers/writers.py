"""Writers of a shared store: runs that several processes, each with several threads, log at once."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from stacked.tracking.tracker import Store, open_store
from tests.helpers.tracked import arm

STEPS, PICTURES = 200, (0, 99, 199)
#: The step from which the writers wait for the file `BACK`, so that no run ends while its store is away.
LAST, BACK = 150, "the-store-is-back"
PATIENCE = 500.0


def points(number: int, step: int) -> dict[str, float]:
    """Return the metrics of run `number` at a step."""
    return {"train/loss": (number + 1) / (step + 3), "eval/recon_mse": 1 / (1 + step * 8 + number)}


def stage_points(number: int, step: int) -> dict[str, float]:
    return {"stage/loss": (step + 1) / (number + 7)}


def write(root: Path, experiment: str, numbers: Sequence[int]) -> list[str]:
    """Log these runs, each in a thread of its own, and return the texts of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = open_store(root)
        with ThreadPoolExecutor(len(numbers)) as threads:
            list(threads.map(partial(_write, store, experiment), numbers))
    return [str(each.message) for each in caught]


def _write(store: Store, experiment: str, number: int) -> None:
    picture = np.full((4, 4), number, dtype=np.uint8)
    with (
        arm(store, store.root / "work" / f"run-{number}", f"joint/s{number}", experiment) as run,
        run.phase(1, "stage 1", {"channels": 4}) as stage,
    ):
        for step in range(STEPS):
            began = time.monotonic()
            while step == LAST and not (store.root / BACK).exists() and time.monotonic() - began < PATIENCE:
                time.sleep(0.05)
            run.log(points(number, step), step)
            stage.log(stage_points(number, step), step)
            if step in PICTURES:
                run.image("grid", picture, step)
            time.sleep(0.01)
        run.text(f"notes of run {number}", "notes.txt")
