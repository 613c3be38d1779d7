"""Images beside their reconstructions from each depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacked.data.pixels import Pixels, floats_of, scaled_images
from stacked.evaluation.evaluate import device_of, errors, evaluating
from stacked.model.halves import MOST
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.show.mosaic import show_image
from stacked.show.style import WIDTH, new_figure, style
from stacked.util.checks import layout_hint, need

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: the most images of a figure, and the most columns before they become unreadable
MOST_IMAGES, MOST_DEPTHS = 32, 12
#: inches above the images for the titles of the columns, and below each image for its error
HEADING, ERROR = 0.42, 0.4
#: the most inches of a column
WIDEST = 1.4


@own_settings()
def reconstructions(stack: StackedAutoencoder, images: Pixels) -> Figure:
    """Return a figure with a row for each image: the original, and its reconstruction from each depth with its error.

    images: [n, C, H, W] of the stack's input shape, uint8 or floats on a scale of 0 to 1, with C = 1 or 3; at most 32. The error
    below an image is the mean squared error per pixel, and the peak signal-to-noise ratio in dB that follows from it. Raises
    InputError for other types, shapes and scales, and for a stack of more than 12 stages.
    """
    found = scaled_images(images, "cannot be drawn")
    wanted = f"{list(stack.input_shape)} with one or three channels"
    need(
        tuple(found.shape[1:]) == stack.input_shape and found.shape[1] in (1, 3),
        f"images of shape {list(found.shape)} cannot be drawn: give [n, C, H, W] of {wanted}{layout_hint(list(found.shape))}",
    )
    need(1 <= len(found) <= MOST_IMAGES, f"{len(found)} images cannot be drawn: give 1 to {MOST_IMAGES}")
    need(
        1 <= stack.depth <= MOST_DEPTHS,
        f"{stack.depth} stages cannot be drawn beside each other: give a stack of 1 to {MOST_DEPTHS}",
    )
    originals = floats_of(found, "cannot be drawn", MOST)
    columns = [originals]
    with evaluating(stack):
        for depth in range(1, stack.depth + 1):
            columns.append(stack.reconstruct(originals.to(device_of(stack)), depth).float().cpu())
    shapes = stack.shapes(stack.input_shape)
    cell = min(WIDTH / len(columns), WIDEST)
    pitch = cell * 0.92 * found.shape[2] / found.shape[3]
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
            for row, (original, image) in enumerate(zip(originals, column, strict=True)):
                top = HEADING + row * (pitch + ERROR)
                box = ((place + 0.04) * cell / width, 1 - (top + pitch) / height, 0.92 * cell / width, pitch / height)
                axes = figure.add_axes(box)
                show_image(axes, image.clamp(0, 1).permute(1, 2, 0).double().numpy())
                if place:
                    squared = float((image.double() - original.double()).square().sum())
                    error = errors(squared, 0.0, original.numel())
                    figure.text(
                        middle,
                        1 - (top + pitch + 0.05) / height,
                        f"MSE {error.mse:.3g}\n{error.psnr:.1f} dB",
                        ha="center",
                        va="top",
                    )
    return figure
