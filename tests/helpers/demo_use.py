"""A study of a use that takes no time: one method, whose score is its seed and a half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from studies.design.use import Drawing, Found, Measure, Setting, Use
from studies.framework.samples import keep, kept

CALLS: list[int] = []


def method(setting: Setting, seed: int) -> Iterator[Found]:
    CALLS.append(seed)
    yield Found("ours", "few", "score", 0.5 + seed)
    yield Found("ours", "many", "score", 0.5 + seed)
    keep(setting.out, "ours", {"images": np.zeros((2, 1, 4, 4), np.uint8)})


def paint(rows: pd.DataFrame, out: Path) -> None:
    assert kept(out)["ours"]["images"].shape == (2, 1, 4, 4)


USE = Use(
    name="demo",
    title="A demonstration",
    question="Which is best?",
    protocol="- {seeds} seeds.",
    methods={"ours": method},
    arms=("ours",),
    measures={"score": Measure("score", 2)},
    conditions="how many",
    drawings={"images": Drawing("Images.", paint)},
)


def words(home: Path) -> list[str]:
    return ["--data", "digits", "--seeds", "2", "--out", str(home / "out"), "--store", str(home / "store")]
