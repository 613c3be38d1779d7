"""Scores and conformal p-values of a calibration, against the definition, one image at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stacked import InputError
from stacked.apps.calibration import LEAST_ERROR, SCORES, Calibration


def drawn(count: int, seed: int = 0) -> np.ndarray:
    """Errors and densities of `count` images [2, count], which depend on each other."""
    draw = np.random.default_rng(seed)
    common = draw.normal(size=count)
    return np.exp(np.stack([common + draw.normal(size=count), 0.3 * common + 2 * draw.normal(size=count) - 3]))


def by_definition(kind: str, held: np.ndarray, part: np.ndarray) -> float:
    """The p-value of one image [2]."""
    every = np.concatenate([held, part[:, None]], 1)
    if kind == "both":
        logs = np.log(every)
        scores = np.max([(row - np.mean(row)) / np.std(row) for row in logs], axis=0)
    else:
        scores = every[SCORES.index(kind)]
    return sum(score >= scores[-1] - 1e-12 for score in scores) / len(scores)


@pytest.mark.parametrize("kind", SCORES)
def test_p_values_are_those_of_the_definition(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from stacked.apps import calibration

    held, parts = drawn(40), np.concatenate([drawn(25, 1), drawn(5, 2) * 50], 1)
    whole = Calibration(kind, held).p_value(parts)
    np.testing.assert_allclose(whole, [by_definition(kind, held, part) for part in parts.T], rtol=0, atol=1e-15)
    monkeypatch.setattr(calibration, "MOST_VALUES", 100)  # two images at a time
    assert np.array_equal(Calibration(kind, held).p_value(parts), whole)
    assert Calibration(kind, held).p_value(parts[:, :0]).shape == (0,)


@pytest.mark.parametrize("kind", SCORES)
@settings(max_examples=60, deadline=None)
@given(count=st.integers(4, 30), seed=st.integers(0, 10**6), rate=st.floats(0.02, 0.9))
def test_of_images_that_are_exchanged_no_more_than_the_rate_raise_alarms(
    kind: str, count: int, seed: int, rate: float
) -> None:
    """An identity, from which the guarantee follows: let each of n + 1 images in turn be the new one."""
    every = drawn(count, seed)
    alarms = sum(
        float(Calibration(kind, np.delete(every, k, 1)).p_value(every[:, k : k + 1])[0]) <= rate for k in range(count)
    )
    assert alarms <= np.floor(rate * count + 1e-9)


def test_either_part_raises_the_alarm_of_both() -> None:
    """An error far above the usual one beside a code of low distance, and the reverse: their sum is that of normal images."""
    held = drawn(99)
    logs = np.log(held)
    mean, sd = logs.mean(1, keepdims=True), logs.std(1, keepdims=True)
    far = np.exp(mean + sd * np.array([[6.0, -6.0], [-6.0, 6.0]]))
    assert (Calibration("both", held).p_value(far) == 1 / 100).all()
    assert ((logs - mean) / sd).sum(0).max() > 1  # while the sum of both parts is 0 for these, as for a normal image


def test_the_order_of_scores_is_that_of_p_values() -> None:
    """But for the share that one image among 301 moves the mean and the standard deviation."""
    calibration, parts = Calibration("both", drawn(300)), drawn(200, 1)
    falling = calibration.p_value(parts)[np.argsort(calibration.score(parts))]
    assert np.abs(falling - np.sort(falling)[::-1]).max() < 0.02


@pytest.mark.parametrize("kind", SCORES)
def test_what_is_not_a_number_is_anomalous(kind: str) -> None:
    parts = np.array([[np.nan, 1.0, np.inf, np.nan], [1.0, np.nan, np.inf, np.nan]])
    used = {"reconstruction": [0, 2, 3], "density": [1, 2, 3], "both": [0, 1, 2, 3]}[kind]
    calibration = Calibration(kind, drawn(19))
    assert np.isinf(calibration.score(parts)[used]).all()
    assert (calibration.p_value(parts)[used] == 1 / 20).all()


def test_errors_of_zero_count_as_rounding() -> None:
    held = drawn(19)
    held[0, 0] = 0.0
    scores = Calibration("both", held).score(np.array([[0.0, LEAST_ERROR], [1.0, 1.0]]))
    assert scores[0] == scores[1]
    assert np.isfinite(scores).all()


def test_calibration_images_without_an_order_are_refused() -> None:
    held = drawn(19)
    same_error, same_density = np.stack([np.full(19, 0.1), held[1]]), np.stack([held[0], np.full(19, 0.7)])
    for kind, wrong, says in (
        ("both", held[:, :1], "at least 2 calibration images"),
        ("both", same_error, "the same error.*give score 'density'"),
        ("both", same_density, "the same density of their codes.*or score 'reconstruction'"),
        ("density", same_density, "the same density of their codes"),
        ("both", np.where(held == held.max(), np.inf, held), "not all finite"),
        ("guess", held, "score 'guess'"),
    ):
        with pytest.raises(InputError, match=says):
            Calibration(kind, wrong)
    assert Calibration("reconstruction", same_error).p_value(np.array([[0.1, 0.2], [1.0, 1.0]])).tolist() == [1.0, 0.05]
    assert Calibration("density", held[:, :1]).p_value(held[:, :1] * 2).tolist() == [0.5]
