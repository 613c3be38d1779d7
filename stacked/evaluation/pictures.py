"""Pictures of a stack: examples with their reconstructions from each depth, and filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked.data import Splits
from stacked.evaluation import evaluate, plots
from stacked.evaluation.evaluate import spread
from stacked.model.stack import StackedAutoencoder
from stacked.training.codes import StoredInputs
from stacked.util.chunks import chunks

#: Number of images in a picture of reconstructions.
SHOWN = 14
#: The most rows of a table whose errors are averaged in a picture.
ROWS = 500
#: The most filters that are stored for a first layer that reads whole images.
FILTERS = 64
#: The most letters of a feature's name that are stored.
NAME = 30
#: Number of values of a code that is drawn as a map.
MAP = 2


def shown_of(inputs: Tensor) -> Tensor:
    """Return the examples that a `grid` shows of inputs [N, ...], evenly spread; of tables, those whose errors it averages."""
    return inputs[spread(len(inputs), ROWS if inputs.dim() == 2 else SHOWN)]


def grid(stack: StackedAutoencoder, inputs: Tensor, columns: Sequence[str] = ()) -> NDArray[np.uint8]:
    """Return a picture [H, W, 3] of inputs, as splits hold them, and of their reconstructions.

    Images are above their reconstructions, enlarged if they are small; of maps with another number of channels than one or three
    the first is shown, of volumes the middle slice. Signals are lines, input and reconstruction over each other. Of tables, it
    is the mean squared error of each column; columns: their names.
    """
    if inputs.dim() > 3:
        return rows_of_images(
            [as_images(inputs, inputs), as_images(evaluate.reconstructed(stack, inputs, stack.depth), inputs)]
        )
    if inputs.dim() == 3:
        return plots.lines(*in_units(stack, inputs, stack.depth))
    originals, restored = as_floats(inputs), as_floats(evaluate.reconstructed(stack, inputs, stack.depth))
    scaled = stack.scaling is not None and stack.scaling.kind != "none"
    error = (restored - originals).double().square().mean(0).numpy()
    return plots.bars(error, columns, " (of scaled values)" if scaled else "")


def rows_of_images(rows: Sequence[Tensor], scale: int = 3) -> NDArray[np.uint8]:
    """Return a picture [H, W, 3] of rows of images, uint8 [n, C, H, W]; small images are enlarged `scale` times."""
    picture = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    if rows[0].shape[-1] < 100:
        picture = picture.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    return (
        picture.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
        if len(picture) == 1
        else picture.permute(1, 2, 0).contiguous().numpy()
    )


def as_floats(inputs: Tensor) -> Tensor:
    """Return inputs as a stack reads them, on the CPU."""
    return StoredInputs(inputs.cpu())(torch.arange(len(inputs)))


def in_units(stack: StackedAutoencoder, inputs: Tensor, depth: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return inputs and their reconstructions from `depth` in the units of the data."""
    both = (as_floats(inputs), as_floats(evaluate.reconstructed(stack, inputs, depth)))
    first, second = (each.double() if stack.scaling is None else stack.scaling.in_units(each) for each in both)
    return first.numpy(), second.numpy()


def as_images(values: Tensor, originals: Tensor) -> Tensor:
    """Return maps or volumes, as splits hold them, as images uint8 [n, C, H, W] with C = 1 or 3.

    Floats are shown between 0 and 1 if the originals lie there, else between the least and the largest value of the originals.
    """
    if values.dim() == 5:
        middle = values.shape[2] // 2
        values, originals = values[:, :, middle], originals[:, :, middle]
    if values.shape[1] not in (1, 3):
        values, originals = values[:, :1], originals[:, :1]
    if values.dtype == torch.uint8:
        return values.cpu()
    low, high = min(0.0, originals.min().item()), max(1.0, originals.max().item())
    if low < 0 or high > 1:
        low, high = originals.min().item(), originals.max().item()
    return values.cpu().sub(low).div(high - low).clamp(0, 1).mul(255).round().to(torch.uint8)


def pictures(stack: StackedAutoencoder, splits: Splits) -> dict[str, NDArray[Any]]:
    """Return the arrays that figures of a trained stack need.

    These are pictures of test examples and of their reconstructions from each depth, uint8 [N, H, W, C]: the images themselves,
    or small pictures of lines for signals and rows of tables (see `plots.tiles`). Of floats, "values" and "values_depth1" ...
    are the numbers [N, ...] in the units of the data. Of rows [N, D], "feature_mse" [D] is the mean squared error of each
    feature over all test rows, scaled as for training, and "features" [D] are the names, if they are known. Further the first
    stage's filters [F, C, k, k]; and, if the bottleneck has two values, the codes [N, 2] of all test examples with their
    labels [N].
    """
    inputs = splits.test.inputs[spread(len(splits.test), SHOWN)]
    found: dict[str, NDArray[Any]] = {}
    for depth in range(stack.depth + 1):
        name = f"depth{depth}" if depth else "originals"
        restored = evaluate.reconstructed(stack, inputs, depth) if depth else inputs
        found[name] = sample(inputs, restored if depth else None)
        if stack.scaling is not None:
            values = stack.scaling.in_units(restored).float().numpy()
            found[f"values_depth{depth}" if depth else "values"] = values
    if splits.test.inputs.dim() == 2:
        found |= of_features(stack, splits)
    if (first := filters(stack)) is not None:
        found["filters"] = first.detach().cpu().numpy()
    if torch.Size(stack.latent_shape).numel() == MAP:
        found["codes"] = evaluate.codes(stack, splits.test.inputs, stack.depth).numpy().astype(np.float16)
        found["labels"] = splits.test.labels.numpy().astype(np.int16)
    return found


def of_features(stack: StackedAutoencoder, splits: Splits) -> dict[str, NDArray[Any]]:
    """Return the mean squared error [D] of each feature of test rows [N, D], scaled as for training, and the names."""
    inputs = splits.test.inputs
    total = torch.zeros(inputs.shape[1], dtype=torch.float64)
    read = StoredInputs.of(inputs, evaluate.device_of(stack))
    with evaluate.evaluating(stack):
        for index in chunks(len(read), stack.widest(splits.input_shape)):
            part = read(index)
            total += (stack.reconstruct(part, stack.depth) - part).double().square().sum(0).cpu()
    found: dict[str, NDArray[Any]] = {"feature_mse": (total / len(inputs)).numpy()}
    if splits.columns:
        found["features"] = np.array([name[:NAME] for name in splits.columns])
    return found


def samples_bytes(splits: Splits) -> int:
    """Return the most bytes that the shown examples, or their reconstructions from one depth, take among the `pictures`."""
    values = torch.Size(splits.input_shape).numel()
    of_each = (8 + 4 * NAME) * values if len(splits.input_shape) == 1 else 0
    picture = values if len(splits.input_shape) > 2 else 3 * plots.TILE[0] * plots.TILE[1]
    numbers = 0 if splits.scaling is None else 4 * values
    return SHOWN * (picture + numbers) + of_each


def sample(inputs: Tensor, restored: Tensor | None = None) -> NDArray[np.uint8]:
    """Return pictures [n, H, W, C] of inputs, as splits hold them, or of their reconstructions, in the same form.

    Images are themselves; of signals and rows of tables they are small pictures of lines, see `plots.tiles`.
    """
    if inputs.dim() > 3:
        picture = as_images(inputs if restored is None else restored, inputs)
        return picture.permute(0, 2, 3, 1).numpy()
    # as they are scaled, because columns and channels have different units
    return plots.tiles(as_floats(inputs).numpy(), None if restored is None else as_floats(restored).numpy())


def filters(stack: StackedAutoencoder) -> Tensor | None:
    """Return the weights of the first layer as filters [F, C, h, w]; at most FILTERS, if they are as large as images."""
    for layer in stack.stages[0].encoder:
        if isinstance(layer, torch.nn.Conv2d):
            return layer.weight
        if isinstance(layer, torch.nn.Linear):
            return layer.weight[:FILTERS].unflatten(1, stack.input_shape) if len(stack.input_shape) == 3 else None
    return None
