"""Claims on data that are our own draw: no number is compared, and an effect is "direction only" at best."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import pandas as pd

from studies.design.claims import Claim
from studies.report.verdicts import RULE_OF_OWN_DRAW, check_claim, check_claims, claims_table, rules, with_references

SSE = "final/recon_sse"
REFERENCE = {"pca_mse": 0.02, "pca_sse": 13.8664, "mean_mse": 0.07, "mean_sse": 52.9}
NUMBER = Claim("t", "a", SSE, "3.00", own_draw=True)
EFFECT = Claim("t", "a", SSE, against="b", own_draw=True)
STAYS = Claim("t", "a", SSE, stays_at="mean image", own_draw=True)


def rows_of(**arms: list[float]) -> pd.DataFrame:
    """A row of an arm for each seed."""
    return pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "status": "finished", SSE: value}
            for arm, values in arms.items()
            for seed, value in enumerate(values)
        ]
    )


def around(mean: float, sd: float) -> list[float]:
    """Three values of this mean and standard deviation."""
    return [mean - sd, mean, mean + sd]


def test_a_number_is_shown_and_not_compared() -> None:
    rows = with_references(rows_of(a=around(3.0, 0.01)), REFERENCE)
    found = check_claim(rows, NUMBER)
    assert (found.verdict, found.margin) == ("not tested here (our own draw of the data)", "–")
    assert (found.here, found.seeds) == ("3.00 (2.98 to 3.02)", "3")
    assert check_claim(rows, replace(NUMBER, own_draw=False)).verdict == "reproduced"
    of_pca = replace(NUMBER, arm="pca", paper="13.87")
    assert check_claim(rows, of_pca).verdict == "not tested here (our own draw of the data)"
    assert check_claim(rows, of_pca).here == "13.87"


def test_an_effect_has_its_direction_at_best() -> None:
    rows = with_references(rows_of(a=[3.0, 3.1, 3.2], b=[9.0, 9.2, 9.1]), REFERENCE)
    assert check_claim(rows, replace(EFFECT, own_draw=False)).verdict == "reproduced"
    assert check_claim(rows, EFFECT).verdict == "direction only"
    assert check_claim(rows, replace(EFFECT, higher=True)).verdict == "not reproduced"
    assert check_claim(rows, Claim("t", "pca", SSE, against="mean image", own_draw=True)).verdict == "direction only"


def test_an_arm_that_stays_at_a_reference_has_the_direction_at_best() -> None:
    for value, verdict in ((52.9, "direction only"), (40.0, "not reproduced"), (51.9, "undecided (more seeds)")):
        rows = with_references(rows_of(a=around(value, 0.2)), REFERENCE)
        assert check_claim(rows, STAYS).verdict == verdict


def test_only_effects_count_in_holms_correction() -> None:
    rows = with_references(rows_of(a=[3.0, 3.5, 3.2], b=[9.0, 9.2, 9.1]), REFERENCE)
    number, effect, other = check_claims(rows, [NUMBER, EFFECT, replace(EFFECT, higher=True)])
    assert isnan(number.p)
    assert effect.corrected == 2 * effect.p
    assert other.corrected == 2 * other.p


def test_the_rule_stands_below_tables_that_need_it() -> None:
    rows = rows_of(a=around(3.0, 0.01))
    assert claims_table(rows, REFERENCE, [NUMBER]).endswith(RULE_OF_OWN_DRAW)
    assert RULE_OF_OWN_DRAW not in claims_table(rows, REFERENCE, [replace(NUMBER, own_draw=False)])
    assert rules("Rules.", []) == "Rules."
