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


def standardised(logs: np.ndarray, among: np.ndarray) -> np.ndarray:
    """By the median and the 90 % quantile of the values `among`."""
    return (logs - np.median(among)) / (np.quantile(among, 0.9, method="lower") - np.median(among))


def by_definition(kind: str, held: np.ndarray, part: np.ndarray) -> float:
    """The p-value of one image [2]."""
    every = np.concatenate([held, part[:, None]], 1)
    both = np.max([standardised(row, row) for row in np.log(every)], axis=0)
    scores = both if kind == "both" else every[SCORES.index(kind)]
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


#: errors of ten images, one of which is restored far better than the others, and ordinary densities
ERRORS = np.array([0.004, 0.031, 0.035, 0.038, 0.040, 0.043, 0.047, 0.050, 0.054, 0.060])
DENSITIES = np.array([0.9, 0.5, 1.3, 0.8, 2.0, 0.7, 1.6, 1.1, 0.6, 1.0])


@pytest.mark.parametrize("copies", [1, 2])
def test_one_image_of_low_error_hides_no_anomaly(copies: int) -> None:
    """It widens a standard deviation by which noise, of higher error than all, would rank below ordinary densities."""
    for held in (np.stack([ERRORS, DENSITIES]), np.stack([DENSITIES, ERRORS])):
        jitter = np.exp(np.random.default_rng(0).normal(0, 0.01, size=(copies, *held.shape)))
        several = np.concatenate(held * jitter, 1)  # 10 or 20 images
        highest, usual = several.max(1), np.median(several, 1)
        alone = np.array([[2 * highest[0], usual[0]], [usual[1], 2 * highest[1]]])
        assert Calibration("both", several).p_value(alone).tolist() == [1 / (10 * copies + 1)] * 2


@pytest.mark.parametrize("count", [10, 19, 99])
@pytest.mark.parametrize("part", [0, 1])
def test_an_image_far_above_in_one_part_is_detected_whatever_the_other_part(count: int, part: int) -> None:
    """With one low outlier in that part, normal and exponential logarithms, at the least rate that the images support."""
    draw, detected = np.random.default_rng(count), 0
    for _ in range(200):
        logs = np.stack([draw.normal(size=count), draw.exponential(size=count)])
        logs[part, 0] = -10.0
        new = np.zeros((2, 1))
        new[part] = (6.0, 12.0)[part]  # above 99.999 % of normal images
        detected += Calibration("both", np.exp(logs)).p_value(np.exp(new))[0] <= 1 / (count + 1) + 1e-9
    assert detected >= 170


@pytest.mark.parametrize("count", [10, 20])
def test_false_alarms_of_normal_images_with_low_outliers_come_at_the_rate(count: int) -> None:
    draw, repetitions, alarms = np.random.default_rng(1), 4000, 0
    for _ in range(repetitions):
        logs = draw.normal(size=(2, count + 1))
        logs[0] -= 10 * (draw.random(count + 1) < 0.05)
        p_value = Calibration("both", np.exp(logs[:, :-1])).p_value(np.exp(logs[:, -1:]))[0]
        alarms += p_value <= 1 / (count + 1) + 1e-9
    rate = 1 / (count + 1)
    assert abs(alarms / repetitions - rate) < 3.5 * np.sqrt(rate * (1 - rate) / repetitions)


@pytest.mark.parametrize("count", [2, 3, 10, 11, 300])
@pytest.mark.parametrize("kind", SCORES)
def test_a_lower_p_value_comes_with_no_lower_score(kind: str, count: int) -> None:
    calibration, parts = Calibration(kind, drawn(count)), drawn(500, 1)
    scores, p_values = calibration.score_and_p_value(parts)
    assert np.array_equal(scores, calibration.score(parts))
    assert np.array_equal(p_values, calibration.p_value(parts))
    ordered = p_values[np.lexsort((p_values, -scores))]
    assert (np.diff(ordered) >= 0).all()


def test_scores_are_those_beside_an_image_above_all() -> None:
    held, far = drawn(40), drawn(5, 2) * 1000
    among = np.concatenate([held, np.full((2, 1), 1e9)], 1)
    logs = [standardised(np.log(part), np.log(other)) for part, other in zip(far, among, strict=True)]
    np.testing.assert_allclose(Calibration("both", held).score(far), np.maximum(*logs), rtol=1e-12)


def test_copies_of_one_image_leave_a_scale() -> None:
    """Most values are equal, so that the quantile is the median."""
    held = drawn(20)
    held[:, :15] = held[:, :1]
    calibration = Calibration("both", held)
    scores, p_values = calibration.score_and_p_value(np.concatenate([held[:, :1], held.max(1)[:, None] * 100], 1))
    assert np.isfinite(scores).all()
    assert p_values.tolist()[1] == 1 / 21
    assert p_values[0] > 0.5


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
