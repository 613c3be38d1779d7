"""One phase of a run: its inputs and targets, its training, and its record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from stacked.cost.flops import recalibration_flops, update_flops
from stacked.cost.memory import training_bytes
from stacked.data import Split, Splits
from stacked.data.labels import label_subset
from stacked.data.stream import Order
from stacked.evaluation.curves import Curves, State
from stacked.model.stack import StackedAutoencoder
from stacked.runs.checkpoint import Checkpoints, Saved
from stacked.runs.checkpoint_validation import place_of, restore_training
from stacked.runtime.free_memory import free_bytes
from stacked.runtime.progress import Bar
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.stages.initialise import resample
from stacked.training.codes import Images, Prefix, Targets, inputs, plan
from stacked.training.fit import Training

NewBar = Callable[[str, int], Bar]


@dataclass(frozen=True)
class Material:
    """The images of a split that a phase reads, and their labels [N]."""

    images: Images
    labels: Tensor

    def targets(self, phase: Phase) -> Targets | None:
        """What a phase is to give, where that is not what it reads."""
        if phase.target == "input":
            return None
        if phase.target == "pixels":
            return self.images
        return lambda index: self.labels[index].to(self.images.device)


def material(
    spec: RunSpec, splits: Splits, phase: Phase, device: torch.device, most: int | None = None
) -> tuple[Material, Material]:
    """What `phase` trains on (the first `most` of it) and is watched on: all images, or for classes those of the label budget."""

    def part(split: Split, rows: Tensor | None) -> Material:
        labels = split.labels if rows is None else split.labels[rows]
        return Material(Images.near(split.images, device, rows), labels)

    train, valid, first, others = splits.train, splits.valid, None, None
    if phase.target == "labels":
        first = label_subset(train.labels, spec.optimisation.labels, spec.seed)[:most]
        others = label_subset(valid.labels, None, spec.seed)
    elif most is not None:
        first = torch.arange(len(train))[:most]
    return part(train, first), part(valid, others)


def train_phase(
    stack: StackedAutoencoder,
    spec: RunSpec,
    phases: list[Phase],
    number: int,
    splits: Splits,
    codes: str,
    curves: Curves,
    bar: NewBar | None,
    checkpoints: Checkpoints,
    saved: Saved | None = None,
) -> None:
    """Train the phase of this number (from 1) and record it, in the arm's curve and in a stage run of its own.

    `saved` is the place inside the phase from which it goes on.
    """
    state, tracker, how, where = curves.state, curves.tracker, spec.optimisation, next(stack.parameters()).device
    phase = phases[number - 1]
    place = place_of(saved) if saved else None
    if phase.resamples:
        resample(stack, spec.seed)
        curves.point(stack, phase, None, last=not any(later.updates for later in phases[number:]))
    if not phase.updates:
        return
    classes = len(splits.classes)
    train, valid = material(spec, splits, phase, where)
    order = Order(len(train.images), how.batch_size, spec.seed)
    stack.learn_only(*phase.learn).eval()
    below = Prefix.of(stack, phase.reads)
    # FLOPs are those of the plan that does not depend on the machine or on what was asked for: arms stay comparable
    counted = plan(below, len(train.images), phase.updates, order.size)
    learning = update_flops(stack, phase, how, classes, order.size)
    if place:
        phase = dataclasses.replace(phase, updates=place.updates)
        counted = plan(below, len(train.images), phase.updates, order.size)
    elif phase.carries:
        more, state.spare = divmod(state.spare, learning + counted.flops_per_update)
        phase = dataclasses.replace(phase, updates=phase.updates + more)
        counted = plan(below, len(train.images), phase.updates, order.size)
    per_update = learning + counted.flops_per_update
    per_batch = recalibration_flops(stack, phase, how, classes, order.size) + counted.flops_per_update
    chosen = plan(below, len(train.images), phase.updates, order.size, codes, free_bytes(where))
    peak_bytes = training_bytes(stack, phase, how, order.size, classes)
    state.peak_bytes, state.codes_bytes = max(state.peak_bytes, peak_bytes), max(state.codes_bytes, counted.bytes)
    params = {
        "learns": f"{phase.learn[0]}-{phase.learn[1]}",
        "reads": phase.reads,
        "target": phase.target,
        "updates": phase.updates,
        "loss": "cross-entropy" if phase.target == "labels" else how.loss_at(phase.restores),
        "corruption_level": "+".join(f"{level:g}" for level in how.levels_at(phase.reads)),
    }
    if not state.curve:
        curves.point(stack, phase, None)
    with (
        tracker.stage(number, phase.name, params) as stage,
        (bar or quiet)(phase.name, phase.updates) as shown,
    ):
        stage.tags({"codes": chosen.mode, "codes_why": chosen.why, "peak_bytes": peak_bytes})
        began = time.perf_counter()
        reads = inputs(stack, phase.reads, train.images, chosen.mode, order.size)
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        state.seconds += time.perf_counter() - began
        if not place:
            state.flop += counted.flops_once
        final = not any(later.updates for later in phases[number:])
        training = Training(
            stack,
            phase,
            reads,
            how,
            order=order,
            seed=spec.seed,
            done=state.updates - (place.update if place else 0),
            every=spec.evaluation.every,
            valid=inputs(stack, phase.reads, valid.images, "recompute", order.size) if how.patience_of(phase) else None,
            targets=train.targets(phase),
            valid_targets=valid.targets(phase),
            classes=classes,
        )
        if saved and place:
            restore_training(saved, training, place)
        spent = Spent(state, training, order.size, per_update, per_batch)

        def keep() -> None:
            if checkpoints.due(training.update):
                spent.note()
                tensors, plain = training.state()
                inner = asdict(state) | {"training": plain | {"updates": phase.updates}}
                # what a rollback undid counts too: a later place must never have the number of an earlier one
                made = training.update + training.lost
                checkpoints.inside(number - 1, made, stack.state_dict() | tensors, inner)

        for point in training.points(keep):
            spent.note()
            shown.to(point.update, point.loss)
            stage.log(
                {"stage/loss": point.loss, "stage/lr": point.lr}
                | ({} if point.valid_loss is None else {"stage/valid_loss": point.valid_loss}),
                step=point.update,
            )
            curves.point(stack, phase, point, last=final and (point.stopped or point.update == phase.updates))
    state.spare += (phase.updates - training.update) * per_update


class Spent:
    """Adds what a training spends to the state of its run.

    images, flop: of an update. recalibrating: FLOPs of a batch on which running statistics are taken anew.
    """

    def __init__(self, state: State, training: Training, images: int, flop: int, recalibrating: int) -> None:
        self.state, self.training, self.images, self.flop = state, training, images, flop
        self.recalibrating = recalibrating
        self.remember()

    def remember(self) -> None:
        """What is counted by now."""
        now = self.training
        self.update, self.lost, self.seconds = now.update, now.lost, now.seconds
        self.skipped, self.rollbacks, self.recalibrated = now.skipped, now.rollbacks, now.recalibrated

    def note(self) -> None:
        """Count the updates and the seconds since it was last called."""
        now, state = self.training, self.state
        made = now.update - self.update
        spent = made + now.lost - self.lost  # what a rollback undid was spent too
        state.updates += made
        state.images_seen += spent * self.images
        state.flop += spent * self.flop + (now.recalibrated - self.recalibrated) * self.recalibrating
        state.seconds += now.seconds - self.seconds
        state.skipped += now.skipped - self.skipped
        state.rollbacks += now.rollbacks - self.rollbacks
        self.remember()


def quiet(label: str, total: int) -> Bar:
    """A bar that shows nothing."""
    return Bar(label, total, quiet=True)
