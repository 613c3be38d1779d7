"""Data of any kind that detectors and denoisers are fitted to, and new data that are read in the same way."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from stacked.data.examples import read
from stacked.data.pixels import Pixels, stored
from stacked.data.scaling import Scaling
from stacked.data.splitting import as_read, default_scale
from stacked.data.table import as_numbers, check_missing, fitted, is_table
from stacked.model.stack import StackedAutoencoder
from stacked.spec import RunSpec
from stacked.spec.compatibility import check_range, reconstructs_data
from stacked.util.checks import need

#: what detectors and denoisers read: tensors and NumPy arrays, and pandas DataFrames
Data: TypeAlias = "Pixels | Any"
#: examples in the units of the data: bytes as a tensor, floats as an array, or a table
Read: TypeAlias = Any


def read_examples(data: Data) -> Read:
    """Return examples [N, ...]: uint8 as a tensor, other numbers as an array of finite floats, a DataFrame as a table.

    Raises InputError for data of another kind or shape.
    """
    if is_table(data) or (isinstance(data, Tensor | np.ndarray) and str(data.dtype) not in ("uint8", "torch.uint8")):
        return read(data, what="the data").values
    return stored(data, "cannot be read")


def as_stages_read(
    examples: Read, rows: Tensor | None = None, scale: str | None = None, missing: str | None = None
) -> tuple[Tensor, Scaling | None]:
    """Return examples of `read_examples` as stages read them, and how they were scaled (bytes: None).

    rows: the rows that scaling and columns of a table are fitted to (None: all). scale, missing: as in `Splits.of`. Raises
    InputError for what cannot be scaled.
    """
    what = "the data"
    if isinstance(examples, Tensor):
        need(scale in (None, "none"), f"scale {scale!r} is for floats, and {what} are bytes (uint8): leave it out")
        need(missing is None, f"missing {missing!r} is for tables, and {what} are none: leave it out")
        return examples, None
    chosen = np.arange(len(examples)) if rows is None else rows.numpy()
    if is_table(examples):
        check_missing([examples], missing, what)
        columns = fitted(examples.iloc[chosen], missing, what)
        values = as_numbers(columns, examples, what)
        scaling = Scaling.fit_table(scale or "standard", values[chosen], columns)
    else:
        need(missing is None, f"missing {missing!r} is for tables, and {what} are none: leave it out")
        values = examples
        scaling = Scaling.fit(scale or default_scale(values[chosen]), values[chosen])
    return as_read(values, scaling), scaling


def check_spec(spec: RunSpec, inputs: Tensor, scaling: Scaling | None) -> None:
    """Raise InputError unless the stack of a spec can restore these inputs, which were scaled so."""
    phases = [phase for phase in spec.phases() if phase.updates and reconstructs_data(phase, spec.optimisation)]
    if scaling is not None and phases:
        check_range(spec.stack, spec.optimisation, phases, inputs.min().item(), inputs.max().item(), scaling.kind)


def output_for(inputs: Tensor) -> str:
    """Return the activation that can restore inputs as stages read them: "sigmoid" for bytes and 0..1, "linear" for others."""
    is_unit = inputs.dtype == torch.uint8 or (inputs.min().item() >= 0 and inputs.max().item() <= 1)
    return "sigmoid" if is_unit else "linear"


def new_examples(stack: StackedAutoencoder, data: Data, refused: str, wanted: str) -> Tensor:
    """Return new data as the stages of a stack read them: float32, scaled, or uint8, which they divide by 255.

    A stack that was trained on uint8 images also reads floats on a scale of 0 to 1, as its encoder does. refused: the verb phrase
    of messages; wanted: what is to be given. Raises InputError for data of another kind.
    """
    encoder = stack.encoder
    if stack.scaling is not None:
        found = encoder.tensor_of(data, refused)
        shape, mine = list(found.shape[1:]), stack.input_shape
        # a scaling has numbers for each channel; a denoiser may read another height and width
        alike = len(shape) == len(mine) and shape[0] == mine[0]
        need(alike, f"data of shape {shape} {refused}: give {wanted}")
        return encoder.floats_of(found, refused)
    if len(stack.input_shape) == 3:
        found = encoder.tensor_of(data, refused)
        return found if found.dtype == torch.uint8 else encoder.floats_of(found, refused)
    found = stored(data, refused)
    need(found.dtype == torch.uint8, f"data of {found.dtype} {refused}: give {wanted}")
    return found
