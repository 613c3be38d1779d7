"""What the units of a stage respond to, as inputs: linear combinations of filters, and maximised activations."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from stacked.evaluation.evaluate import spread
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.rng import generator
from stacked.runtime.settings import own_settings
from stacked.show.mosaic import MOST_TILES, draw_tiles, tiles_of
from stacked.show.style import FONT, new_figure, style
from stacked.show.unit_lines import draw_filters
from stacked.stages.activations import ACTIVATIONS
from stacked.util.checks import choice, need, positive, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("linear", "activation")
#: activations, which "linear" leaves out: they bend the response of a unit
BENDING = cast("tuple[type[nn.Module], ...]", tuple(ACTIVATIONS.values()))
#: affine layers, which "linear" passes through
AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.Flatten)
#: max pooling, and the average in its place
AVERAGES: dict[type[nn.Module], Any] = {
    nn.MaxPool1d: nn.AvgPool1d,
    nn.MaxPool2d: nn.AvgPool2d,
    nn.MaxPool3d: nn.AvgPool3d,
}
#: layers behind the weights of a stage, which are not part of its filters
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm)
BEHIND = (*BENDING, *NORMS, *AVERAGES, *AVERAGES.values())
#: size of a step of gradient ascent, as a fraction of the norm of the image
STEP = 0.1


def filters(
    stack: StackedAutoencoder,
    depth: int = 1,
    *,
    method: str = "linear",
    norm: float | None = None,
    steps: int = 200,
    seed: int = 0,
) -> Figure:
    """Return a figure of what the units of the code at `depth` respond to, at most 64 of them.

    Red is above 0 and blue below, with one scale for all; of images of three channels, colours around grey. Of volumes the
    middle slice is drawn, of signals a line for each channel, of rows [N, D] a bar for each feature, in the order of the columns.
    Of a map, the unit is the central value of a channel, and its filter is cut to the values that it depends on. Arguments and
    errors as in `unit_filters`.
    """
    found = unit_filters(stack, depth, method=method, norm=norm, steps=steps, seed=seed)
    shown_values = found[:, :, found.shape[2] // 2] if found.dim() == 5 else found
    is_map = shown_values.dim() == 4
    tiles = tiles_of(shown_values.numpy()) if is_map else shown_values.numpy()
    columns = min(16 if is_map else 8, len(tiles))
    with style():
        sides = shown_values.shape[2] / shown_values.shape[3] if is_map else 1.2
        figure = new_figure(0.53 + 0.5 * math.ceil(len(tiles) / columns) * sides)
        axes = figure.subplots()
        (draw_tiles if is_map else draw_filters)(axes, tiles, columns)
        what = {
            "linear": "filters" if depth == 1 else "linear combinations of filters",
            "activation": "maximised activations",
        }
        units = stack.shapes(stack.input_shape)[depth][0]
        shown = f"{len(found)} of {units} units" if len(found) < units else f"{units} units"
        slices = ", middle slices" if found.dim() == 5 else ""
        axes.set_title(f"depth {depth}: {what[method]}, {shown}{slices}", fontsize=FONT)
    return figure


@own_settings()
def unit_filters(
    stack: StackedAutoencoder,
    depth: int = 1,
    *,
    method: str = "linear",
    norm: float | None = None,
    steps: int = 200,
    seed: int = 0,
) -> Tensor:
    """Return inputs [n, ...] that units of the code at `depth` respond to, evenly spread over at most 64 tiles.

    They are images [n, C, h, w], volumes [n, C, d, h, w], signals [n, C, l] or rows [n, D], as the stack reads.

    method: "linear": the filters of the units, combined from those of the stages below with the weights between them, without
    activations and biases (Lee et al. 2008; Erhan et al. 2009). At depth 1 these are the weights themselves; batch norms
    below `depth` count with their scale, and max pooling as an average. "activation": the image of a given `norm` that makes a
    unit's value before its activation the largest, found by `steps` of gradient ascent from noise drawn from `seed` (Erhan et al.
    2009). norm: Euclidean norm of that image (None: a third of that of a white image, which is about that of a
    handwritten digit).

    Raises InputError for a depth that is not in the stack, and for "linear" if a stage has
    other layers than convolutions, linear layers, batch norms and pooling; behind the weights at `depth` there can be any norm.
    """
    choice(method, METHODS, "method")
    whole(depth, "depth", 1, stack.depth)
    whole(steps, "steps")
    if norm is not None:
        positive(norm, "norm")
    copied = copy.deepcopy(stack).cpu().float().freeze()
    layers = list(linear_layers(copied, depth) if method == "linear" else bent_layers(copied, depth))
    shape = stack.shapes(stack.input_shape)[depth]
    channels = stack.input_shape[0] if len(stack.input_shape) > 2 else 1  # each of which has a tile
    units = spread(shape[0], MOST_TILES if channels == 3 else max(1, MOST_TILES // channels))
    size = len(units), *stack.input_shape
    if method == "linear":
        _, found = responses(layers, torch.zeros(size), units)
        return cut(found, found)
    radius = torch.tensor(math.sqrt(math.prod(stack.input_shape)) / 3 if norm is None else float(norm))
    noise = scaled(torch.randn(size, generator=generator(seed, "filters")), radius)
    return cut(*ascended(layers, noise, units, radius, steps))


def ascended(
    layers: list[nn.Module], images: Tensor, units: Tensor, radius: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the images, of norm `radius`, with the largest values met in a gradient ascent, and the last gradient."""
    best, found = torch.full((len(images),), -math.inf), images
    for _ in range(steps):
        values, gradient = responses(layers, images, units)
        better = values > best
        best, found = torch.where(better, values, best), torch.where(beside(better, images), images, found)
        images = scaled(images + scaled(gradient, STEP * radius), radius)
    return found, gradient


def responses(layers: list[nn.Module], images: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value [n] of unit `units[i]` for image i, and the gradient [n, ...] of each in its image."""
    images = images.clone().requires_grad_()
    code = images
    for layer in layers:
        code = layer(code)
    rows = torch.arange(len(units))
    centres: Any = (rows, units, *(side // 2 for side in code.shape[2:]))
    values = code[centres]
    values.sum().backward()
    assert images.grad is not None
    return values.detach(), images.grad


def bent_layers(stack: StackedAutoencoder, depth: int) -> Iterator[nn.Module]:
    """Yield the layers of the encoders up to `depth`, without the last activation, behind which dead units have no gradient."""
    for stage in stack.stages[: depth - 1]:
        yield from stage.encoder
    last = list(stack.stages[depth - 1].encoder)
    bending = [place for place, layer in enumerate(last) if isinstance(layer, BENDING)]
    yield from (layer for place, layer in enumerate(last) if place not in bending[-1:])


def linear_layers(stack: StackedAutoencoder, depth: int) -> Iterator[nn.Module]:
    """Yield the affine layers of the encoders up to `depth`; of stage `depth` itself, those up to its weights."""
    layers = [(k, layer) for k, stage in enumerate(stack.stages[:depth], start=1) for layer in stage.encoder]
    while layers and layers[-1][0] == depth and isinstance(layers[-1][1], BEHIND):
        layers.pop()
    for k, layer in layers:
        if isinstance(layer, BENDING):
            continue
        if type(layer) in AVERAGES:
            pool: Any = layer
            layer = AVERAGES[type(layer)](pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)
        need(
            isinstance(layer, (*AFFINE, *AVERAGES.values())),
            f"stage {k} has a layer {type(layer).__name__}, which is not linear: give method 'activation'",
        )
        yield layer


def scaled(images: Tensor, norm: Tensor) -> Tensor:
    """Return images [n, ...] with this Euclidean norm; images of zeros stay as they are."""
    length = images.flatten(1).norm(dim=1).clamp_min(torch.finfo(images.dtype).tiny)
    return images * beside(norm / length, images)


def beside(values: Tensor, images: Tensor) -> Tensor:
    """Return values [n] as a view [n, 1, ...] with the dimensions of images [n, ...]."""
    return values.view(-1, *(1,) * (images.dim() - 1))


def cut(images: Tensor, gradient: Tensor) -> Tensor:
    """Return images [n, C, ...] cut to the positions on each axis in which a gradient [n, C, ...] is not zero."""
    for axis in range(2, images.dim()):
        used = gradient.abs().amax([other for other in range(images.dim()) if other != axis]).nonzero().flatten()
        if len(used):
            images = images.narrow(axis, int(used[0]), int(used[-1] - used[0]) + 1)
    return images
