"""Examples beside their reconstructions from each depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stacked.data.pixels import Pixels
from stacked.evaluation.evaluate import device_of, errors, evaluating
from stacked.evaluation.pictures import as_images
from stacked.evaluation.plots import INPUT, RESTORED
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.show.mosaic import show_image
from stacked.show.style import WIDTH, new_figure, style
from stacked.util.checks import layout_hint, need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: the most examples of a figure, and the most columns before they become unreadable
MOST_IMAGES, MOST_DEPTHS = 32, 12
#: inches above the examples for the titles of the columns, and below each example for its error
HEADING, ERROR = 0.42, 0.4
#: the most inches of a column of images, and of one of lines, which are twice as wide as high
WIDEST, WIDEST_LINES = 1.4, 2.4


@own_settings()
def reconstructions(stack: StackedAutoencoder, images: Pixels) -> Figure:
    """Return a figure with a row for each example: the original, and its reconstruction from each depth with its error.

    images: at most 32 examples [n, ...] of the stack's input shape, in the units of the data as `Encoder.encode` takes them:
    images [n, C, H, W] with C = 1 or 3; volumes, of which the middle slice is drawn; signals [n, C, L] and vectors [n, D], which
    are drawn as lines, reconstructions over the original. The error below an example is its mean squared error in the units
    of the data, and for data in [0, 1] the peak signal-to-noise ratio in dB that follows from it. Raises InputError for other
    types, shapes and scales, and for a stack of more than 12 stages.
    """
    need(
        1 <= stack.depth <= MOST_DEPTHS,
        f"{stack.depth} stages cannot be drawn beside each other: give a stack of 1 to {MOST_DEPTHS}",
    )
    encoder, is_images = stack.encoder, len(stack.input_shape) == 3
    found = encoder.tensor_of(images, "cannot be drawn")
    wanted = f"{list(stack.input_shape)}{' with one or three channels' * is_images}"
    need(
        tuple(found.shape[1:]) == stack.input_shape and (not is_images or found.shape[1] in (1, 3)),
        f"images of shape {list(found.shape)} cannot be drawn: give [n, C, H, W] of {wanted}{layout_hint(list(found.shape))}"
        if is_images
        else f"examples of shape {list(found.shape)} cannot be drawn: give [n, ...] of {wanted}",
    )
    need(1 <= len(found) <= MOST_IMAGES, f"{len(found)} examples cannot be drawn: give 1 to {MOST_IMAGES}")
    originals = encoder.floats_of(found, "cannot be drawn")
    columns = [originals]
    with evaluating(stack):
        for depth in range(1, stack.depth + 1):
            columns.append(stack.reconstruct(originals.to(device_of(stack)), depth).float().cpu())
    in_units = [column if stack.scaling is None else stack.scaling.in_units(column) for column in columns]
    is_unit = (is_images and stack.scaling is None) or bool(in_units[0].min() >= 0 and in_units[0].max() <= 1)
    is_lines = originals.dim() < 4
    shapes = stack.shapes(stack.input_shape)
    cell = min(WIDTH / len(columns), WIDEST_LINES if is_lines else WIDEST)
    pitch = cell * (0.46 if is_lines else 0.92 * found.shape[-2] / found.shape[-1])
    width, height = cell * len(columns), HEADING + len(found) * (pitch + ERROR)
    with style():
        figure = new_figure(height)
        figure.set_layout_engine("none")
        figure.set_size_inches(width, height)
        for place, column in enumerate(columns):
            title = f"depth {place}" if place else "original"
            shape = " x ".join(map(str, shapes[place]))
            middle = (place + 0.5) * cell / width
            figure.text(middle, 1 - 0.1 / height, f"{title}\n{shape}", ha="center", va="top", linespacing=1.3)
            for row, image in enumerate(column):
                top = HEADING + row * (pitch + ERROR)
                box = ((place + 0.04) * cell / width, 1 - (top + pitch) / height, 0.92 * cell / width, pitch / height)
                axes = figure.add_axes(box)
                if is_lines:
                    draw_lines(axes, originals[row], image if place else None)
                elif stack.scaling is None and is_images:
                    show_image(axes, image.clamp(0, 1).permute(1, 2, 0).double().numpy())
                else:
                    picture = as_images(image[None], originals[row][None])[0]
                    show_image(axes, picture.permute(1, 2, 0).double().div(255).numpy())
                if place:
                    squared = float((in_units[place][row].double() - in_units[0][row].double()).square().sum())
                    error = errors(squared, 0.0, originals[0].numel())
                    figure.text(
                        middle,
                        1 - (top + pitch + 0.05) / height,
                        f"MSE {error.mse:.3g}" + (f"\n{error.psnr:.1f} dB" if is_unit else ""),
                        ha="center",
                        va="top",
                    )
    return figure


def draw_lines(axes: Axes, original: Tensor, restored: Tensor | None) -> None:
    """Draw a signal [C, L] or a vector [D] as lines, with its reconstruction over it; channels have one scale, as scaled."""
    for values, colour in ((original, INPUT), (restored, RESTORED)):
        if values is not None:
            axes.plot(torch.atleast_2d(values).T.numpy(), color=colour, linewidth=1)
    axes.set_axis_off()
