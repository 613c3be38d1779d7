"""A diagram of a stack: its codes from the input down to the bottleneck, and back up to the reconstruction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import nn

from stacked.model.stack import StackedAutoencoder
from stacked.show.style import GREY, WIDTH, new_figure, style
from stacked.stages.stage import Shape
from stacked.util.checks import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008: distinguishable under the common colour-blindnesses; (edge, fill)
ENCODER, DECODER, CODE = ("#0072B2", "#D9EAF4"), ("#B34A00", "#FBE6D6"), ("#00755A", "#D6EFE8")
#: inches: height of a box, of an arrow between two boxes, of the titles; width of the widest box
BOX, ARROW, HEADING, WIDEST = 0.34, 0.46, 0.35, 3.4
#: a box of one value is this fraction of the widest
NARROWEST = 0.4
#: the most stages of a diagram
MOST_STAGES = 40


def diagram(stack: StackedAutoencoder) -> Figure:
    """Return a figure of the stack: encoders at the left from the top down, decoders at the right from the bottom up.

    Each box is an input, a code or a reconstruction with its shape; its width grows with the logarithm of its number of values.
    Each arrow is the encoder or decoder of a stage with its parameters; frozen stages are dashed, and said to be frozen. It can
    be saved as PNG or SVG: `diagram(stack).savefig("stack.svg")`. Raises InputError for more than 40 stages, and for none.
    """
    need(
        1 <= stack.depth <= MOST_STAGES,
        f"a stack of {stack.depth} stages cannot be drawn: give one of 1 to {MOST_STAGES} stages",
    )
    shapes = stack.shapes(stack.input_shape)
    height = HEADING + (stack.depth + 1) * BOX + stack.depth * ARROW + 0.45
    with style():
        figure = new_figure(height)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(height, 0)
        axes.set_axis_off()
        left, right, middle = 0.29 * WIDTH, 0.71 * WIDTH, 0.5 * WIDTH
        for x, title, (edge, _) in ((left, "encoders", ENCODER), (right, "decoders", DECODER)):
            axes.text(x, 0.5 * HEADING, title, ha="center", va="center", weight="bold", color=edge)
        for depth, shape in enumerate(shapes):
            top = HEADING + depth * (BOX + ARROW)
            width = box_width(shape, shapes)
            if depth == stack.depth:
                box(axes, middle, top, width, text_of(shape, "code"), CODE)
                continue
            back = "reconstruction" if depth == 0 else "decoded"
            box(axes, left, top, width, text_of(shape, "input" if depth == 0 else f"code {depth}"), ENCODER)
            box(axes, right, top, width, text_of(shape, back), DECODER)
            stage, last = stack.stages[depth], depth + 1 == stack.depth
            for x, colour, half, down in ((left, ENCODER, stage.encoder, True), (right, DECODER, stage.decoder, False)):
                label = f"{stage.kind}, {parameters(half)}{', frozen' if stage.frozen else ''}"
                inner = middle + (-0.5 if down else 0.5) * box_width(shapes[-1], shapes) * 0.6 if last else x
                arrow(axes, (x, top + BOX), (inner, top + BOX + ARROW), down, colour[0], stage.frozen)
                beside = x - 0.12 if down else x + 0.12
                axes.text(
                    beside, top + BOX + ARROW / 2, label, ha="right" if down else "left", va="center", color=colour[0]
                )
        values = math.prod(shapes[0]), math.prod(shapes[-1])
        total = sum(parameter.numel() for parameter in stack.parameters())
        fewer = f", {values[0] / values[1]:.3g} times fewer than the input has" if values[1] < values[0] else ""
        note = (
            f"{total:,} parameters; the code has {values[1]:,} values{fewer}; widths: logarithm of the number of values"
        )
        axes.text(middle, height - 0.2, note, ha="center", va="center", color=GREY)
    return figure


def box_width(shape: Shape, shapes: list[Shape]) -> float:
    """Return the width of the box of a code in inches."""
    most = max(math.log2(1 + math.prod(each)) for each in shapes)
    return WIDEST * (NARROWEST + (1 - NARROWEST) * math.log2(1 + math.prod(shape)) / most)


def box(axes: Axes, x: float, top: float, width: float, text: str, colours: tuple[str, str]) -> None:
    """Draw a box with a text, centred at x."""
    from matplotlib.patches import FancyBboxPatch

    edge, fill = colours
    pad = 0.03
    shape: Any = FancyBboxPatch(
        (x - width / 2 + pad, top + pad),
        width - 2 * pad,
        BOX - 2 * pad,
        boxstyle=f"round,pad={pad}",
        facecolor=fill,
        edgecolor=edge,
        linewidth=1.2,
    )
    axes.add_patch(shape)
    axes.text(x, top + BOX / 2, text, ha="center", va="center", color="#262626")


def arrow(
    axes: Axes, upper: tuple[float, float], lower: tuple[float, float], down: bool, colour: str, frozen: bool
) -> None:
    """Draw an arrow between two boxes; dashed for a frozen stage."""
    start, end = (upper, lower) if down else (lower, upper)
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.4, "shrinkA": 2, "shrinkB": 2, "mutation_scale": 11}
    axes.annotate("", xy=end, xytext=start, arrowprops=look | {"linestyle": "--" if frozen else "-"})


def text_of(shape: Shape, name: str) -> str:
    """Return the text in a box: "code 1: 16 x 14 x 14"."""
    return f"{name}: {' x '.join(map(str, shape))}"


def parameters(half: nn.Module) -> str:
    """Return the number of parameters of an encoder or a decoder as text; tied weights count for the encoder."""
    count = sum(parameter.numel() for parameter in half.parameters())
    return f"{count:,} parameter{'s' * (count != 1)}"
