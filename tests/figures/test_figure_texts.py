"""What figures say of themselves, and what is left out of an axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from studies.applications.denoising.figures import draw_levels
from studies.figures.figures import Record, explain
from studies.figures.panels import reconstructing
from studies.figures.scales import accuracy_axis
from studies.figures.style import new_figure, seeds_of
from studies.papers.lesson import STUDY as LESSON
from studies.pretraining.policies_figures import BLACK, OTHER, colour


def rows(seeds: int) -> pd.DataFrame:
    values = {"greedy": 0.01, "joint": 0.02, "random": 0.3}
    return pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "status": "finished", "final/recon_mse": mse}
            for arm, mse in values.items()
            for seed in range(seeds)
        ]
    )


@pytest.mark.parametrize(
    ("counts", "text"),
    [([1], "a single seed"), ([5, 5], "n = 5 seeds"), ([3, 5], "n = 3 to 5 seeds"), ([1, 2], "n = 1 to 2 seeds")],
)
def test_seeds_are_counted(counts: list[int], text: str) -> None:
    assert seeds_of(counts) == text


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        (1, "a single seed: no interval; dashed: pixels"),
        (2, "mean over n = 2 seeds; small dots: single seeds; dashed: pixels"),
        (3, "mean over n = 3 seeds; bars: 95 % t interval of the mean; small dots: single seeds; dashed: pixels"),
    ],
)
def test_bars_are_named_where_there_are_any(seeds: int, text: str) -> None:
    figure = new_figure(2.0)
    explain(figure, Record(rows(seeds)), "small dots: single seeds", "dashed: pixels")
    assert figure._supxlabel.get_text() == text


def test_arms_that_are_not_better_than_the_mean_image_are_left_out_of_the_axis() -> None:
    arms = ["greedy", "joint", "random"]
    assert reconstructing(Record(rows(3)), arms) == arms  # its error is not known
    assert reconstructing(Record(rows(3), reference={"mean_mse": 0.07}), arms) == ["greedy", "joint"]
    assert reconstructing(Record(rows(3), reference={"mean_mse": 0.001}), arms) == arms


@pytest.mark.parametrize("side", ["x", "y"])
@pytest.mark.parametrize("values", [(70, 98.1), (60, 99.9), (85, 96), (97, 99.99)])
def test_ticks_of_accuracies_are_round_and_apart(side: str, values: tuple[float, float]) -> None:
    axes = new_figure(2.0).subplots()
    accuracy_axis(axes, np.array(values), side)  # type: ignore[arg-type]
    ticks = getattr(axes, f"get_{side}ticks")()
    low, high = getattr(axes, f"get_{side}lim")()
    places = (np.log10(100 - low) - np.log10(100 - ticks)) / (np.log10(100 - low) - np.log10(100 - high))
    assert len(ticks) >= 3
    assert np.diff(places).min() >= (0.06 if side == "y" else 0.12) - 1e-9
    assert {f"{100 - tick:.5g}".strip("0.")[:1] for tick in ticks} <= set("123457")


def test_an_axis_of_accuracies_down_to_guessing_has_a_tick_there() -> None:
    axes = new_figure(3.0).subplots()
    accuracy_axis(axes, np.array([9.8, 92.0]))
    ticks = [float(tick) for tick in axes.get_yticks()]
    assert ticks[:3] == [10, 30, 50]
    assert len(ticks) >= 8


def test_a_policy_of_ones_own_has_a_colour_that_is_not_the_references() -> None:
    assert colour("joint") == BLACK
    assert colour("alternate+finetune") == OTHER != BLACK


def test_the_lesson_compares_two_arms_that_differ_in_pretraining_alone() -> None:
    given = LESSON.given([])
    without, pretrained = (arm.spec(given.base) for arm in LESSON.arms)
    assert (without.policy, pretrained.policy) == ("joint", "greedy+finetune")
    assert without.optimisation == pretrained.optimisation
    assert without.stack == pretrained.stack
    assert (without.optimisation.optimiser, without.optimisation.momentum, without.stack.init) == (
        "sgd",
        0.0,
        "uniform",
    )


def restored(arms: list[str], seeds: int) -> pd.DataFrame:
    """PSNR of two kinds of noise at two levels."""
    noises = [f"{kind} {level}" for kind in ("gaussian", "salt-and-pepper") for level in (0.1, 0.2)]
    return pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "condition": noise, "measure": "psnr", "value": 20.0 + place + 0.1 * seed}
            for place, arm in enumerate(arms)
            for seed in range(seeds)
            for noise in noises
        ]
    )


@pytest.mark.parametrize(
    ("alone", "seeds", "note"),
    [
        (
            True,
            3,
            "mean over n = 3 seeds; bands: 95 % t interval of the mean; dashed: no network; "
            "dotted: a network trained with Gaussian noise only",
        ),
        (True, 2, "mean over n = 2 seeds; dashed: no network; dotted: a network trained with Gaussian noise only"),
        (False, 3, "mean over n = 3 seeds; bands: 95 % t interval of the mean; dashed: no network"),
    ],
)
def test_the_figure_of_denoising_names_each_method_once_and_tells_what_lines_are(
    alone: bool, seeds: int, note: str
) -> None:
    """A network that was trained with one noise has the colour of the same network's other line, and no name of its own."""
    arms = ["layer-wise", "joint", *(["layer-wise, gaussian alone"] if alone else []), "median", "noisy"]
    figure = draw_levels(restored(arms, seeds), Path())
    assert figure is not None
    named = ["layer-wise", "joint", "median", "noisy"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == named
    assert " ".join(figure.get_supxlabel().split()) == note
    assert [axes.get_title() for axes in figure.axes] == ["gaussian", "salt-and-pepper"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["standard deviation", "fraction of pixels"]
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert {name: lines[name].get_linestyle() for name in named} == dict(
            zip(named, ["-", "-", "--", "--"], strict=True)
        )
        if alone:
            one = lines["layer-wise, gaussian alone"]
            assert (one.get_linestyle(), one.get_color()) == (":", lines["layer-wise"].get_color())
    for handle, name in zip(figure.legends[0].get_lines(), named, strict=True):
        assert handle.get_color() == lines[name].get_color()
