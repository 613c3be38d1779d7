"""Trained stacks as files to be given away: weights as safetensors, and as JSON in the header what they are of.

Whoever reads one runs no code that is in the file, and takes at most twice the memory that it is long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from stacked.model.stack import StackedAutoencoder, empty_stack
from stacked.spec import StackSpec
from stacked.stages.stage import Shape
from stacked.util.atomic import write_atomically
from stacked.util.checks import need, whole
from stacked.util.errors import InputError
from stacked.util.serialization import from_dict, parsed, to_json


class Content(NamedTuple):
    """What a file holds: the tensors by name, the spec and input shape of its stack, and what else its header says."""

    tensors: dict[str, Tensor]
    spec: StackSpec
    shape: Shape
    header: dict[str, str]

    def empty(self) -> StackedAutoencoder:
        """The stack that the weights are of, without memory for its own."""
        return empty_stack(self.spec, self.shape)

    def fill(self, module: nn.Module, prefix: str = "") -> None:
        """Give a module on the meta device the tensors whose names begin with `prefix`; ValueError where they do not fit.

        They are laid out as `grow` does: kernels for another layout may round otherwise.
        """
        mine = {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}
        kinds = {name: tensor.dtype for name, tensor in module.state_dict().items()}
        module.load_state_dict(mine, assign=True)
        module.to(memory_format=torch.channels_last)
        for name, kind in kinds.items():
            if mine[name].dtype != kind:
                raise ValueError(f"its tensor {name!r} is of {mine[name].dtype}, not {kind}")
            if not mine[name].isfinite().all():
                raise ValueError(f"its tensor {name!r} has values that are not finite")


def write(
    path: Path, kind: str, tensors: Mapping[str, Tensor], spec: StackSpec, shape: Shape, header: Mapping[str, Any]
) -> None:
    """Write a file of a `kind`, `header` as JSON beside what the stack is; InputError when the place cannot be written."""
    told = {name: json.dumps(value) for name, value in header.items()}
    stack = {"format": kind, "stack": to_json(spec), "input_shape": json.dumps(list(shape))}
    write_atomically(path, save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, told | stack))


def kind_of(path: Path) -> str:
    """Which kind of file `write` made it; "" where there is no such file."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("format", "")
    except (OSError, SafetensorError):
        return ""


@contextmanager
def reading(path: str | Path, kind: str, what: str) -> Iterator[Content]:
    """The content of the file that `write` made for this `kind`; InputError where it, or what is made of it, is not right.

    `what` says in a sentence what such a file is, and where one comes from.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header.get("format") != kind:
            raise ValueError(f"its format is {header.get('format')!r}, not {kind!r}")
        spec = from_dict(StackSpec, parsed(header["stack"]))
        shape = tuple(parsed(header["input_shape"]))
        need(len(shape) == 3, f"its images have the shape {list(shape)}, not [C, H, W]")
        for side in shape:
            whole(side, "side of its images")
        yield Content(tensors, spec, shape, header)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} is not {what.format(reason=f'({reason})')}") from error
