"""Checkpoints: one safetensors file with the weights as tensors and the rest of the state as JSON in its header.

Written atomically; nothing is ever unpickled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stacked.atomic import write_atomically
from stacked.errors import InputError
from stacked.plain import flat, to_json
from stacked.spec import RunSpec, from_json

FORMAT = "stacked checkpoint 1"


def save_checkpoint(path: Path, spec: RunSpec, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write `tensors` and the JSON-able `state` of a run of `spec`."""
    header = {"format": FORMAT, "spec": to_json(spec), "state": json.dumps(state)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, header))


def load_checkpoint(path: Path, spec: RunSpec) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state in `path`; InputError when it is no whole checkpoint, or one of another spec."""
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole checkpoint ({error}): delete it to train this phase again") from error
    if header.get("format") != FORMAT:
        raise InputError(f"{path} is not a checkpoint of this version ({FORMAT}): delete it to train this phase again")
    if header["spec"] != to_json(spec):
        raise InputError(f"{path} belongs to another spec: {differences(from_json(header['spec']), spec)}")
    return tensors, json.loads(header["state"])


def differences(there: RunSpec, here: RunSpec) -> str:
    """The fields in which two specs differ, as one line."""
    a, b = flat(there), flat(here)
    both = [(name, a.get(name, "default"), b.get(name, "default")) for name in {**a, **b}]
    return "; ".join(f"{name} is {mine!r} there and {yours!r} here" for name, mine, yours in both if mine != yours)


def latest(folder: Path, count: int) -> int | None:
    """The number of the last of `count` phases that has a checkpoint in `folder`."""
    return next((k for k in range(count, 0, -1) if phase_path(folder, k).exists()), None)


def phase_path(folder: Path, number: int) -> Path:
    """Where the checkpoint after phase `number` (from 1) lies."""
    return folder / f"phase-{number}.safetensors"
