"""Trained stacks as files to be given away: weights as safetensors, and as JSON in the header what they are of.

Whoever reads one runs no code that is in the file, and takes at most twice the memory that it is long. Damage to it is told
by its checksum.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from stacked.model.stack import StackedAutoencoder, empty_stack
from stacked.model.tensor_file import read, to_bytes
from stacked.spec import StackSpec
from stacked.stages.stage import Shape
from stacked.util.atomic import write_atomically
from stacked.util.checks import need, whole
from stacked.util.errors import InputError, printable
from stacked.util.serialization import from_dict, parsed, to_json

#: texts that every file's header has
COMMON = ("format", "stack", "input_shape")
#: parts of a stack that take no time to build, whether or not there are tensors for them
FEW = 100
#: values of an image at most: those of a square of 16,384 pixels in three colours, and some
MOST_VALUES = 2**30


class Content(NamedTuple):
    """What a file holds: the tensors by name, the spec and input shape of its stack, and what else its header says."""

    tensors: dict[str, Tensor]
    spec: StackSpec
    shape: Shape
    header: dict[str, Any]

    def empty(self) -> StackedAutoencoder:
        """The stack that the weights are of, without memory for its own; ValueError where there are too few for it."""
        blocks = sum(dict(stage.options).get("blocks", 1) for stage in self.spec.stages)
        few = blocks <= len(self.tensors) + FEW
        need(few, f"its stack has {blocks:,} parts, and it has {len(self.tensors):,} tensors")
        return empty_stack(
            replace(self.spec, init="torch", gain=1.0), self.shape
        )  # what is drawn first is not of the file

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
            if name.rpartition(".")[2] == "running_var" and (mine[name] < 0).any():
                raise ValueError(f"its tensor {name!r} has variances below 0")


def write(
    path: Path, kind: str, tensors: Mapping[str, Tensor], spec: StackSpec, shape: Shape, header: Mapping[str, Any]
) -> None:
    """Write a file of a `kind`, `header` as JSON beside what the stack is; InputError when the place cannot be written."""
    told = {name: json.dumps(value) for name, value in header.items()}
    stack = {"format": kind, "stack": to_json(spec), "input_shape": json.dumps(list(shape))}
    write_atomically(path, to_bytes(tensors, told | stack))


def kind_of(path: Path) -> str:
    """Which kind of file `write` made it; "" where there is no such file."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("format", "")
    except (OSError, SafetensorError):
        return ""


@contextmanager
def reading(path: str | Path, kind: str, what: str, names: Sequence[str] = ()) -> Iterator[Content]:
    """The content of the file that `write` made for this `kind`; InputError where it, or what is made of it, is not right.

    `what` says in a sentence what such a file is, and where one comes from; `names` are those of the header that it was
    written with. It warns of a file without a checksum, as they were written once.
    """
    try:
        tensors, texts, sealed = read(path)
        if texts.get("format") != kind:
            raise ValueError(f"its format is {texts.get('format')!r}, not {kind!r}")
        other = sorted(texts.keys() ^ {*COMMON, *names})  # else damage to the checksum's name would hide the checksum
        need(not other, f"its header has not the fields {', '.join((*COMMON, *names))}, by {', '.join(other)}")
        spec = from_dict(StackSpec, parsed(texts["stack"]))
        shape = tuple(parsed(texts["input_shape"]))
        need(len(shape) == 3, f"its images have the shape {list(shape)}, not [C, H, W]")
        for side in shape:
            whole(side, "side of its images")
        need(math.prod(shape) <= MOST_VALUES, f"its images have {math.prod(shape):,} values, more than {MOST_VALUES:,}")
        yield Content(tensors, spec, shape, {name: parsed(texts[name]) for name in names})
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} is not {what.format(reason=f'({reason})')}") from error
    if not sealed:
        told = f"{path} has no checksum, so that damage to it is not seen: load it and save it again to give it one"
        warnings.warn(printable(told), stacklevel=4)
