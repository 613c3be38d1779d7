"""Verdicts on a paper's claims, by fixed rules, on made-up rows."""

from __future__ import annotations

import json
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stacked.plain import to_json
from stacked.spec import RunSpec
from studies.claims import Claim
from studies.report import headline, write_report
from studies.report.claims import claims_table, judged, with_references

MSE, SSE, ACC = "final/recon_mse", "final/recon_sse", "final/probe_acc"
REFERENCE = {"pca_mse": 0.02, "pca_sse": 13.8664, "mean_mse": 0.07, "mean_sse": 52.9}
#: Half the width of the 95 % interval of the mean of three values, over their standard deviation: t(2) at 97.5 % is 4.302653.
HALF = 4.302653 / sqrt(3)


def rows_of(metric: str = SSE, **arms: list[float | None]) -> pd.DataFrame:
    """A row an arm and seed; None: the run failed."""
    return pd.DataFrame(
        [
            {
                "run": f"{arm}{seed}",
                "arm": arm,
                "seed": seed,
                "status": "failed: x" if value is None else "finished",
                metric: np.nan if value is None else value,
            }
            for arm, values in arms.items()
            for seed, value in enumerate(values)
        ]
    )


def around(mean: float, sd: float) -> list[float | None]:
    """Three values of this mean and standard deviation."""
    return [mean - sd, mean, mean + sd]


def verdict(rows: pd.DataFrame, claim: Claim) -> str:
    return judged(with_references(rows, REFERENCE), claim)[0]


def test_the_interval_is_students() -> None:
    assert stats.t.interval(0.95, 2, 5.0, 1 / sqrt(3)) == pytest.approx((5 - HALF, 5 + HALF), rel=1e-6)


NUMBER = Claim("t", "a", SSE, "3.00")
EFFECT = Claim("t", "a", SSE, against="b")


@pytest.mark.parametrize("mean", [3.1, 2.9])
def test_a_number_is_reproduced_where_it_lies_in_the_interval_as_rounded(mean: float) -> None:
    """3.00 stands for 2.995 to 3.005: it is 0.095 away, and 3.000 is 0.0995 away."""
    side = "higher" if mean > 3 else "lower"
    missed = f"not reproduced ({side} than the paper's)"
    assert verdict(rows_of(a=around(mean, 0.0951 / HALF)), NUMBER) == "reproduced"
    assert verdict(rows_of(a=around(mean, 0.0949 / HALF)), NUMBER) == missed
    assert verdict(rows_of(a=around(mean, 0.0951 / HALF)), replace(NUMBER, paper="3.000")) == missed
    assert verdict(rows_of(a=around(mean, 0.0996 / HALF)), replace(NUMBER, paper="3.000")) == "reproduced"
    assert verdict(rows_of(a=around(mean, 1e-9)), replace(NUMBER, paper="3")) == "reproduced"


def test_a_number_is_in_the_unit_that_is_shown() -> None:
    """Accuracies are printed in percent."""
    claim = Claim("t", "a", ACC, "97.5", higher=True)
    assert verdict(rows_of(ACC, a=around(0.9754, 1e-5)), claim) == "reproduced"
    assert verdict(rows_of(ACC, a=around(0.9757, 1e-5)), claim) == "not reproduced (higher than the paper's)"
    assert judged(rows_of(ACC, a=around(0.9757, 1e-5)), claim)[1] == "97.57 % (97.57 % to 97.57 %)"


def test_one_seed_tests_no_number_and_no_effect() -> None:
    few, rows = "not tested here (too few seeds)", with_references(rows_of(a=[3.0], b=[9.0]), REFERENCE)
    assert judged(rows, NUMBER) == (few, "3.00 (no interval)", "1")
    assert judged(rows, EFFECT) == (few, "a minus b: −6.00 (no interval)", "1")
    assert judged(rows, replace(NUMBER, against="pca"))[0] == few
    assert judged(rows, Claim("t", "pca", SSE, "13.87"))[0] == "reproduced"
    apart = rows_of(a=[3.0, None], b=[None, 9.0])  # no seed in common
    assert judged(apart, EFFECT)[::2] == (few, "0")


def test_equal_differences_leave_nothing_to_test_an_effect_by() -> None:
    """Their spread is rounding, and no p-value follows from it."""
    assert verdict(rows_of(a=[1.0, 2.0, 3.0], b=[2.0, 3.0, 4.0]), EFFECT) == "not reproduced"


def test_what_no_seed_changes_needs_no_interval() -> None:
    rows = with_references(rows_of(a=[9.0, 9.5]), REFERENCE)
    assert judged(rows, Claim("t", "pca", SSE, "13.87")) == ("reproduced", "13.87", "exact")
    assert judged(rows, Claim("t", "mean image", SSE, "52.90")) == ("reproduced", "52.90", "exact")
    assert judged(rows, Claim("t", "pca", SSE, "13.86"))[0] == "not reproduced (higher than the paper's)"
    assert judged(rows, Claim("t", "pca", SSE, "13.88"))[0] == "not reproduced (lower than the paper's)"
    assert judged(rows, Claim("t", "pca", MSE, "0.02"))[0] == "reproduced"
    assert judged(rows, Claim("t", "pca", SSE, against="mean image"))[0] == "reproduced"
    assert judged(rows, Claim("t", "mean image", SSE, against="pca"))[0] == "not reproduced"
    assert judged(rows, Claim("t", "mean image", SSE, against="pca", higher=True))[0] == "reproduced"


def test_references_stand_beside_every_seed() -> None:
    rows = with_references(rows_of(a=[9.0, 9.5, None]), REFERENCE)
    found = rows[rows["arm"] == "pca"]
    assert list(found["seed"]) == [0, 1, 2]
    assert set(found[SSE]) == {13.8664}
    assert set(found[MSE]) == {0.02}
    assert set(rows[rows["arm"] == "mean image"][MSE]) == {0.07}
    assert len(rows_of(a=[9.0, 9.5, None])) == 3


@pytest.mark.parametrize("higher", [False, True])
def test_an_effect_is_reproduced_where_its_paired_interval_excludes_zero_on_the_claimed_side(higher: bool) -> None:
    """Differences of -1 on average: by seed, whatever the arms' own spread is."""
    base = np.array([5.0, 50.0, 500.0])
    claim = replace(EFFECT, higher=higher)
    sign = 1 if higher else -1

    def of(sd: float, mean: float = 1.0) -> str:
        differences = sign * mean + np.array([-sd, 0.0, sd])
        return verdict(rows_of(a=list(base + differences), b=list(base)), claim)

    assert of(0.999 / HALF) == "reproduced"
    assert of(1.001 / HALF) == "not reproduced"  # the interval reaches 0
    assert of(0.999 / HALF, mean=-1.0) == "not reproduced"  # and this is the other side


def test_an_arm_stays_where_its_whole_interval_lies_within_the_margin() -> None:
    """Two percent of 52.9 are 1.058."""
    claim = Claim("t", "a", SSE, stays_at="mean image")
    assert verdict(rows_of(a=around(52.0, 0.157 / HALF)), claim) == "reproduced"
    assert verdict(rows_of(a=around(52.0, 0.159 / HALF)), claim) == "not reproduced"
    assert verdict(rows_of(a=around(53.8, 0.157 / HALF)), claim) == "reproduced"
    assert verdict(rows_of(a=around(53.8, 0.159 / HALF)), claim) == "not reproduced"
    assert verdict(rows_of(a=around(52.0, 0.159 / HALF)), replace(claim, margin=0.021)) == "reproduced"
    assert verdict(rows_of(a=[52.0] * 3), claim) == "reproduced"  # the same in every seed
    assert verdict(rows_of(a=[51.0] * 3), claim) == "not reproduced"
    assert verdict(rows_of(a=[52.0]), claim) == "not tested here (too few seeds)"
    assert "| a as mean image |" in claims_table(rows_of(a=[52.0] * 3), REFERENCE, [claim])


@pytest.mark.parametrize(("name", "limit"), [("digits", None), ("mnist", 100)])
def test_runs_on_other_data_or_on_a_part_of_it_test_nothing(name: str, limit: int | None) -> None:
    rows = rows_of(a=around(3.0, 0.1))

    def on(name: str, limit: int | None) -> str:
        return verdict(rows.assign(spec=json.dumps({"data": {"name": name, "limit": limit}})), NUMBER)

    assert on(name, limit) == "not tested here (other data)"
    assert on("mnist", None) == "reproduced"


def test_effects_are_paired_by_the_seeds_that_both_finished() -> None:
    rows = rows_of(a=[1.0, 2.0, None, 9.0], b=[2.0, 3.1, 0.0, None])
    assert judged(rows, EFFECT)[2] == "2"
    assert judged(rows, EFFECT)[1].startswith("a minus b: −1.05 (")


def test_an_effect_against_a_reference_is_that_of_a_constant() -> None:
    claim = Claim("t", "a", SSE, against="pca")
    assert verdict(rows_of(a=around(13.0, 0.1)), claim) == "reproduced"
    assert verdict(rows_of(a=around(13.0, 1.0)), claim) == "not reproduced"
    assert verdict(rows_of(a=around(13.0, 0.1)), replace(claim, against="mean image")) == "reproduced"


def test_a_number_that_is_missed_may_still_have_its_direction() -> None:
    claim = Claim("t", "a", SSE, "3.00", against="pca")
    assert verdict(rows_of(a=around(3.0, 0.1)), claim) == "reproduced"
    assert verdict(rows_of(a=around(4.0, 0.1)), claim) == "direction only (higher than the paper's)"
    assert verdict(rows_of(a=around(2.0, 0.1)), claim) == "direction only (lower than the paper's)"
    assert verdict(rows_of(a=around(14.0, 0.1)), claim) == "not reproduced (higher than the paper's)"
    assert (
        verdict(rows_of(a=around(4.0, 0.1)), replace(claim, against=None)) == "not reproduced (higher than the paper's)"
    )


@pytest.mark.parametrize(
    ("rows", "claim"),
    [
        (rows_of(b=[1.0, 2.0]), NUMBER),  # no such arm
        (rows_of(a=[1.0, 2.0]), EFFECT),  # nothing to compare with
        (rows_of(MSE, a=[1.0, 2.0], b=[1.0, 2.0]), EFFECT),  # no such metric
        (rows_of(a=[None, None], b=[1.0, 2.0]), EFFECT),  # all failed
        (rows_of(a=[1.0, 2.0], b=[None, None]), EFFECT),
        (rows_of(ACC, a=[0.9, 0.8]), Claim("t", "a", ACC, against="pca", higher=True)),  # PCA was not probed
    ],
)
def test_what_was_not_measured_was_not_tested(rows: pd.DataFrame, claim: Claim) -> None:
    assert judged(with_references(rows, REFERENCE), claim) == ("not tested here", "–", "–")


def test_without_references_their_claims_were_not_tested() -> None:
    rows = with_references(rows_of(a=[1.0, 2.0]), {})
    assert judged(rows, Claim("t", "pca", SSE, "13.87"))[0] == "not tested here"


def test_the_table_shows_paper_here_and_verdict() -> None:
    rows = rows_of(a=around(4.0, 0.1), b=around(9.0, 0.1))
    claims = (
        Claim("deep is better", "a", SSE, "3.00", against="pca", differs="other data"),
        Claim("a before b", "a", SSE, against="b"),
        Claim("b above a", "b", SSE, against="a", higher=True),
        Claim("PCA", "pca", SSE, "13.87"),
        Claim("unheard of", "c", SSE, "1.0"),
    )
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in claims_table(rows, REFERENCE, claims).splitlines()
    ]
    assert lines[0] == ["claim", "paper", "here (95 % interval)", "seeds", "verdict", "what differs"]
    cells = {line[0].partition(" (")[0]: line[1:] for line in lines[2:]}
    assert len(cells) == 5
    paper, here, seeds, found, differs = cells["deep is better"]
    assert (paper, seeds, differs) == ("3.00", "3", "other data")
    assert found == "**direction only (higher than the paper's)**"
    assert here.startswith("4.00 (3.75 to 4.25); a minus pca: −9.87 (−10.11 to −9.62, p < 0.001)")
    assert cells["a before b"] == ["a lower than b", "a minus b: −5.00 (no interval)", "3", "**not reproduced**", "–"]
    assert cells["b above a"][0] == "b higher than a"
    assert cells["PCA"] == ["13.87", "13.87", "exact", "**reproduced**", "–"]
    assert cells["unheard of"] == ["1.0", "–", "–", "**not tested here**", "–"]
    assert "test squared error per image" in lines[2][0]
    assert claims_table(rows, REFERENCE, ()) == ""


def test_claims_stand_in_the_report_and_in_the_projects_readme(tmp_path: Path) -> None:
    rows = rows_of(a=around(4.0, 0.1), b=[9.0, 8.0, 9.5])
    specs = [RunSpec(seed=number) for number in range(len(rows))]
    said = {"run": [spec.id for spec in specs], "spec": [to_json(spec) for spec in specs]}
    rows.assign(updates=5, gflop=1.0, **said).to_csv(tmp_path / "runs.csv", index=False)
    claims = [Claim("a before b", "a", SSE, against="b")]
    more: dict[str, Any] = {"title": "T", "question": "Q?", "command": "c", "protocol": "p", "reference": "b"}
    write_report(tmp_path, **more, claims=claims)
    for text in ((tmp_path / "README.md").read_text(), headline(tmp_path, tmp_path, "b", claims)):
        assert "| a before b (test squared error per image) | a lower than b |" in text
        assert "**reproduced**" in text
