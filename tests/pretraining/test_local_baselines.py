"""The table of Forward-Forward and SoftHebb: what its methods measure, and a smoke run to its page."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from stacked.data import load
from stacked.util.errors import InputError
from studies.design.measurements import Context
from studies.framework.main import main
from studies.pretraining.local_learning.baselines_study import FORWARD, HEBB, PIXELS, STUDY
from studies.statistics.measurement_rows import load as load_rows


def context(**given: object) -> Context:
    options = {"epochs": 1, "units": 12, "channels": [4, 6]} | given
    return Context(load("digits", limit=200), argparse.Namespace(**options), Path())


def test_each_method_measures_the_probe_of_its_features() -> None:
    for name, arm in (("pixels", PIXELS), ("forward-forward", FORWARD), ("softhebb", HEBB)):
        found = list(STUDY.methods[name](context(), 0))
        assert {one.arm for one in found} == {arm}
        values = {one.measure: one.value for one in found}
        assert set(values) == ({"own", "probe"} if arm == FORWARD else {"probe"})
        assert 0.3 < values["probe"] <= 1.0
        assert [one.value for one in STUDY.methods[name](context(), 0)] == [one.value for one in found]


def test_the_probe_of_pixels_is_that_of_scikit_learn() -> None:
    splits = context().splits
    train, test = (part.inputs.flatten(1).float().numpy() / 255 for part in (splits.train, splits.test))
    scaler = StandardScaler().fit(train)
    model = LogisticRegression(C=0.1, max_iter=200).fit(scaler.transform(train), splits.train.labels.numpy())
    expected = model.score(scaler.transform(test), splits.test.labels.numpy())
    (found,) = STUDY.methods["pixels"](context(), 0)
    assert found.value == pytest.approx(expected, abs=2 / len(test))


def test_what_cannot_be_measured_is_refused() -> None:
    for given, message in (
        ({"epochs": 0}, "epochs 0 is not allowed"),
        ({"units": -1}, "units -1 is not allowed"),
        ({"channels": [4, 0]}, "channels 0 is not allowed"),
    ):
        with pytest.raises(InputError, match=message):
            STUDY.check(context(**given), list(STUDY.methods))


@pytest.mark.slow
def test_a_smoke_run_ends_with_its_page(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(STUDY, ["--smoke", "--seeds", "2", "--out", str(out), "--store", str(tmp_path / "store")]) == 0
    rows = load_rows(out)
    assert set(rows["arm"]) == {PIXELS, FORWARD, HEBB}
    page = (out / "README.md").read_text(encoding="utf-8")
    assert "own accuracy" in page
    assert "20 rectified units" in page
    assert (out / "figures" / "probes.png").stat().st_size > 3000
