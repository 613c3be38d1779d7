"""What figures of studies have in common: colours of arms, labels at lines, and reproducible PNG files."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterator, Sequence
from itertools import count, cycle
from typing import TYPE_CHECKING, Any

from stacked.show.style import DPI
from stacked.show.style import FONT as FONT
from stacked.show.style import GREY as GREY
from stacked.show.style import WIDTH as WIDTH
from stacked.show.style import new_figure as new_figure
from stacked.show.style import style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008: distinguishable under the common colour-blindnesses.
ARM_COLOURS = {
    "greedy": "#009E73",
    "greedy+finetune": "#0072B2",
    "layer-wise": "#0072B2",  # name of greedy+finetune in the studies of applications
    "joint": "#D55E00",
    "random": "#8C8C8C",
}
_FURTHER = ("#CC79A7", "#E69F00", "#332288", "#56B4E9", "#999933")
#: marker of an arm -> the character that looks like it, and how much larger it is drawn to look as large as a disc
_MARKERS = {
    "o": ("●", 1.0),
    "s": ("■", 1.0),
    "^": ("▲", 1.2),
    "D": ("◆", 1.0),
    "v": ("▼", 1.2),
    "P": ("✚", 1.3),
    "X": ("✖", 1.3),
    "*": ("★", 1.6),
}
#: the characters of markers that are not filled
_OPEN = {"●": "○", "■": "□", "▲": "△", "◆": "◇", "▼": "▽"}

_LARGE = 150_000  # bytes above which a figure is reduced to 256 colours


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """Return a colour (#RRGGBB) for each arm: its fixed colour, or for other arms further colours in the order of `arms`.

    "joint, error" has the colour of "joint", because the part before the comma names the training.
    """
    further, known = _further_colours(), {arm: ARM_COLOURS.get(arm.partition(",")[0]) for arm in arms}
    return {arm: colour or next(further) for arm, colour in known.items()}


def arm_markers(arms: Sequence[str]) -> dict[str, str]:
    """Return a marker of matplotlib for each arm, different for the first eight, so that no arm is known by its colour alone."""
    return dict(zip(arms, cycle(_MARKERS), strict=False))


def look_of(marker: str, size: float = 4.0) -> dict[str, Any]:
    """Return the properties of a line with this marker, which is as large as a disc of `size` points."""
    return {"marker": marker, "markersize": size * _MARKERS[marker][1], "markeredgewidth": 0.0}


def marked(name: str, marker: str, *, is_open: bool = False) -> str:
    """Return a name after the character that looks like its marker: "▲ greedy"; is_open: whether the marker is not filled."""
    character = _MARKERS[marker][0]
    return f"{_OPEN.get(character, character) if is_open else character} {name}"


def ink(colour: str) -> str:
    """Return the colour, darkened until text has a contrast of 4.5 : 1 on white."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*_rgb(colour))
    while _luminance(colour) > 0.18:  # the luminance for a contrast of 4.5 : 1
        lightness *= 0.95
        colour = _hex(*colorsys.hls_to_rgb(hue, lightness, saturation))
    return colour


def seeds_of(counts: Sequence[int]) -> str:
    """Return how many seeds means are over: "n = 5 seeds", "n = 3 to 5 seeds" or "a single seed"."""
    least, most = min(counts), max(counts)
    return "a single seed" if most == 1 else f"n = {least if least == most else f'{least} to {most}'} seeds"


def png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes, which are equal for equal figures; large figures are reduced to 256 colours."""
    from PIL import Image

    from stacked.data.image_files.image_file import open_image

    _lay_out(figure)
    figure.set_layout_engine(None)  # with a layout engine, matplotlib draws a figure twice to save it
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    if drawn.tell() < _LARGE:
        return drawn.getvalue()
    packed = io.BytesIO()
    full = open_image(drawn).convert("RGB")
    few = full.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    few.save(packed, format="PNG", optimize=True, dpi=(DPI, DPI))
    return packed.getvalue()


def label_ends(axes: Axes, x: float, labels: Sequence[tuple[float, str, str]]) -> None:
    """Write labels (y, text, colour) to the right of the data coordinate `x`, moved apart so that they do not overlap.

    A label that was moved has a thin line to its place. The limits and the scale of the axes must be final.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    _lay_out(figure)
    points = 72 / figure.dpi
    ordered = sorted(labels, key=lambda label: label[0])
    wanted = [float(axes.transData.transform((x, y))[1]) * points for y, _, _ in ordered]
    moves = [there - here for there, here in zip(_apart(wanted, 1.25 * FONT), wanted, strict=True)]
    led = max(map(abs, moves), default=0.0) > 1.5 * FONT
    for move, (y, text, colour) in zip(moves, ordered, strict=True):
        leader: dict[str, Any] = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            text,
            (x, y),
            xytext=(22 if led else 7, move),
            textcoords="offset points",
            va="center",
            color=ink(colour),
            annotation_clip=False,
            arrowprops=leader | {"relpos": (0.0, 0.5)} if led else None,
        )


def _lay_out(figure: Figure) -> None:
    """Place the axes, which takes half the time of `figure.draw_without_rendering`."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights, moved to be at least `gap` apart; each cluster keeps its mean."""
    clusters: list[list[float]] = []
    for height in heights:
        clusters.append([height])
        while len(clusters) > 1 and _bottom(clusters[-1], gap) - _top(clusters[-2], gap) < gap:
            last = clusters.pop()
            clusters[-1].extend(last)
    return [_bottom(cluster, gap) + k * gap for cluster in clusters for k in range(len(cluster))]


def _bottom(cluster: list[float], gap: float) -> float:
    return sum(cluster) / len(cluster) - gap * (len(cluster) - 1) / 2


def _top(cluster: list[float], gap: float) -> float:
    return sum(cluster) / len(cluster) + gap * (len(cluster) - 1) / 2


def _further_colours() -> Iterator[str]:
    for shade in count():
        for colour in _FURTHER:
            yield _hex(*(channel * 0.7**shade for channel in _rgb(colour)))


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue


def _hex(*channels: float) -> str:
    return "#" + "".join(f"{round(255 * channel):02X}" for channel in channels)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
