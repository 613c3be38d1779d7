"""Recording of a run while it trains: costs, curves, checkpoints and MLflow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from stacked.cost.phase_cost import PhaseCost, phase_cost
from stacked.evaluation.curves import Curves, State
from stacked.model.stack import StackedAutoencoder
from stacked.runs.checkpoint import Checkpoints, Saved
from stacked.runs.checkpoint_validation import restore_training, training_state
from stacked.runs.stage_parameters import stage_parameters
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.training.fit import Training, TrainingMetrics
from stacked.training.prepare import Examples, PreparedPhase
from stacked.training.pretrain import Observer, PhaseObserver

if TYPE_CHECKING:
    from stacked.tracking.protocol import RecordsStage


class Recording(Observer):
    """Records a run of `spec` while it trains, and resumes from the checkpoint `saved`, if there is one.

    phases: all phases of the run. classes: number of classes of the data.
    """

    def __init__(
        self,
        stack: StackedAutoencoder,
        spec: RunSpec,
        phases: list[Phase],
        classes: int,
        curves: Curves,
        checkpoints: Checkpoints,
        saved: Saved | None,
    ) -> None:
        self.stack, self.spec, self.phases, self.classes = stack, spec, phases, classes
        self.curves, self.state, self.checkpoints = curves, curves.state, checkpoints
        self.saved = saved
        self.training_state = training_state(saved) if saved and saved.update else None
        self.done = self.state.updates - (self.training_state.update if self.training_state else 0)

    def is_inside(self, number: int) -> bool:
        return self.saved is not None and self.training_state is not None and number == self.saved.phases + 1

    def updates(self, number: int, phase: Phase, examples: Examples) -> int:
        """Return the phase's updates, with those that unspent FLOPs buy, or the number chosen before it was interrupted."""
        if self.training_state and self.is_inside(number):
            return self.training_state.updates
        if not phase.inherits_unspent_flops:
            return phase.updates
        more, self.state.spare = divmod(self.state.spare, self.cost(phase, len(examples.images)).flops_per_update)
        return phase.updates + more

    def cost(self, phase: Phase, images: int) -> PhaseCost:
        """Return the cost of a phase, with codes cached as on any machine, so that arms stay comparable."""
        return phase_cost(self.spec, self.stack.input_shape, phase, images, self.classes)

    def prepared(self, number: int, prepared: PreparedPhase) -> None:
        if prepared.phase.resamples:
            self.curves.evaluate(self.stack, prepared.phase, None, last=self.is_last(number))

    def is_last(self, number: int) -> bool:
        """Whether no later phase has updates."""
        return not any(later.updates for later in self.phases[number:])

    @contextmanager
    def phase(self, number: int, prepared: PreparedPhase) -> Iterator[PhaseObserver]:
        phase, state, config = prepared.phase, self.state, self.spec.optimisation
        cost = self.cost(phase, len(prepared.examples.images))
        state.peak_bytes = max(state.peak_bytes, cost.peak_bytes)
        state.codes_bytes = max(state.codes_bytes, cost.cache.bytes)
        if not state.curve:
            self.curves.evaluate(self.stack, phase, None)
        with self.curves.tracker.stage(number, phase.name, stage_parameters(phase, config)) as stage:
            stage.tags({"codes": prepared.cache.mode, "codes_why": prepared.cache.why, "peak_bytes": cost.peak_bytes})
            began = time.perf_counter()
            _ = prepared.inputs  # computes cached codes
            device = next(self.stack.parameters()).device
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            state.seconds += time.perf_counter() - began
            if not self.is_inside(number):
                state.flop += cost.flops_once
            recorded = RecordedPhase(self, number, prepared, cost, stage)
            yield recorded
        state.spare += (phase.updates - recorded.training.update) * cost.flops_per_update

    def ended(self, number: int, phase: Phase) -> None:
        kept = self.checkpoints.after(number, self.stack.state_dict(), asdict(self.state))
        if kept:
            self.curves.tracker.artifact(kept, "checkpoints")
        self.curves.tracker.flush()


class RecordedPhase(PhaseObserver):
    """Records one phase."""

    training: Training
    spent: Spent

    def __init__(
        self, run: Recording, number: int, prepared: PreparedPhase, cost: PhaseCost, stage: RecordsStage
    ) -> None:
        self.run, self.number, self.phase, self.size = run, number, prepared.phase, prepared.order.size
        self.cost, self.stage = cost, stage

    def begin(self, training: Training) -> None:
        run = self.run
        if run.saved and run.training_state and run.is_inside(self.number):
            restore_training(run.saved, training, run.training_state)
        self.training = training
        self.spent = Spent(
            run.state, training, self.size, self.cost.flops_per_update, self.cost.flops_per_recalibration
        )

    def after_update(self) -> None:
        run, training = self.run, self.training
        if run.checkpoints.due(training.update):
            self.spent.add()
            tensors, plain = training.state()
            inner = asdict(run.state) | {"training": plain | {"updates": self.phase.updates}}
            # with updates undone by rollbacks, so that the number of a checkpoint always increases
            made = training.update + training.lost
            run.checkpoints.inside(self.number - 1, made, run.stack.state_dict() | tensors, inner)

    def metrics(self, metrics: TrainingMetrics) -> None:
        self.spent.add()
        values = {"stage/loss": metrics.loss, "stage/lr": metrics.lr}
        if metrics.valid_loss is not None:
            values["stage/valid_loss"] = metrics.valid_loss
        self.stage.log(values, step=metrics.update)
        ended = metrics.stopped or metrics.update == self.phase.updates
        self.run.curves.evaluate(self.run.stack, self.phase, metrics, last=self.run.is_last(self.number) and ended)


class Spent:
    """Adds the updates, FLOPs and seconds of a training to the state of its run.

    images, flop: per update. recalibrating: FLOPs per batch of recalibration.
    """

    def __init__(self, state: State, training: Training, images: int, flop: int, recalibrating: int) -> None:
        self.state, self.training, self.images, self.flop = state, training, images, flop
        self.recalibrating = recalibrating
        self.remember()

    def remember(self) -> None:
        """Store the counts so far."""
        now = self.training
        self.update, self.lost, self.seconds = now.update, now.lost, now.seconds
        self.skipped, self.rollbacks, self.recalibrated = now.skipped, now.rollbacks, now.recalibrated

    def add(self) -> None:
        """Add the updates, FLOPs and seconds since the last call."""
        now, state = self.training, self.state
        made = now.update - self.update
        spent = made + now.lost - self.lost  # updates undone by a rollback were spent too
        state.updates += made
        state.images_seen += spent * self.images
        state.flop += spent * self.flop + (now.recalibrated - self.recalibrated) * self.recalibrating
        state.seconds += now.seconds - self.seconds
        state.skipped += now.skipped - self.skipped
        state.rollbacks += now.rollbacks - self.rollbacks
        self.remember()
