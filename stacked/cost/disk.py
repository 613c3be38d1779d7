"""Disk space: the bytes that a run will write, estimated before training, and whether they fit.

Weights are counted exactly; everything else has an upper bound, so that the sum is at most about twice what is written.
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
from stacked.model.head import build_head
from stacked.model.stack import StackedAutoencoder
from stacked.model.stack_file import NAME as STACK_FILE
from stacked.model.supervised_file import model_path
from stacked.spec import Classification, RunSpec
from stacked.spec.growth import Phase
from stacked.spec.objectives import decoded_stages
from stacked.training.objective_losses import ObjectiveLosses
from stacked.training.stale_codes import stale_blocks
from stacked.util.atomic import writing
from stacked.util.errors import Unwritable

#: Bytes of a block of the file system: the least size of a file.
BLOCK = 4096
#: Bytes of one evaluation in the state of a checkpoint, of one in points.jsonl, and of a stage's metrics in points.jsonl.
STATE_EVALUATION, LINE, STAGE_LINE = 530, 730, 170
#: In MLflow's database: bytes of a metric, with its indices, and of a run. Number of metrics of an evaluation, and of a stage.
METRIC, RUN, METRICS, STAGE_METRICS = 330, 24_000, 15, 2
#: Metrics of the encoder in MLflow: the last ones of its run.
MODEL_METRICS = 40
#: Bytes of a tensor's name and offset in a file, of the spec and the record of a run, of a layer in an exported graph, and of one
#: value of an example, which is stored as text in two files.
TENSOR, RECORD, LAYER, AS_TEXT = 200, 3000, 4000, 26
#: Bytes of a picture per value of its images; pixels are enlarged, and grey images are written in three colours.
PIXEL = 36 / (2 * SHOWN)
#: Bytes of a picture of signals or of the errors of columns.
PLOT = 250_000
#: Number of tensors that an optimiser keeps per parameter.
MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1, "lbfgs": 0}


@dataclass(frozen=True)
class Room:
    """Bytes that a run takes on the disk: permanently (`kept`), and in addition during training (`temporary`)."""

    kept: int
    temporary: int = 0

    def __add__(self, other: Room) -> Room:
        return Room(self.kept + other.kept, self.temporary + other.temporary)


def work_room(spec: RunSpec, stack: StackedAutoencoder, phases: list[Phase], classes: int, work: Path) -> Room:
    """Return the bytes that a run has yet to write into its work folder `work`.

    stack: the stack that the run grows, with or without values of its weights. phases: all phases of the run. Permanent files
    are a checkpoint after each phase, the encoder, the stack, the classifiers and the metric logs. Temporary ones are two
    checkpoints inside a phase, and the file that replaces one of them; those inside the fine-tuning of a classifier are the
    largest. A stack that is there is replaced too.
    """
    kept, temporary, done = _file(RECORD), 0, finished_phases(work)
    counted = _evaluations(phases, spec.evaluation.every)
    for number, (phase, evaluations, own) in enumerate(counted, start=1):
        state = RECORD + evaluations * STATE_EVALUATION
        if number > done:
            kept += _file(_weights(stack, phase.depth) + state)
            temporary = max(temporary, 3 * _file(_inside(spec, stack, phase, classes) + state))
        kept += _file(RECORD) + _file(own * STAGE_LINE)
    kept += _file(_weights(stack.encoder) + RECORD) + _file(_in_curve(counted) * LINE)
    whole = _file(_weights(stack) + RECORD)
    kept, temporary = (kept, max(temporary, whole)) if (work / STACK_FILE).exists() else (kept + whole, temporary)
    left = classifiers_left(spec, classes, work)
    if left:
        state = RECORD + _in_curve(counted) * STATE_EVALUATION
        temporary = max(temporary, 3 * _file(_inside_classifier(spec.classification, stack, classes) + state))
        kept += left * _classifier(spec.classification, stack, classes)
    there = sum(path.stat().st_size for path in work.glob("update-[01].safetensors"))
    return Room(kept, max(0, temporary - there))


def store_room(spec: RunSpec, stack: StackedAutoencoder, phases: list[Phase], classes: int, work: Path) -> Room:
    """Return the bytes that a run has yet to write to a local MLflow store: checkpoints, models, pictures and metrics.

    stack, phases, classes: as for `work_room`.
    """
    values, done = torch.Size(stack.input_shape).numel(), finished_phases(work)
    counted = _evaluations(phases, spec.evaluation.every)
    encoder, evaluations = _weights(stack.encoder), _in_curve(counted)
    kept = _file(encoder + RECORD) + _file(encoder + RECORD + len(stack.encoder) * LAYER) + 7 * BLOCK
    kept += _file(_weights(stack) + RECORD)
    kept += 2 * _file(AS_TEXT * values)
    picture = round(PIXEL * 2 * SHOWN * values) if len(stack.input_shape) > 2 else PLOT
    kept += (evaluations // spec.evaluation.probe_every + 4) * (_file(picture) + BLOCK)
    kept += evaluations * METRICS * METRIC + RUN + MODEL_METRICS * METRIC
    for number, (phase, so_far, own) in enumerate(counted, start=1):
        if number > done:
            kept += _file(_weights(stack, phase.depth) + RECORD + so_far * STATE_EVALUATION)
        kept += own * STAGE_METRICS * METRIC + RUN // 2
    left = classifiers_left(spec, classes, work)
    if left:
        config = spec.classification
        each = _classifier(config, stack, classes) + config.checks * len(config.lrs) * METRIC + RUN // 2
        kept += left * each
    return Room(kept)


def finished_phases(work: Path) -> int:
    """Return the number of phases that have a checkpoint in the work folder."""
    return len(list(work.glob("phase-*.safetensors")))


def classifiers_left(spec: RunSpec, classes: int, work: Path) -> int:
    """Return the number of classifiers that a run has yet to write into its work folder; none without classes."""
    names = ["all" if budget is None else str(budget) for budget in spec.classification.labels] if classes else []
    return sum(not model_path(work, "classifier", name).exists() for name in names)


def check_room(needs: Iterable[tuple[Path, int]], what: str, remedy: str) -> None:
    """Raise Unwritable unless every folder has the bytes that it needs free; needs of folders on one disk are added."""
    disks: dict[int, list[tuple[Path, int]]] = {}
    for folder, need in needs:
        disks.setdefault(folder.stat().st_dev, []).append((folder, need))
    for sharing in disks.values():
        need, free = sum(need for _, need in sharing), shutil.disk_usage(sharing[0][0]).free
        if need > free:
            places = " and ".join(str(folder) for folder, _ in sharing)
            raise Unwritable(f"{what} may write {_size(need)} to {places}, where {_size(free)} are free: {remedy}")


def check_writable(folder: Path, replaced: Iterable[str] = (), changed: Iterable[str] = ()) -> None:
    """Create `folder`; Unwritable unless files can be created in it, and existing ones `replaced`, or `changed` in place.

    Replacing a file is a renaming, which needs a writable folder whatever the mode of the file.
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
    """Return why this process cannot change an existing file in place; "" if it can, or the file does not exist."""
    if not path.exists() or (path.is_file() and os.access(path, os.W_OK)):
        return ""
    return "it is read-only" if path.is_file() else "it is not a file"


def _why_not_replaced(path: Path) -> str:
    """Return why this process cannot replace a file in a writable folder; "" if it can."""
    if not path.exists():
        return ""
    if not path.is_file():
        return "it is not a file"
    folder = path.parent.stat()
    owners = (0, folder.st_uid, path.stat().st_uid)
    if folder.st_mode & stat.S_ISVTX and os.name == "posix" and os.geteuid() not in owners:
        return "in this folder, as in /tmp, only its owner can replace a file"
    return ""


def _evaluations(phases: list[Phase], every: int) -> list[tuple[Phase, int, int]]:
    """Return each phase, the most evaluations in the curve after it, and the most metrics of the phase itself."""
    found, updates = [], 0
    for phase in phases:
        updates += phase.updates
        found.append((phase, updates // every + 3, phase.updates // every + 2))
    return found


def _in_curve(counted: list[tuple[Phase, int, int]]) -> int:
    """Return the most evaluations in the curve, with one more for the final metrics."""
    return max((evaluations for _, evaluations, _ in counted), default=2) + 1


def _weights(module: nn.Module, depth: int | None = None) -> int:
    """Return the bytes of parameters and buffers in a file, of a module or of a stack's first `depth` stages."""
    parts = module.stages[:depth] if isinstance(module, StackedAutoencoder) else [module]
    return sum(tensor.nbytes + TENSOR for part in parts for tensor in part.state_dict().values())


def _inside(spec: RunSpec, stack: StackedAutoencoder, phase: Phase, classes: int) -> int:
    """Return the bytes of a checkpoint inside a phase: weights, optimiser state, stale codes, best weights, last snapshot."""
    config, stack_bytes = spec.optimisation, _weights(stack, phase.depth)
    decoded, trained = decoded_stages(phase, config), enumerate(stack.stages[: phase.depth], start=1)
    learning = sum(_weights(s if k in decoded else s.encoder) for k, s in trained if k >= phase.trainable[0])
    own = MOMENTS[config.optimiser] * learning + (1 + MOMENTS[config.optimiser]) * _auxiliary(
        spec, stack, phase, classes
    )
    own += 4 * spec.evaluation.every
    own += stack_bytes if config.patience_of(phase) else 0
    with torch.device("meta"):
        stale = stale_blocks(stack, phase, config)
    own += _weights(stale) if stale else 0
    return stack_bytes + own + (stack_bytes + own if config.on_nonfinite == "rollback" else 0)


def _auxiliary(spec: RunSpec, stack: StackedAutoencoder, phase: Phase, classes: int) -> int:
    """Return the bytes of the parameters that a phase trains beside the stack's: of a head, or of objectives."""
    if phase.target == "labels":
        return 4 * classes * (torch.Size(stack.stages[phase.depth - 1].code_shape).numel() + 1)
    if phase.target == "objectives":
        with torch.device("meta"):
            return _weights(ObjectiveLosses(stack, phase, spec.optimisation, classes=classes))
    return 0


def _head(config: Classification, stack: StackedAutoencoder, classes: int) -> int:
    """Return the bytes of a classifier's head."""
    values = torch.Size(stack.latent_shape).numel()
    with torch.device("meta"):
        return _weights(build_head(values, classes, config.head, config.head_width))


def _classifier(config: Classification, stack: StackedAutoencoder, classes: int) -> int:
    """Return the bytes on the disk of a classifier, and of its curve."""
    checks = config.checks * len(config.lrs) * STAGE_LINE
    return _file(_weights(stack.encoder) + _head(config, stack, classes) + RECORD) + _file(RECORD) + _file(checks)


def _inside_classifier(config: Classification, stack: StackedAutoencoder, classes: int) -> int:
    """Return the bytes of a checkpoint inside fine-tuning: both stacks, optimiser state, and the best classifier so far."""
    head, encoder = _head(config, stack, classes), _weights(stack.encoder)
    learning = head + (encoder if config.encoder == "learning" else 0)
    return 2 * _weights(stack) + head + MOMENTS[config.optimiser] * learning + encoder + head


def _file(size: int) -> int:
    """Return the bytes that a file of this size takes on the disk."""
    return -(-size // BLOCK) * BLOCK


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
