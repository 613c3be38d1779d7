"""A study of measurements that takes no time: one method, whose score is its seed and a half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy
from studies.record.samples import load_arrays, save_arrays
from studies.statistics.measures import Measure

CALLS: list[int] = []


def method(context: Context, seed: int) -> Iterator[Measurement]:
    CALLS.append(seed)
    yield Measurement("ours", "few", "score", 0.5 + seed)
    yield Measurement("ours", "many", "score", 0.5 + seed)
    save_arrays(context.out, "ours", {"images": np.zeros((2, 1, 4, 4), np.uint8)})


def paint(rows: pd.DataFrame, out: Path) -> None:
    assert load_arrays(out)["ours"]["images"].shape == (2, 1, 4, 4)


DEMO = MeasurementStudy(
    name="demo",
    title="A demonstration",
    question="Which is best?",
    protocol="- {seeds} seeds.",
    methods={"ours": method},
    arms=("ours",),
    measures={"score": Measure("score", "higher", decimals=2)},
    conditions="how many",
    drawings={"images": Drawing("Images.", paint)},
)


def words(home: Path) -> list[str]:
    return ["--data", "digits", "--seeds", "2", "--out", str(home / "out"), "--store", str(home / "store")]
