"""Groups of runs in the colours of the runs: the page's own palette, and names by which it picks from it."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from stacked.spec.growth import POLICIES
from stacked.viewing.group_colours import PALETTE, group_tags, grouped, page_colour
from studies.figures.style import arm_colours

WANTED = arm_colours(["greedy", "greedy+finetune", "joint", "random"])


def test_the_palette_is_that_of_the_page() -> None:
    """MLflow does not document it: if this fails, take the new one from its page, or groups have other colours than runs."""
    scripts = (Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js").glob("main.*.js")
    listed = ",".join(f'"{colour}"' for colour in PALETTE)
    assert any(f"[{listed}]" in script.read_text(encoding="utf-8") for script in scripts)


@pytest.mark.parametrize("arms", [list(WANTED), list(POLICIES)[: len(PALETTE)]])
def test_groups_have_names_of_their_arms_and_colours_of_their_own(arms: list[str]) -> None:
    found = grouped(arm_colours(arms))
    assert list(found) == arms
    for arm, (group, colour) in found.items():
        assert group.rstrip() == arm
        assert page_colour(group) == colour
    assert len({colour for _, colour in found.values()}) == len(arms)


def test_colours_are_near_those_of_figures() -> None:
    assert {arm: colour for arm, (_, colour) in grouped(WANTED).items()} == {
        "greedy": "#04867d",
        "greedy+finetune": "#137dae",
        "joint": "#be501e",
        "random": "#8396a5",
    }
    assert group_tags(WANTED)["joint"] == {"group": "joint" + 6 * " ", "mlflow.runColor": "#be501e"}


def test_more_arms_than_the_page_has_colours_share_them() -> None:
    many = {f"arm {number}": "#0072B2" for number in range(2 * len(PALETTE))}
    colours = [colour for _, colour in grouped(many).values()]
    assert set(colours[: len(PALETTE)]) == set(PALETTE)
    assert set(colours[len(PALETTE) :]) == {colours[0]}
    found = grouped(arm_colours(list(POLICIES)))
    assert list(found) == list(POLICIES)
    assert len(POLICIES) > len(PALETTE) == len({colour for _, colour in found.values()})
    assert all(group.rstrip() == arm and page_colour(group) == colour for arm, (group, colour) in found.items())
