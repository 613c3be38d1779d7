"""Maps of two-dimensional codes: numbers that stay where they belong, and can all be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mpl_toolkits.mplot3d.proj3d import proj_transform

from studies.applications.projection import figures as projection_figures
from studies.applications.projection.study import STUDY as PROJECTION
from studies.figures.maps import draw_maps, spread_out
from studies.papers.hinton2006 import STUDY as HINTON2006

SIZE = np.array([2.0, 0.5])


def test_numbers_that_are_apart_stay_where_they_are() -> None:
    places = np.array([[0.0, 0.0], [2.1, 0.0], [0.0, 0.6], [-9.0, 4.0]])
    assert spread_out(places, SIZE) == pytest.approx(places, abs=0.01)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_numbers_that_hide_one_another_are_moved_apart_around_their_middle(n: int) -> None:
    """Also where all of them lie on one place."""
    places = np.full((n, 2), 3.0)
    moved = spread_out(places, SIZE)
    distances = np.linalg.norm((moved[:, None] - moved[None]) / SIZE, axis=2)[~np.eye(n, dtype=bool)]
    assert distances.min() > 0.9
    assert distances.max() < n
    assert moved.mean(axis=0) == pytest.approx(places.mean(axis=0), abs=0.02)


def test_every_class_has_its_number_also_where_all_codes_are_alike() -> None:
    labels = np.arange(40) % 4
    figure = draw_maps({"map": (np.zeros((40, 2)), labels)}, ("x", "y"))
    assert figure is not None
    assert {text.get_text() for text in figure.axes[0].texts} == {"0", "1", "2", "3"}


@pytest.mark.parametrize("caption", [one.drawings["maps"].caption for one in (PROJECTION, HINTON2006)])
def test_captions_tell_that_names_are_near_the_medians_because_some_are_moved(caption: str) -> None:
    assert "is near the median of its images" in caption


def test_names_of_classes_are_near_the_medians_that_a_panel_of_three_dimensions_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = np.repeat(np.arange(4), 50)
    points = np.random.default_rng(0).normal(size=(200, 3)) + 4 * np.eye(4, 3)[labels]
    monkeypatch.setattr(projection_figures, "maps_of", lambda *_: ({"joint": points}, labels, ["a", "b", "c", "d"]))
    figure = projection_figures.draw_solid(pd.DataFrame(), Path())
    assert figure is not None
    axes: Any = figure.axes[0]
    panel = np.ptp(axes.transLimits.inverted().transform([(0, 0), (1, 1)]), axis=0)
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c", "d"]
    for label, text in enumerate(axes.texts):
        seen = proj_transform(*np.median(points[labels == label], axis=0), axes.get_proj())[:2]
        assert np.abs((np.array(text.xy) - np.array(seen)) / panel).max() < 0.05
