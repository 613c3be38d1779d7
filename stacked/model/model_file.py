"""Files of trained stacks: weights as safetensors, and a JSON header that describes the stack.

Reading a file executes nothing in it and takes at most twice its size in memory. A checksum detects damage.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from stacked.data.scaling import Scaling
from stacked.data.table import Column
from stacked.model.stack import StackedAutoencoder, empty_stack, laid_out
from stacked.model.tensor_file import open_tensors, read, to_bytes
from stacked.spec import StackSpec
from stacked.stages.stage import Shape
from stacked.util.atomic import write_atomically
from stacked.util.checks import need, whole
from stacked.util.errors import InputError, printable
from stacked.util.serialization import from_dict, parsed, to_json

#: fields that every header has
COMMON = ("format", "stack", "input_shape")
#: field that a header has if the stack has a scaling, and the beginning of the names of its tensors
SCALING = "scaling"
#: name of the tensor with the columns of a table, as the bytes of JSON
COLUMNS = f"{SCALING}.columns"
#: the numbers of dimensions of an example: vectors, signals, images and volumes
ANY = (1, 2, 3, 4)
#: blocks of a stack that may be built even without tensors for them, because they are cheap
FEW = 100
#: the most values of an image: a little more than 16,384 x 16,384 pixels in three colours
MOST_VALUES = 2**30


class Content(NamedTuple):
    """The content of a file: tensors by name, spec, input shape and scaling of the stack, and the other fields of the header."""

    tensors: dict[str, Tensor]
    spec: StackSpec
    shape: Shape
    header: dict[str, Any]
    scaling: Scaling | None = None

    def empty(self) -> StackedAutoencoder:
        """Return the stack without memory for its weights; ValueError if the file has too few tensors for its spec."""
        blocks = sum(dict(stage.options).get("blocks", 1) for stage in self.spec.stages)
        few = blocks <= len(self.tensors) + FEW
        need(few, f"its stack has {blocks:,} blocks, and the file has only {len(self.tensors):,} tensors")
        stack = empty_stack(self.spec, self.shape)
        stack.scaling = self.scaling
        return stack

    def fill(self, module: nn.Module, prefix: str = "") -> None:
        """Load the tensors whose names begin with `prefix` into a module on the meta device; ValueError if they do not fit.

        They get the memory layout that `grow` uses, because kernels for another layout can round differently.
        """
        mine = {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}
        kinds = {name: tensor.dtype for name, tensor in module.state_dict().items()}
        module.load_state_dict(mine, assign=True)
        laid_out(module)
        for name, kind in kinds.items():
            if mine[name].dtype != kind:
                raise ValueError(f"its tensor {name!r} is of {mine[name].dtype}, not {kind}")
            if not mine[name].isfinite().all():
                raise ValueError(f"its tensor {name!r} has values that are not finite")
            if name.rpartition(".")[2] == "running_var" and (mine[name] < 0).any():
                raise ValueError(f"its tensor {name!r} has variances below 0")


def write(
    path: Path,
    kind: str,
    tensors: Mapping[str, Tensor],
    spec: StackSpec,
    shape: Shape,
    header: Mapping[str, Any],
    scaling: Scaling | None = None,
) -> None:
    """Write a file of this `kind` with additional `header` fields; InputError if it cannot be written.

    The numbers and columns of a scaling are kept as tensors, because those of a wide table do not fit a header.
    """
    fields = {name: json.dumps(value) for name, value in header.items()}
    if scaling is not None:
        fields[SCALING] = json.dumps(scaling.kind)
        tensors = {**tensors, **{name: torch.tensor(each, dtype=torch.float64) for name, each in numbers_of(scaling)}}
        if scaling.columns:
            written = to_json(scaling.columns).encode()
            tensors[COLUMNS] = torch.frombuffer(bytearray(written), dtype=torch.uint8)
    stack = {"format": kind, "stack": to_json(spec), "input_shape": json.dumps(list(shape))}
    write_atomically(path, to_bytes(tensors, fields | stack))


def numbers_of(scaling: Scaling) -> list[tuple[str, tuple[float, ...]]]:
    """Return the numbers of a scaling by the names of their tensors."""
    return [(f"{SCALING}.offset", scaling.offset), (f"{SCALING}.factor", scaling.factor)]


def scaling_in(tensors: dict[str, Tensor], kind: Any, shape: Shape) -> Scaling:
    """Take the scaling of this kind out of the tensors of a file; ValueError or InputError if it does not fit the shape."""
    found = [tensors.pop(name) for name, _ in numbers_of(Scaling())]
    need(
        all(each.dtype == torch.float64 and each.dim() == 1 for each in found),
        "its scaling is not of float64 [columns]",
    )
    columns: tuple[Column, ...] = ()
    if COLUMNS in tensors:
        written = tensors.pop(COLUMNS)
        need(written.dtype == torch.uint8 and written.dim() == 1, "the columns of its table are not of uint8 [bytes]")
        listed = parsed(written.numpy().tobytes().decode())
        need(isinstance(listed, list), "the columns of its table are not a list")
        columns = tuple(from_dict(Column, each) for each in listed)
    offset, factor = (tuple(each.tolist()) for each in found)
    scaling = Scaling(kind, offset, factor, columns)
    scaling.check(shape)
    return scaling


def kind_of(path: Path) -> str:
    """Return the kind of a file written by `write`; "" if it is no such file."""
    try:
        with open_tensors(path) as file:
            return (file.metadata() or {}).get("format", "")
    except (OSError, SafetensorError):
        return ""


@contextmanager
def reading(
    path: str | Path, kind: str, what: str, names: Sequence[str] = (), dimensions: Sequence[int] = (3,)
) -> Iterator[Content]:
    """Context that yields the content of a file of this `kind`; InputError if it, or its use in the context, is invalid.

    what: describes such a file and its origin in the error message. names: header fields beside the common ones. dimensions:
    numbers of dimensions that an input may have. A file without a checksum, as earlier versions wrote them, causes a warning.
    """
    try:
        tensors, texts, sealed = read(path)
        if texts.get("format") != kind:
            raise ValueError(f"its format is {texts.get('format')!r}, not {kind!r}")
        other = sorted(
            texts.keys() - {SCALING} ^ {*COMMON, *names}
        )  # exact, so that damage to the checksum's name cannot hide it
        need(not other, f"its header does not have the fields {', '.join((*COMMON, *names))}: see {', '.join(other)}")
        spec = from_dict(StackSpec, parsed(texts["stack"]))
        shape = tuple(parsed(texts["input_shape"]))
        need(
            len(shape) in dimensions,
            f"its inputs have the shape {list(shape)}{', not [C, H, W]' * (dimensions == (3,))}",
        )
        for side in shape:
            whole(side, "side of its inputs")
        need(math.prod(shape) <= MOST_VALUES, f"its inputs have {math.prod(shape):,} values, more than {MOST_VALUES:,}")
        scaling = scaling_in(tensors, parsed(texts[SCALING]), shape) if SCALING in texts else None
        yield Content(tensors, spec, shape, {name: parsed(texts[name]) for name in names}, scaling)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        is_absent = isinstance(error, FileNotFoundError)
        reason = "it does not exist" if is_absent else " ".join(str(error).split())[:300]
        raise InputError(f"{path} is not {what.format(reason=f'({reason})')}") from error
    if not sealed:
        message = f"{path} has no checksum, so that damage is not detected: load it and save it again to add one"
        warnings.warn(printable(message), stacklevel=4)
