"""The trained encoder as a file to be given away: weights as safetensors, and as JSON in its header what they are of.

Whoever loads it runs no code that is in the file.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from stacked.atomic import write_atomically
from stacked.checks import need, whole
from stacked.errors import InputError
from stacked.plain import from_dict, parsed, to_json
from stacked.spec import StackSpec
from stacked.stack import Half, StackedAutoencoder, build

FORMAT = "stacked encoder 1"


def save_encoder(path: Path, stack: StackedAutoencoder, spec: StackSpec) -> None:
    """Write the encoder of `stack`, which was built as `spec` says; InputError when the place cannot be written."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in stack.encoder.state_dict().items()}
    header = {"format": FORMAT, "stack": to_json(spec), "input_shape": json.dumps(stack.input_shape)}
    write_atomically(path, save(tensors, header))


def load_encoder(path: str | Path) -> Half:
    """The encoder that a run left as encoder.safetensors: images [N, C, H, W] in 0..1 to codes, on the CPU, in eval mode.

    The file may be anyone's: it is read as safetensors and JSON, and takes no more memory than it is long. Raises InputError
    when it is not such a file.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header.get("format") != FORMAT:
            raise ValueError(f"its format is {header.get('format')!r}, not {FORMAT!r}")
        spec = from_dict(StackSpec, parsed(header["stack"]))
        shape = tuple(parsed(header["input_shape"]))
        need(len(shape) == 3, f"its images have the shape {list(shape)}, not [C, H, W]")
        for side in shape:
            whole(side, "side of its images")
        with torch.device("meta"):  # weights get memory only from the file
            encoder = build(spec, shape).encoder
        kinds = {name: tensor.dtype for name, tensor in encoder.state_dict().items()}
        encoder.load_state_dict(tensors, assign=True)
        for name, kind in kinds.items():
            need(tensors[name].dtype == kind, f"its tensor {name!r} is of {tensors[name].dtype}, not {kind}")
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} is not an encoder ({reason}): give the encoder.safetensors of a run") from error
    return encoder.eval()
