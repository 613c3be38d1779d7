"""Checkpoints: one safetensors file with the weights as tensors and the remaining state as JSON in its header.

A run leaves a checkpoint after each phase, and the last two inside the current phase. Files are written atomically and have a
checksum; nothing is ever unpickled. `runs.run` loads the newest; `runs.observer` saves those of phases, `runs.supervised_end`
those of classifiers; `runs.checkpoint_validation` restores training from them.
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

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from stacked.model import tensor_file
from stacked.spec import RunSpec
from stacked.spec.differences import stored_spec_differences
from stacked.util.atomic import sweep, write_atomically
from stacked.util.checks import finite, need
from stacked.util.errors import InputError, Interrupted
from stacked.util.serialization import parsed, to_json

FORMAT = "stacked checkpoint 2"
#: names of checkpoint files
NAME = re.compile(r"(phase-\d+|update-[01])\.safetensors")
#: Largest fraction of a run's time that checkpoints inside a phase may take, and the least seconds between two of them.
MAX_TIME_FRACTION, MIN_INTERVAL_SECONDS = 0.02, 5.0
#: Key of the header that holds a checkpoint's position: the numbers of finished phases, and of updates in the next one.
POSITION_KEY = "place"
#: Key of the state that holds the seconds that the run took until then.
ELAPSED_KEY = "elapsed"


@dataclass(frozen=True)
class Saved:
    """The content of a checkpoint: the stack's tensors and others by name, and the plain state.

    phases: number of finished phases. update: number of updates made in the next phase, including rolled-back ones.
    """

    path: Path
    phases: int
    update: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]

    @property
    def elapsed(self) -> float:
        """The seconds that the run had taken; 0 in a checkpoint of an earlier version, which does not hold them."""
        found = self.state.get(ELAPSED_KEY, 0.0)
        need(
            finite(found) and found >= 0, f"{self.path} does not fit its run ({ELAPSED_KEY} is {found!r}): move it away"
        )
        return float(found)

    @property
    def is_classifier(self) -> bool:
        """Whether it was written while a classifier or regressor was fine-tuned; these are numbered after the last phase."""
        return "classifier" in self.state


class Checkpoints:
    """The checkpoints of one run, in its work folder (None: no checkpoints are written).

    every: updates between two checkpoints inside a phase (None: by time, so that they take at most 2 % of the run time).
    stop: called after every update; if it returns True, a checkpoint is written and Interrupted is raised.
    """

    def __init__(
        self,
        folder: Path | None,
        spec: RunSpec,
        every: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.folder, self.spec, self.every, self.stop = folder, spec, every, stop
        self.wrote_at, self.seconds_to_write, self.stopping = time.monotonic(), 0.0, False
        self.began, self.earlier_seconds = time.monotonic(), 0.0
        self.slot = 0  # checkpoints inside a phase alternate between two files

    def elapsed(self) -> float:
        """Return the seconds of the run so far, with those of earlier processes until their last checkpoint."""
        return self.earlier_seconds + time.monotonic() - self.began

    def due(self, update: int) -> bool:
        """Whether a checkpoint is due after `update` of a phase, by time or because the run is asked to stop."""
        self.stopping = self.stop()
        if self.stopping:
            return True
        if self.folder is None:
            return False
        if self.every is not None:
            return update % self.every == 0
        return time.monotonic() - self.wrote_at >= max(MIN_INTERVAL_SECONDS, self.seconds_to_write / MAX_TIME_FRACTION)

    def save_inside_phase(self, phases: int, update: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write a checkpoint inside a phase over the older of the last two; raises Interrupted if the run is asked to stop."""
        if self.folder is not None:
            began = time.monotonic()
            state = state | {ELAPSED_KEY: self.elapsed()}
            save_checkpoint(slot_path(self.folder, self.slot), self.spec, phases, update, tensors, state)
            self.slot = 1 - self.slot
            self.wrote_at = time.monotonic()
            self.seconds_to_write = self.wrote_at - began
        if self.stopping:
            raise Interrupted("stopped as asked" + (", after a checkpoint was written" if self.folder else ""))

    def save_after_phase(self, phases: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path | None:
        """Write the checkpoint after phase number `phases`; returns its path."""
        if self.folder is None:
            return None
        state = state | {ELAPSED_KEY: self.elapsed()}
        save_checkpoint(phase_path(self.folder, phases), self.spec, phases, 0, tensors, state)
        self.wrote_at = time.monotonic()
        return phase_path(self.folder, phases)

    def newest(self) -> Saved | None:
        """Return the newest valid checkpoint; a damaged one causes a warning, and the one before it is used.

        Raises InputError if it belongs to another spec or another version.
        """
        if self.folder is None:
            return None
        sweep(self.folder)
        found = []
        for path in self.folder.glob("*.safetensors"):
            if NAME.fullmatch(path.name):
                with skip_damaged():
                    found.append((position(path), path))
        for _, path in sorted(found, reverse=True):
            with skip_damaged():
                saved = load_checkpoint(path, self.spec)
                self.slot = 1 - int(path.stem[-1]) if path.name.startswith("update-") else 0
                self.earlier_seconds = saved.elapsed
                return saved
        return None

    def clear(self) -> None:
        """Remove the checkpoints inside a phase."""
        if self.folder is not None:
            for slot in (0, 1):
                slot_path(self.folder, slot).unlink(missing_ok=True)


class Damaged(InputError):
    """A checkpoint is damaged or incomplete."""


@contextmanager
def skip_damaged() -> Iterator[None]:
    """Context that turns Damaged into a warning."""
    try:
        yield
    except Damaged as error:
        warnings.warn(f"{error}: it is ignored, and the checkpoint before it used", RuntimeWarning, stacklevel=4)


def save_checkpoint(
    path: Path, spec: RunSpec, phases: int, update: int, tensors: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Write a checkpoint of a run of `spec` after a number of finished phases and `update` updates of the next one."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {
        "format": FORMAT,
        "spec": to_json(spec),
        POSITION_KEY: json.dumps([phases, update]),
        "state": json.dumps(state),
    }
    write_atomically(path, save(contiguous, header | {"sha256": checksum(contiguous, header)}))


def load_checkpoint(path: Path, spec: RunSpec) -> Saved:
    """Return the content of a checkpoint; Damaged if it is not complete, InputError if it belongs to another spec or version."""
    header = read_header(path)
    try:
        with tensor_file.open_tensors(path) as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{path} is incomplete or damaged ({error})") from error
    if checksum(tensors, header) != header.get("sha256"):
        raise Damaged(f"{path} does not match its checksum")
    phases, update = position_in(header, path)
    if header.get("spec") != to_json(spec):
        raise InputError(f"{path} belongs to another spec: {stored_spec_differences(header.get('spec', ''), spec)}")
    try:
        state = parsed(header.get("state", ""))
    except ValueError as error:
        raise Damaged(f"{path} is incomplete or damaged (its state is not JSON: {error})") from error
    if not isinstance(state, dict):
        raise Damaged(f"{path} is incomplete or damaged (its state is not a JSON object)")
    return Saved(path, phases, update, tensors, state)


def read_header(path: Path) -> dict[str, str]:
    """Return the header of a checkpoint; Damaged if it cannot be read, InputError if it is of another version."""
    try:
        with tensor_file.open_tensors(path) as file:
            header: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{path} is incomplete or damaged ({error})") from error
    if header.get("format") != FORMAT:
        raise InputError(f"{path} is not a checkpoint of this version ({FORMAT}): move it away to train the run again")
    return header


def position(path: Path) -> tuple[int, int]:
    """Return the numbers of finished phases, and of updates in the next one, of a checkpoint."""
    return position_in(read_header(path), path)


def position_in(header: dict[str, str], path: Path) -> tuple[int, int]:
    """Return the position in a header; Damaged if it has none."""
    found = re.fullmatch(r"\[(\d{1,15}), (\d{1,15})\]", header.get(POSITION_KEY, ""), re.ASCII)
    if found is None:
        raise Damaged(f"{path} is incomplete or damaged (its header has no position)")
    return int(found[1]), int(found[2])


def checksum(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    """Return the SHA-256 of a checkpoint: of names, dtypes, shapes and bytes of its tensors, and of its header."""
    return tensor_file.checksum(tensors, {name: header.get(name) for name in ("format", "spec", POSITION_KEY, "state")})


def phase_path(folder: Path, number: int) -> Path:
    """Return the path of the checkpoint after phase `number` (from 1)."""
    return folder / f"phase-{number}.safetensors"


def slot_path(folder: Path, slot: int) -> Path:
    """Return the path of one of the two checkpoints inside a phase. slot: 0 or 1."""
    return folder / f"update-{slot}.safetensors"
