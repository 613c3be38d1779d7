"""Groups of runs that MLflow's page draws in the same colours as the runs themselves.

A view cannot set the colour of a group. The page (MLflow 3.17) takes it from a palette, by a hash of the group's id, which holds
the value of the tag that runs are grouped by. Spaces at the end of that value, which the page does not show, change the hash:
spaces are added until the group gets the wanted colour. With another version of MLflow groups may have other colours, nothing
else.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from itertools import count

#: The tag that views group by.
GROUP_TAG = "group"
_COLOURS = (
    "a6630c c83243 b45091 8a63bf 434a93 137dae 04867d 308613 facb66 1f272d 445461 5f7281 8396a5 93320b be501e"
    " de7921 f2be88 115026 277c43 3ba65e 8ddda8 9e102c c82d4c e65b77 f792a6 0e538b 2272b4 4299e0 8acaff"
)
#: The page's colours of runs and groups without one of their own.
PALETTE = [f"#{colour}" for colour in _COLOURS.split()]


def group_tags(colours: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return for each arm the tags that put its runs into its group, and give both one colour; `colours` as in `grouped`."""
    return {arm: {GROUP_TAG: group, "mlflow.runColor": colour} for arm, (group, colour) in grouped(colours).items()}


def grouped(colours: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return for each arm (name of its group, colour) from its wanted colour (#RRGGBB).

    The colour is the nearest of the page's palette that no earlier arm has, as long as one is left; a run's own colour is
    free, and should be this one too.
    """
    found: dict[str, tuple[str, str]] = {}
    for arm, wanted in colours.items():
        used = {colour for _, colour in found.values()}
        free = [colour for colour in PALETTE if colour not in used] or PALETTE
        nearest = min(free, key=lambda colour: _distance(colour, wanted))
        names = (arm + " " * spaces for spaces in count())
        found[arm] = next(name for name in names if page_colour(name) == nearest), nearest
    return found


def page_colour(group: str) -> str:
    """Return the colour that the page gives a group of this name."""
    one = other = 0
    for character in f"tag.{GROUP_TAG}.{group}":
        one = (one + ord(character)) % 255  # UTF-16 units of the page, which are the same below U+10000
        other = (other + one) % 255
    return PALETTE[(one | other << 8) % len(PALETTE)]


def _distance(colour: str, wanted: str) -> float:
    """How different two colours look: by lightness and saturation, and by hue where both have one."""
    (hue, light, vivid), (other_hue, other_light, other_vivid) = _hls(colour), _hls(wanted)
    turn = min(abs(hue - other_hue), 1 - abs(hue - other_hue))
    return 4 * turn * min(vivid, other_vivid) + abs(light - other_light) + 0.25 * abs(vivid - other_vivid)


def _hls(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return colorsys.rgb_to_hls(red, green, blue)
