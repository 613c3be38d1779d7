"""Checkpoints: one safetensors file with the weights as tensors and the rest of the state as JSON in its header.

A run leaves one after each phase, and two generations of its place inside the phase that is being trained. Each is written
atomically and carries a checksum; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stacked.model import tensor_file
from stacked.spec import RunSpec, from_json
from stacked.util.atomic import sweep, write_atomically
from stacked.util.errors import InputError, Interrupted
from stacked.util.serialization import flat, parsed, to_json

FORMAT = "stacked checkpoint 2"
#: of a checkpoint's file
NAME = re.compile(r"(phase-\d+|update-[01])\.safetensors")
#: Checkpoints inside a phase may cost this part of a run's time, and there is one after so many seconds at the earliest.
SHARE, LEAST_SECONDS = 0.02, 5.0


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: the stack's tensors and others by name, and the plain state.

    `phases` were finished, and `update` updates made of the next, those that a rollback undid included. `path` is its file.
    """

    path: Path
    phases: int
    update: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, in its work folder (None: there are none, and nothing is kept).

    every: updates between two inside a phase (None: by time, so that they cost at most 2 % of it). stop: asked after every
    update whether the run is to end now; it then raises Interrupted, when its place is kept.
    """

    def __init__(
        self,
        folder: Path | None,
        spec: RunSpec,
        every: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.folder, self.spec, self.every, self.stop = folder, spec, every, stop
        self.wrote_at, self.cost, self.generation, self.ending = time.monotonic(), 0.0, 0, False

    def due(self, update: int) -> bool:
        """Whether the place after `update` of a phase is to be kept: it is time, or the run is to end."""
        self.ending = self.stop()
        if self.ending:
            return True
        if self.folder is None:
            return False
        if self.every is not None:
            return update % self.every == 0
        return time.monotonic() - self.wrote_at >= max(LEAST_SECONDS, self.cost / SHARE)

    def inside(self, phases: int, update: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Keep a place inside a phase, in place of the older of two; Interrupted when the run is to end."""
        if self.folder is not None:
            began = time.monotonic()
            save_checkpoint(
                self.folder / f"update-{self.generation}.safetensors", self.spec, phases, update, tensors, state
            )
            self.generation = 1 - self.generation
            self.wrote_at = time.monotonic()
            self.cost = self.wrote_at - began
        if self.ending:
            raise Interrupted("stopped as asked" + (", after its place was kept" if self.folder else ""))

    def after(self, phases: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path | None:
        """Keep the run as it is after so many phases; returns where."""
        if self.folder is None:
            return None
        save_checkpoint(phase_path(self.folder, phases), self.spec, phases, 0, tensors, state)
        self.wrote_at = time.monotonic()
        return phase_path(self.folder, phases)

    def newest(self) -> Saved | None:
        """The newest checkpoint that is whole; a damaged one is reported, and the one before it used.

        Raises InputError for one of another spec, or of another version.
        """
        if self.folder is None:
            return None
        sweep(self.folder)
        found = []
        for path in self.folder.glob("*.safetensors"):
            if NAME.fullmatch(path.name):
                with left_aside():
                    found.append((place(path), path))
        for _, path in sorted(found, reverse=True):
            with left_aside():
                saved = load_checkpoint(path, self.spec)
                self.generation = 1 - int(path.stem[-1]) if path.name.startswith("update-") else 0
                return saved
        return None

    def clear(self) -> None:
        """Remove what only going on inside a phase needs."""
        if self.folder is not None:
            for generation in (0, 1):
                (self.folder / f"update-{generation}.safetensors").unlink(missing_ok=True)


class Damaged(InputError):
    """A checkpoint that is not whole."""


@contextmanager
def left_aside() -> Iterator[None]:
    """Report a damaged checkpoint, and go on."""
    try:
        yield
    except Damaged as damage:
        warnings.warn(f"{damage}: it is left aside, and the one before it used", RuntimeWarning, stacklevel=4)


def save_checkpoint(
    path: Path, spec: RunSpec, phases: int, update: int, tensors: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Write `tensors` and the JSON-able `state` of a run of `spec`, `update` updates after so many finished phases."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {
        "format": FORMAT,
        "spec": to_json(spec),
        "place": json.dumps([phases, update]),
        "state": json.dumps(state),
    }
    write_atomically(path, save(contiguous, header | {"sha256": checksum(contiguous, header)}))


def load_checkpoint(path: Path, spec: RunSpec) -> Saved:
    """What is in `path`; Damaged when it is no whole checkpoint, InputError when it is one of another spec or version."""
    header = read_header(path)
    try:
        with safe_open(path, "pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{path} is not a whole checkpoint ({error})") from error
    if checksum(tensors, header) != header.get("sha256"):
        raise Damaged(f"{path} is not what was written (its checksum differs)")
    phases, update = place_in(header, path)
    if header.get("spec") != to_json(spec):
        raise InputError(f"{path} belongs to another spec: {differing(header.get('spec', ''), spec)}")
    try:
        state = parsed(header.get("state", ""))
    except ValueError as error:
        raise Damaged(f"{path} is not a whole checkpoint (its state is not JSON: {error})") from error
    if not isinstance(state, dict):
        raise Damaged(f"{path} is not a whole checkpoint (its state has no names)")
    return Saved(path, phases, update, tensors, state)


def read_header(path: Path) -> dict[str, str]:
    """The header of a checkpoint; Damaged when it cannot be read, InputError when it is of another version."""
    try:
        with safe_open(path, "pt") as file:
            header: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{path} is not a whole checkpoint ({error})") from error
    if header.get("format") != FORMAT:
        raise InputError(f"{path} is not a checkpoint of this version ({FORMAT}): move it away to train the run again")
    return header


def place(path: Path) -> tuple[int, int]:
    """How many phases were finished, and updates made of the next, when the checkpoint was written."""
    return place_in(read_header(path), path)


def place_in(header: dict[str, str], path: Path) -> tuple[int, int]:
    """The place that a header tells; Damaged when it tells none."""
    found = re.fullmatch(r"\[(\d{1,15}), (\d{1,15})\]", header.get("place", ""), re.ASCII)
    if found is None:
        raise Damaged(f"{path} is not a whole checkpoint (its header does not say of when)")
    return int(found[1]), int(found[2])


def checksum(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    """SHA-256 of all that a checkpoint says: names, types, shapes and bytes of tensors, and its header."""
    return tensor_file.checksum(tensors, {name: header.get(name) for name in ("format", "spec", "place", "state")})


def differing(written: str, here: RunSpec) -> str:
    """In what the spec that was written as JSON differs from another, as one line."""
    try:
        return differences(from_json(written), here)
    except InputError as error:
        return f"this version cannot have it ({error})"


def differences(there: RunSpec, here: RunSpec) -> str:
    """The fields in which two specs differ, as one line."""
    a, b = flat(there), flat(here)
    both = [(name, a.get(name, "left out"), b.get(name, "left out")) for name in {**a, **b}]
    return "; ".join(f"{name} is {mine!r} there and {yours!r} here" for name, mine, yours in both if mine != yours)


def phase_path(folder: Path, number: int) -> Path:
    """Where the checkpoint after phase `number` (from 1) lies."""
    return folder / f"phase-{number}.safetensors"
