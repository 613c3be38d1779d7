"""Verdicts on a paper's claims, by fixed rules, on made-up rows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import isnan, nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stacked.spec import RunSpec
from stacked.util.errors import InputError
from stacked.util.serialization import to_json
from studies.design.claims import Claim
from studies.report import headline, write_report
from studies.report.verdicts import check_claim, check_claims, claims_table, comparisons_table, holm, with_references

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
    return check_claim(with_references(rows, REFERENCE), claim).verdict


def told(rows: pd.DataFrame, claim: Claim) -> tuple[str, str, str]:
    found = check_claim(rows, claim)
    return found.verdict, found.here, found.seeds


def test_the_interval_is_students() -> None:
    assert stats.t.interval(0.95, 2, 5.0, 1 / sqrt(3)) == pytest.approx((5 - HALF, 5 + HALF), rel=1e-6)


NUMBER = Claim("t", "a", SSE, "3.00")
EFFECT = Claim("t", "a", SSE, against="b")


@pytest.mark.parametrize("given", [{}, {"paper": "3", "against": "b"}, {"against": "b", "stays_at": "pca"}])
def test_a_claim_says_one_thing(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="give exactly one"):
        Claim("t", "a", SSE, **given)


@pytest.mark.parametrize(("side", "name"), [(1, "higher"), (-1, "lower")])
def test_a_number_is_reproduced_where_the_interval_lies_within_the_margin(side: int, name: str) -> None:
    """5 % of 3.00 are 0.15: an interval of half width 0.05 fits where its middle is 0.1 away, and is outside beyond 0.2."""
    rows = {away: rows_of(a=around(3.0 + side * away, 0.05 / HALF)) for away in (0.0, 0.0999, 0.1001, 0.1999, 0.2001)}
    assert verdict(rows[0.0], NUMBER) == verdict(rows[0.0999], NUMBER) == "reproduced"
    assert verdict(rows[0.1001], NUMBER) == verdict(rows[0.1999], NUMBER) == "undecided (more seeds)"
    assert verdict(rows[0.2001], NUMBER) == f"different ({name})"
    assert check_claim(rows[0.0], NUMBER).margin == "±0.15"
    own = replace(NUMBER, plus_minus="0.25")  # the paper's own
    assert verdict(rows[0.1999], own) == "reproduced"
    assert verdict(rows[0.2001], own) == "undecided (more seeds)"
    assert check_claim(rows[0.0], own).margin == "±0.25"


def test_an_effect_may_be_of_two_metrics_of_one_arm() -> None:
    """As of two layers: the differences are paired by seed, and the other metric is named."""
    rows = rows_of(ACC, a=[0.80, 0.84, 0.81]).assign(**{"final/svm_acc": [0.60, 0.65, 0.62]})
    claim = Claim("t", "a", ACC, against="a", against_metric="final/svm_acc", higher=True)
    found = check_claim(rows, claim)
    assert found.p == pytest.approx(stats.ttest_rel(rows[ACC], rows["final/svm_acc"]).pvalue)
    assert (found.verdict, found.seeds) == ("reproduced", "3")
    assert found.here.startswith("a minus a (linear SVM accuracy): +19.33 (")
    turned = replace(claim, metric="final/svm_acc", against_metric=ACC)
    assert verdict(rows, turned) == "not reproduced"
    assert verdict(rows, replace(claim, against_metric="final/kmeans_acc")) == "not tested here"
    assert "a is higher than a (linear SVM accuracy)" in comparisons_table(rows, {}, [claim])
    with pytest.raises(InputError, match="has against_metric 'final/svm_acc' and no arm to compare with: give against"):
        Claim("t", "a", ACC, "80", against_metric="final/svm_acc")


def test_more_seeds_do_not_make_a_verdict_rarer() -> None:
    """A value near the paper's but not at it stays reproduced however narrow the interval is."""
    for sd in (0.05, 0.01, 1e-3, 1e-9):
        assert verdict(rows_of(a=around(3.1, sd / HALF)), NUMBER) == "reproduced"


def test_the_margin_of_an_accuracy_is_that_of_its_test_set() -> None:
    """97.5 % of 10,000 images are uncertain by 1.96 * sqrt(0.975 * 0.025 / 10,000) = 0.306 points."""
    claim = Claim("t", "a", ACC, "97.5")
    assert verdict(rows_of(ACC, a=around(0.9780, 1e-6)), claim) == "reproduced"
    assert verdict(rows_of(ACC, a=around(0.9782, 1e-6)), claim) == "different (higher)"
    assert verdict(rows_of(ACC, a=around(0.9782, 1e-6)), replace(claim, images=5_000)) == "reproduced"
    found = check_claim(rows_of(ACC, a=around(0.9757, 1e-5)), claim)
    assert (found.here, found.margin) == ("97.57 % (97.57 % to 97.57 %)", "±0.31 points")


def test_one_seed_tests_no_number_and_no_effect() -> None:
    few, rows = "not tested here (too few seeds)", with_references(rows_of(a=[3.0], b=[9.0]), REFERENCE)
    assert told(rows, NUMBER) == (few, "3.00 (no interval)", "1")
    assert told(rows, EFFECT) == (few, "a minus b: −6.00 (no interval)", "1")
    assert check_claim(rows, replace(NUMBER, paper="", against="pca")).verdict == few
    assert check_claim(rows, Claim("t", "pca", SSE, "13.87")).verdict == "reproduced"
    apart = rows_of(a=[3.0, None], b=[None, 9.0])  # no seed in common
    assert told(apart, EFFECT)[::2] == (few, "0")


def test_equal_differences_leave_nothing_to_test_an_effect_by() -> None:
    """Their spread is rounding, and no p-value follows from it: only the sign is as claimed."""
    rows = rows_of(a=[1.0, 2.0, 3.0], b=[2.0, 3.0, 4.0])
    assert verdict(rows, EFFECT) == "direction only"
    assert verdict(rows, replace(EFFECT, higher=True)) == "not reproduced"


def test_what_no_seed_changes_needs_no_interval_and_agrees_in_all_digits() -> None:
    rows = with_references(rows_of(a=[9.0, 9.5]), REFERENCE)
    assert told(rows, Claim("t", "pca", SSE, "13.87")) == ("reproduced", "13.87", "exact")
    assert told(rows, Claim("t", "mean image", SSE, "52.90")) == ("reproduced", "52.90", "exact")
    assert check_claim(rows, Claim("t", "pca", SSE, "13.86")).verdict == "different (higher)"
    assert check_claim(rows, Claim("t", "pca", SSE, "13.88")).verdict == "different (lower)"
    assert check_claim(rows, Claim("t", "pca", MSE, "0.02")).verdict == "reproduced"
    assert check_claim(rows, Claim("t", "pca", SSE, against="mean image")).verdict == "reproduced"
    assert check_claim(rows, Claim("t", "mean image", SSE, against="pca")).verdict == "not reproduced"
    assert check_claim(rows, Claim("t", "mean image", SSE, against="pca", higher=True)).verdict == "reproduced"


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
    assert of(1.001 / HALF) == "direction only"  # the interval reaches 0
    assert of(0.999 / HALF, mean=-1.0) == "not reproduced"  # and this is the other side


def test_holms_correction_counts_the_effects_of_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, nan, 0.6])[::2] == [1.0, 1.0]
    assert isnan(holm([0.5, nan, 0.6])[1])
    assert holm([]) == []
    base = np.array([5.0, 50.0, 500.0])
    nearly = base + np.array([-1.0, 0.0, 1.0]) * 0.999 / HALF - 1.0  # p just below 0.05
    rows = rows_of(a=list(nearly), b=list(base), c=list(base + 10 + np.array([0.0, 0.1, 0.2])))
    two = [EFFECT, Claim("t", "c", SSE, against="b", higher=True)]
    assert [one.verdict for one in check_claims(rows, two)] == ["reproduced", "reproduced"]
    assert [one.verdict for one in check_claims(rows, [*two, EFFECT])] == [
        "direction only",
        "reproduced",
        "direction only",
    ]


def test_every_tested_claim_counts_in_holms_correction_whatever_its_kind_and_sign() -> None:
    base = np.array([5.0, 50.0, 500.0])
    nearly = base + np.array([-1.0, 0.0, 1.0]) * 0.999 / HALF - 1.0  # p just below 0.05
    rows = with_references(rows_of(a=list(nearly), b=list(base), c=around(3.0, 0.149 / HALF)), REFERENCE)
    near = replace(NUMBER, arm="c")  # p just below 0.05, too: the interval is nearly as wide as the margin
    for alone in (EFFECT, near):
        assert [one.verdict for one in check_claims(rows, [alone])] == ["reproduced"]
    assert [one.verdict for one in check_claims(rows, [EFFECT, near])] == ["direction only", "undecided (more seeds)"]
    # the claim that a is higher than b is wrong in sign, and was tested all the same
    wrong = replace(EFFECT, higher=True)
    assert [one.verdict for one in check_claims(rows, [EFFECT, wrong])] == ["direction only", "not reproduced"]
    untested = [replace(EFFECT, arm="d"), Claim("t", "pca", SSE, "13.87")]  # no such arm, and nothing to test
    found = check_claims(rows, [EFFECT, *untested])
    assert [one.verdict for one in found] == ["reproduced", "not tested here", "reproduced"]
    assert found[0].corrected == found[0].p < 0.05
    assert [isnan(one.p) for one in found] == [False, True, True]


def test_p_of_a_number_is_that_of_schuirmanns_tests() -> None:
    """By scipy's one-sample t-test: of the mean against the two ends of the margin, one-sided, twice the larger p."""
    values = np.array([2.95, 3.02, 3.11, 3.07])
    ends = [stats.ttest_1samp(values, 2.85, alternative="greater"), stats.ttest_1samp(values, 3.15, alternative="less")]
    found = check_claim(rows_of(a=list(values)), NUMBER)
    assert found.p == found.corrected == pytest.approx(2 * max(one.pvalue for one in ends))
    assert found.p == pytest.approx(0.04707, abs=5e-6)
    assert found.verdict == "reproduced"
    above = check_claim(rows_of(a=list(values + 0.3)), NUMBER)
    other = stats.ttest_1samp(values + 0.3, 3.15, alternative="greater")
    assert above.p == pytest.approx(2 * other.pvalue)
    assert (above.verdict, above.p < 0.05) == ("different (higher)", True)


def test_p_of_a_value_that_no_seed_changes_is_0() -> None:
    for value in (3.1, 3.2):
        assert check_claim(rows_of(a=[value] * 3), NUMBER).p == pytest.approx(0, abs=1e-20)


def test_the_verdict_reproduced_becomes_more_frequent_with_seeds() -> None:
    """A true difference of half the margin, seeds with a spread of twice the margin, 100 draws of each number of seeds."""
    drawn = np.random.default_rng(0).normal(3.0 + 0.075, 0.3, (100, 300))

    def share(n: int, verdict_: str = "reproduced", shift: float = 0.0) -> float:
        found = [check_claim(rows_of(a=list(values[:n] + shift)), NUMBER).verdict for values in drawn]
        return found.count(verdict_) / len(found)

    shares = [share(n) for n in (5, 100, 300)]
    assert shares == sorted(shares)
    assert shares[0] < 0.05
    assert shares[-1] > 0.95
    # at the edge of the margin, where "reproduced" is an error, it has its level: 2.5 % on this side
    assert share(300, shift=0.075) < 0.05
    assert share(300, "different (higher)", 0.075) < 0.05
    # and beyond it the other verdict becomes the frequent one
    assert share(300, "different (higher)", 0.225) > 0.95


def test_error_rates_are_those_of_the_accuracies() -> None:
    """98.8 % right are 1.2 % wrong, uncertain by 1.96 * sqrt(0.012 * 0.988 / 10,000) = 0.213 points."""
    claim = Claim("t", "a", "final/classifier_error_all", "1.20")
    rows = with_references(rows_of("final/classifier_acc_all", a=[0.9881, 0.9882, 0.9883]), REFERENCE)
    found = check_claim(rows, claim)
    assert (found.verdict, found.here, found.margin) == ("reproduced", "1.18 % (1.16 % to 1.20 %)", "±0.21 points")
    higher = rows_of("final/classifier_acc_all", a=[0.9849, 0.9850, 0.9851])
    assert check_claim(with_references(higher, {}), claim).verdict == "different (higher)"
    assert check_claim(with_references(higher, {}), replace(claim, images=2_000)).verdict == "reproduced"
    assert "| t (classifier error, all labels) | 1.20 % |" in claims_table(higher, {}, [claim])


def test_an_arm_stays_where_its_whole_interval_lies_within_the_margin() -> None:
    """Two percent of 52.9 are 1.058."""
    claim = Claim("t", "a", SSE, stays_at="mean image")
    assert verdict(rows_of(a=around(52.0, 0.157 / HALF)), claim) == "reproduced"
    assert verdict(rows_of(a=around(52.0, 0.159 / HALF)), claim) == "undecided (more seeds)"
    assert verdict(rows_of(a=around(53.8, 0.157 / HALF)), claim) == "reproduced"
    assert verdict(rows_of(a=around(53.8, 0.159 / HALF)), claim) == "undecided (more seeds)"
    assert verdict(rows_of(a=around(52.0, 0.159 / HALF)), replace(claim, margin=0.021)) == "reproduced"
    assert verdict(rows_of(a=around(51.0, 0.1 / HALF)), claim) == "not reproduced"
    assert verdict(rows_of(a=[52.0] * 3), claim) == "reproduced"  # the same in every seed
    assert verdict(rows_of(a=[51.0] * 3), claim) == "not reproduced"
    assert verdict(rows_of(a=[52.0]), claim) == "not tested here (too few seeds)"
    assert "| a equal to mean image |" in claims_table(rows_of(a=[52.0] * 3), REFERENCE, [claim])


@pytest.mark.parametrize(("name", "limit"), [("digits", None), ("mnist", 100)])
def test_runs_on_other_data_or_on_a_part_of_it_test_nothing(name: str, limit: int | None) -> None:
    rows = rows_of(a=around(3.0, 0.01))

    def on(name: str, limit: int | None) -> str:
        return verdict(rows.assign(spec=json.dumps({"data": {"name": name, "limit": limit}})), NUMBER)

    assert on(name, limit) == "not tested here (other data)"
    assert on("mnist", None) == "reproduced"


def test_a_record_shows_the_claims_on_its_data_and_all_where_there_are_none() -> None:
    rows = rows_of(a=around(3.0, 0.01)).assign(spec=json.dumps({"data": {"name": "mnist-rot", "limit": None}}))
    claims = [Claim("on rot", "a", SSE, "3.00", data="mnist-rot"), Claim("on basic", "a", SSE, "3.00")]
    shown = claims_table(rows, {}, claims)
    assert "on rot" in shown
    assert "on basic" not in shown
    assert claims_table(rows, {}, claims[1:]).count("not tested here (other data)") == 1


def test_effects_are_paired_by_the_seeds_that_both_finished() -> None:
    rows = rows_of(a=[1.0, 2.0, None, 9.0], b=[2.0, 3.1, 0.0, None])
    assert check_claim(rows, EFFECT).seeds == "2"
    assert check_claim(rows, EFFECT).here.startswith("a minus b: −1.05 (")
    assert check_claim(rows, EFFECT).p == pytest.approx(stats.ttest_rel([1.0, 2.0], [2.0, 3.1]).pvalue)


def test_an_effect_against_a_reference_is_that_of_a_constant() -> None:
    claim = Claim("t", "a", SSE, against="pca")
    assert verdict(rows_of(a=around(13.0, 0.1)), claim) == "reproduced"
    assert verdict(rows_of(a=around(13.0, 1.0)), claim) == "direction only"
    assert verdict(rows_of(a=around(14.0, 0.1)), claim) == "not reproduced"
    assert verdict(rows_of(a=around(13.0, 0.1)), replace(claim, against="mean image")) == "reproduced"


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
    assert told(with_references(rows, REFERENCE), claim) == ("not tested here", "–", "–")


def test_without_references_their_claims_were_not_tested() -> None:
    rows = with_references(rows_of(a=[1.0, 2.0]), {})
    assert check_claim(rows, Claim("t", "pca", SSE, "13.87")).verdict == "not tested here"


def test_the_table_shows_paper_here_and_verdict() -> None:
    rows = rows_of(a=around(4.0, 0.1), b=around(9.0, 0.1))
    claims = (
        Claim("deep", "a", SSE, "3.00", differs="other data"),
        Claim("deep is better", "a", SSE, against="pca"),
        Claim("a before b", "a", SSE, against="b"),
        Claim("b above a", "b", SSE, against="a", higher=True),
        Claim("PCA", "pca", SSE, "13.87"),
        Claim("unheard of", "c", SSE, "1.0"),
    )
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in claims_table(rows, REFERENCE, claims).splitlines()
        if line.startswith("|")
    ]
    assert lines[0] == [
        *("claim", "paper", "margin", "here (95 % interval)", "seeds"),
        *("p", "p, Holm", "verdict", "what differs"),
    ]
    cells = {line[0].partition(" (")[0]: line[1:] for line in lines[2:]}
    assert len(cells) == 6
    p, corrected = "0.005", "0.005"
    assert cells["deep"] == [
        *("3.00", "±0.15", "4.00 (3.75 to 4.25)", "3"),
        *(p, corrected, "**different (higher)**", "other data"),
    ]
    assert cells["deep is better"][2:6] == ["a minus PCA: −9.87 (−10.11 to −9.62)", "3", "< 0.001", "< 0.001"]
    assert cells["deep is better"][6] == "**reproduced**"
    assert cells["a before b"] == [
        "a lower than b",
        "–",
        "a minus b: −5.00 (no interval)",
        "3",
        *("–", "–"),
        "**direction only**",
        "–",
    ]
    assert cells["b above a"][0] == "b higher than a"
    assert cells["PCA"][2:] == ["13.87", "exact", "–", "–", "**reproduced**", "–"]
    assert cells["unheard of"] == ["1.0", "–", "–", "–", "–", "–", "**not tested here**", "–"]
    assert "test squared error per image" in lines[2][0]
    assert "Holm" in claims_table(rows, REFERENCE, claims)
    assert claims_table(rows, REFERENCE, ()) == ""


def test_our_own_comparisons_say_what_they_leave_possible() -> None:
    base = np.array([4.0, 4.1, 4.2])
    rows = rows_of(
        a=list(base),
        b=list(base + 5 + np.array([-0.1, 0.0, 0.1])),
        c=list(base + np.array([-0.01, 0.0, 0.011])),
        d=list(base + np.array([-1.0, 0.0, 1.1])),
    )
    claims = [Claim(f"a and {other}", "a", SSE, against=other) for other in ("b", "c", "d", "e")]
    lines = [line.split("|") for line in comparisons_table(rows, REFERENCE, claims).splitlines()[2:]]
    found = [line[6].strip() for line in lines]
    assert found[:2] == ["a is lower than b", "equal within 5 %"]
    assert re.fullmatch(
        r"no difference was shown, a difference of −\d\d\.\d % to \+\d\d\.\d % of d is possible", found[2]
    )
    assert found[3] == "not tested here"
    turned = comparisons_table(rows, REFERENCE, [Claim("b and a", "b", SSE, against="a")])
    assert turned.splitlines()[2].split("|")[4:7] == [" < 0.001 ", " < 0.001 ", " b is higher than a "]
    assert comparisons_table(rows, REFERENCE, ()) == ""


@pytest.mark.parametrize(
    ("name", "limit", "finding"),
    [
        ("mnist", 2000, "a is lower than b"),
        ("mnist-rot", None, "not tested here (other data)"),
    ],
)
def test_a_comparison_may_be_on_a_part_of_its_data(name: str, limit: int | None, finding: str) -> None:
    rows = rows_of(a=around(3.0, 0.01), b=around(9.0, 0.02))
    rows = rows.assign(spec=json.dumps({"data": {"name": name, "limit": limit}}))
    claims = [Claim("a and b", "a", SSE, against="b")]
    assert comparisons_table(rows, REFERENCE, claims).splitlines()[-1].split("|")[-2].strip() == finding
    assert check_claims(with_references(rows, REFERENCE), claims)[0].verdict == "not tested here (other data)"


@pytest.mark.parametrize(("name", "limit"), [("mnist", 2000), ("mnist-rot", None), ("folder:photos", None)])
def test_a_comparison_without_a_dataset_is_made_on_any(name: str, limit: int | None) -> None:
    rows = rows_of(a=around(3.0, 0.01), b=around(9.0, 0.02))
    rows = rows.assign(spec=json.dumps({"data": {"name": name, "limit": limit}}))
    claims = [
        Claim("a and b", "a", SSE, against="b", data=""),
        Claim("on another", "a", SSE, against="b", data="digits"),
    ]
    lines = comparisons_table(rows, REFERENCE, claims).splitlines()
    assert lines[2].split("|")[-2].strip() == "a is lower than b"
    assert len(lines) == 3


def test_claims_stand_in_the_report_and_in_the_projects_readme(tmp_path: Path) -> None:
    rows = rows_of(a=around(4.0, 0.1), b=[9.0, 8.0, 9.5])
    specs = [RunSpec(seed=seed) for seed in rows["seed"]]
    said = {"run": [spec.id for spec in specs], "spec": [to_json(spec) for spec in specs]}
    rows.assign(updates=5, gflop=1.0, **said).to_csv(tmp_path / "runs.csv", index=False)
    claims = [Claim("a before b", "a", SSE, against="b")]
    more: dict[str, Any] = {"title": "T", "question": "Q?", "command": "c", "protocol": "p", "reference": "b"}
    write_report(tmp_path, **more, claims=claims)
    for text in ((tmp_path / "README.md").read_text(), headline(tmp_path, tmp_path, "b", claims)):
        assert "| a before b (test squared error per image) | a lower than b |" in text
        assert "**reproduced**" in text
