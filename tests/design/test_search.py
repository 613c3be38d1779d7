"""Search spaces of tuning: what ranges draw, their edges, the ranges around a value, and the points of trials."""

from __future__ import annotations

from studies.design.search import Among, LogRange, Times, refined, sobol_points
from studies.statistics.trials import edges


def test_ranges_hold_what_they_draw() -> None:
    rate, factor, size = LogRange(1e-3, 1e-1), Times(0.25, 8.0), Among((16, 32, 64))
    assert (rate.at(0.0), rate.at(0.5), rate.at(1.0)) == (0.001, 0.01, 0.1)
    assert rate.at(0.123) == float(f"{rate.at(0.123):.3g}")
    assert factor.of(3.0) == LogRange(0.75, 24.0)
    assert [size.at(place) for place in (0.0, 0.34, 0.999, 1.0)] == [16, 32, 64, 64]
    assert [rate.edge(value) for value in (0.001, 0.0012, 0.01, 0.09)] == ["low", "low", "", "high"]
    assert [size.edge(value) for value in (16, 32, 64)] == ["low", "", "high"]
    assert Among(("cosine", "onecycle")).edge("cosine") == ""
    assert edges({"a.rate": rate, "a.size": size}, {"a.rate": 0.01, "a.size": 16, "gone": 1}) == {"a.size": "low"}


def test_ranges_around_a_value_are_narrower_and_extend_beyond_the_edge() -> None:
    rate, size = LogRange(1e-3, 1e-1), Among((8, 16, 64))
    assert rate.around(0.01) == LogRange(0.00316, 0.0316)
    assert rate.around(0.1) == LogRange(0.0316, 0.316)
    assert [size.around(value) for value in (8, 16, 64)] == [
        Among((4, 8, 16)),
        Among((8, 16, 64)),
        Among((16, 64, 256)),
    ]
    assert Among((1, 2)).around(1) == Among((1, 2))  # a batch has an image at least
    assert Among((0.0, 0.1)).around(0.0) == Among((0.0, 0.1))
    assert Among((0.1, 0.2)).around(0.2) == Among((0.1, 0.2, 0.4))
    names = Among(("cosine", "onecycle"))
    assert names.around("cosine") == names.joined(names) == names
    assert rate.joined(rate.around(0.1)) == LogRange(0.001, 0.316)
    assert size.joined(size.around(8)) == Among((4, 8, 16, 64))
    assert refined({"a": rate, "b": size}, {"a": 0.1, "b": 16}) == {"a": LogRange(0.0316, 0.316), "b": size.around(16)}


def test_places_are_the_same_whenever_and_however_many_are_drawn() -> None:
    first, longer = sobol_points(["a", "b"], 4, 7), sobol_points(["a", "b"], 9, 7)
    assert longer[:4] == first
    assert sobol_points(["a", "b"], 4, 8) != first
    assert all(0 <= place <= 1 for point in longer for place in point.values())
    # a Sobol sequence: each quarter of each range is met by a quarter of 8 points
    for name in ("a", "b"):
        assert sorted(int(4 * point[name]) for point in sobol_points(["a", "b"], 8, 7)) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sobol_points([], 2, 7) == [{}, {}]
