"""Room on the disk: what a run will write, counted before it is trained, and whether it fits.

Weights are counted exactly, all beside them is bounded from above: the sum is at most about twice what is written.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from stacked.evaluation.pictures import SHOWN
from stacked.model.stack import StackedAutoencoder, empty_stack
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.stages.stage import Shape
from stacked.util.atomic import writing
from stacked.util.errors import Unwritable

#: Bytes that a file takes at least, and by which it grows.
BLOCK = 4096
#: Bytes of a point of the curve: in the state of a checkpoint, and in points.jsonl; and of a point of a stage there.
STATE_POINT, LINE, STAGE_LINE = 450, 450, 170
#: Bytes that MLflow's database grows by for a metric, with its indices, and for a run; metrics of a point, and of a stage's.
METRIC, RUN, METRICS, STAGE_METRICS = 330, 24_000, 9, 2
#: Bytes of a tensor's name and place in a file, of a spec and of a record of a run, of a layer in an exported graph, and of an
#: example's value as text, in two files.
TENSOR, RECORD, LAYER, AS_TEXT = 200, 3000, 4000, 26
#: Bytes of a picture for each value of the images in it; pixels are enlarged, and grey ones written as three colours.
PIXEL = 36 / (2 * SHOWN)
#: Tensors that an optimiser keeps for each parameter.
MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1}


@dataclass(frozen=True)
class Room:
    """Bytes that a run takes: `kept` for good, and `passing` while it trains."""

    kept: int
    passing: int = 0

    def __add__(self, other: Room) -> Room:
        return Room(self.kept + other.kept, self.passing + other.passing)


def work_room(spec: RunSpec, shape: Shape, updates_per_epoch: int, classes: int, work: Path) -> Room:
    """What a run has yet to write into its work folder, for images of `shape` (C, H, W).

    A checkpoint after each phase, the encoder and its points; in passing two checkpoints inside a phase, and the file that is
    to replace one.
    """
    stack, kept, passing, done = empty_stack(spec.stack, shape), _file(RECORD), 0, finished_phases(work)
    for number, (phase, points, own) in enumerate(_phases(spec, updates_per_epoch), start=1):
        state = RECORD + points * STATE_POINT
        if number > done:
            kept += _file(_weights(stack, phase.depth) + state)
            passing = max(passing, 3 * _file(_inside(spec, stack, phase, classes) + state))
        kept += _file(RECORD) + _file(own * STAGE_LINE)
    kept += _file(_weights(stack.encoder) + RECORD) + _file(_points(spec, updates_per_epoch) * LINE)
    there = sum(path.stat().st_size for path in work.glob("update-[01].safetensors"))
    return Room(kept, max(0, passing - there))


def store_room(spec: RunSpec, shape: Shape, updates_per_epoch: int, work: Path) -> Room:
    """What a local MLflow store has yet to take of a run: copies of checkpoints, the exported model, pictures, its numbers."""
    stack, values, done = empty_stack(spec.stack, shape), torch.Size(shape).numel(), finished_phases(work)
    encoder, points = _weights(stack.encoder), _points(spec, updates_per_epoch)
    kept = _file(encoder + RECORD) + _file(encoder + RECORD + len(stack.encoder) * LAYER) + 7 * BLOCK
    kept += 2 * _file(AS_TEXT * values)
    kept += (points // spec.evaluation.probe_every + 3) * (_file(round(PIXEL * 2 * SHOWN * values)) + BLOCK)
    kept += points * METRICS * METRIC + RUN
    for number, (phase, so_far, own) in enumerate(_phases(spec, updates_per_epoch), start=1):
        if number > done:
            kept += _file(_weights(stack, phase.depth) + RECORD + so_far * STATE_POINT)
        kept += own * STAGE_METRICS * METRIC + RUN // 2
    return Room(kept)


def finished_phases(work: Path) -> int:
    """How many phases of a run have left a checkpoint in its work folder."""
    return len(list(work.glob("phase-*.safetensors")))


def check_room(needs: Iterable[tuple[Path, int]], what: str, remedy: str) -> None:
    """Raise Unwritable unless there is as much free as is needed in each folder, all together where they share a disk."""
    disks: dict[int, list[tuple[Path, int]]] = {}
    for folder, need in needs:
        disks.setdefault(folder.stat().st_dev, []).append((folder, need))
    for sharing in disks.values():
        need, free = sum(need for _, need in sharing), shutil.disk_usage(sharing[0][0]).free
        if need > free:
            places = " and ".join(str(folder) for folder, _ in sharing)
            raise Unwritable(f"{what} may write {_told(need)} to {places}, where {_told(free)} are free: {remedy}")


def check_writable(folder: Path, replaced: Iterable[str] = (), changed: Iterable[str] = ()) -> None:
    """Make `folder`; Unwritable unless files can be written in it, and those that are there be replaced, or changed in place.

    To replace a file takes a folder that can be written, whatever the mode of the file: it is done by renaming.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            probe.write(b"x")
    for path, why in (
        *((path, _why_not_replaced(path)) for path in map(folder.joinpath, replaced)),
        *((path, _why_not_changed(path)) for path in map(folder.joinpath, changed)),
    ):
        if why:
            raise Unwritable(f"{path} cannot be written ({why}): move it away, or choose another folder")


def _why_not_changed(path: Path) -> str:
    """What keeps this process from changing a file in place; "" where nothing does, or there is none."""
    if not path.exists() or (path.is_file() and os.access(path, os.W_OK)):
        return ""
    return "it is read-only" if path.is_file() else "it is not a file"


def _why_not_replaced(path: Path) -> str:
    """What keeps this process from replacing a file in a folder that it can write to."""
    if not path.exists():
        return ""
    if not path.is_file():
        return "it is not a file"
    folder = path.parent.stat()
    owners = (0, folder.st_uid, path.stat().st_uid)
    if folder.st_mode & stat.S_ISVTX and os.name == "posix" and os.geteuid() not in owners:
        return "in this folder, as in /tmp, files are replaced by their owners alone"
    return ""


def _phases(spec: RunSpec, updates_per_epoch: int) -> list[tuple[Phase, int, int]]:
    """Each phase, the most points that the curve has after it, and those of its own."""
    found, updates = [], 0
    for phase in spec.phases(updates_per_epoch):
        updates += phase.updates
        found.append((phase, updates // spec.evaluation.every + 3, phase.updates // spec.evaluation.every + 2))
    return found


def _points(spec: RunSpec, updates_per_epoch: int) -> int:
    """The most points of the curve, its outcome counted as one more."""
    return max([points for _, points, _ in _phases(spec, updates_per_epoch)], default=2) + 1


def _weights(module: nn.Module, depth: int | None = None) -> int:
    """Bytes that parameters and buffers take in a file; those of a stack's first `depth` stages."""
    parts = module.stages[:depth] if isinstance(module, StackedAutoencoder) else [module]
    return sum(tensor.nbytes + TENSOR for part in parts for tensor in part.state_dict().values())


def _inside(spec: RunSpec, stack: StackedAutoencoder, phase: Phase, classes: int) -> int:
    """Bytes of the tensors of a checkpoint inside a phase: weights, what the optimiser keeps, the best weights, and a copy."""
    config, stack_bytes = spec.optimisation, _weights(stack, phase.depth)
    learning = sum(_weights(stage) for stage in stack.stages[phase.trainable[0] - 1 : phase.trainable[1]])
    head = 4 * classes * (torch.Size(stack.shapes(stack.input_shape)[phase.depth]).numel() + 1)
    own = MOMENTS[config.optimiser] * learning + (
        head * (1 + MOMENTS[config.optimiser]) if phase.target == "labels" else 0
    )
    own += 4 * spec.evaluation.every
    own += stack_bytes if config.patience_of(phase) else 0
    return stack_bytes + own + (stack_bytes + own if config.on_fault == "rollback" else 0)


def _file(size: int) -> int:
    """Bytes that a file of this size takes."""
    return -(-size // BLOCK) * BLOCK


def _told(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
