"""The observer of a run in training, which records its costs, curves and checkpoints, also in MLflow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from stacked.cost.phase_cost import PhaseCost, phase_cost
from stacked.model.stack import StackedAutoencoder
from stacked.runs.checkpoint import Checkpoints, Saved
from stacked.runs.checkpoint_validation import restore_training, training_state
from stacked.runs.curves import Curves
from stacked.runs.run_state import RunState
from stacked.runs.stage_parameters import stage_parameters
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.training.examples import Examples
from stacked.training.fit import Training, TrainingMetrics
from stacked.training.prepare import PreparedPhase
from stacked.training.pretrain import PhaseHooks, TrainingHooks

if TYPE_CHECKING:
    from stacked.tracking.protocol import RecordsPhase


class RunObserver(TrainingHooks):
    """Records a run of `spec` while it trains, and resumes it from the checkpoint `saved`, if there is one.

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
        is_inside = saved is not None and saved.update > 0 and not saved.is_classifier
        self.training_state = training_state(saved) if saved and is_inside else None
        self.done = self.state.updates - (self.training_state.update if self.training_state else 0)

    def is_inside(self, number: int) -> bool:
        return self.saved is not None and self.training_state is not None and number == self.saved.phases + 1

    def n_updates(self, number: int, phase: Phase, examples: Examples) -> int:
        """Return the phase's updates, with those that unspent FLOPs buy, or the number chosen before it was interrupted."""
        if self.training_state and self.is_inside(number):
            return self.training_state.updates
        if not phase.inherits_unspent_flops:
            return phase.updates
        flops_per_update = self.cost(phase, len(examples.images)).flops_per_update
        more_updates, self.state.spare = divmod(self.state.spare, flops_per_update)
        return phase.updates + more_updates

    def cost(self, phase: Phase, images: int) -> PhaseCost:
        """Return the cost of a phase with the machine-independent cache choice, so that arms stay comparable."""
        return phase_cost(self.spec, self.stack.input_shape, phase, images, self.classes)

    def prepared(self, number: int, prepared: PreparedPhase) -> None:
        if prepared.phase.resamples:
            self.curves.evaluate(self.stack, prepared.phase, None, last=self.is_last(number))

    def is_last(self, number: int) -> bool:
        """Whether no later phase has updates."""
        return not any(later.updates for later in self.phases[number:])

    @contextmanager
    def phase(self, number: int, prepared: PreparedPhase) -> Iterator[PhaseHooks]:
        phase, state, config = prepared.phase, self.state, self.spec.optimisation
        cost = self.cost(phase, len(prepared.examples.images))
        state.peak_bytes = max(state.peak_bytes, cost.peak_bytes)
        state.codes_bytes = max(state.codes_bytes, cost.cache.bytes)
        if not state.curve:
            self.curves.evaluate(self.stack, phase, None)
        elif not self.is_inside(number):
            self.curves.begin(self.stack, phase)
        tags = {"codes": prepared.cache.mode, "codes_why": prepared.cache.why, "peak_bytes": cost.peak_bytes}
        with self.curves.tracker.phase(number, phase.name, stage_parameters(phase, config), tags) as phase_run:
            began = time.perf_counter()
            _ = prepared.inputs  # computes cached codes
            device = next(self.stack.parameters()).device
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            state.seconds += time.perf_counter() - began
            if not self.is_inside(number):
                state.flop += cost.flops_once
                state.span += cost.flops_once
            observer = PhaseObserver(self, number, prepared, cost, phase_run)
            yield observer
        state.spare += (phase.updates - observer.training.update) * cost.flops_per_update

    def ended(self, number: int, phase: Phase) -> None:
        kept = self.checkpoints.save_after_phase(number, self.stack.state_dict(), asdict(self.state))
        if kept:
            self.curves.tracker.artifact(kept, "checkpoints")
        self.curves.tracker.flush()


class PhaseObserver(PhaseHooks):
    """Records one phase of the run that `run` observes. phase_run: the child run of the phase in the tracker."""

    training: Training
    costs: CostCounter

    def __init__(
        self, run: RunObserver, number: int, prepared: PreparedPhase, cost: PhaseCost, phase_run: RecordsPhase
    ) -> None:
        self.run, self.number, self.phase, self.size = run, number, prepared.phase, prepared.order.size
        self.cost, self.phase_run = cost, phase_run

    def begin(self, training: Training) -> None:
        run = self.run
        if run.saved and run.training_state and run.is_inside(self.number):
            restore_training(run.saved, training, run.training_state)
        self.training = training
        self.costs = CostCounter(run.state, training, self.size, self.cost)

    def after_update(self) -> None:
        run, training = self.run, self.training
        if run.checkpoints.due(training.update):
            self.costs.add()
            tensors, plain = training.state()
            inner = asdict(run.state) | {"training": plain | {"updates": self.phase.updates}}
            # including rolled-back updates, so that the number of a checkpoint always increases
            update = training.update + training.updates_rolled_back
            run.checkpoints.save_inside_phase(self.number - 1, update, run.stack.state_dict() | tensors, inner)

    def metrics(self, metrics: TrainingMetrics) -> None:
        self.costs.add()
        values = {"stage/loss": metrics.loss, "stage/lr": metrics.lr}
        if metrics.valid_loss is not None:
            values["stage/valid_loss"] = metrics.valid_loss
        self.phase_run.log(values, step=metrics.update)
        ended = metrics.stopped or metrics.update == self.phase.updates
        self.run.curves.evaluate(self.run.stack, self.phase, metrics, last=self.run.is_last(self.number) and ended)


class CostCounter:
    """Adds the updates, FLOPs and seconds of a training to the state of its run.

    images: images of an update. cost: that of the phase. Evaluations by line searches are counted, not estimated.
    """

    def __init__(self, state: RunState, training: Training, images: int, cost: PhaseCost) -> None:
        self.state, self.training, self.images, self.cost = state, training, images, cost
        self.flops = cost.flops_per_update - cost.flops_of_line_search
        self.store_counts()

    def store_counts(self) -> None:
        """Store the counts of the training so far, from which the next `add` measures."""
        training = self.training
        self.update, self.updates_rolled_back = training.update, training.updates_rolled_back
        self.skipped, self.rollbacks, self.recalibrated = training.skipped, training.rollbacks, training.recalibrated
        self.seconds, self.further_evaluations = training.seconds, training.further_evaluations

    def add(self) -> None:
        """Add the updates, FLOPs and seconds since the last call."""
        training, state = self.training, self.state
        new_updates = training.update - self.update
        # updates undone by a rollback were computed too
        computed_updates = new_updates + training.updates_rolled_back - self.updates_rolled_back
        recalibrations = training.recalibrated - self.recalibrated
        state.updates += new_updates
        state.images_seen += computed_updates * self.images
        further = training.further_evaluations - self.further_evaluations
        flop = computed_updates * self.flops + recalibrations * self.cost.flops_per_recalibration
        flop += further * self.cost.update.flop
        state.flop += flop
        state.span += flop - (computed_updates + further) * self.cost.flops_aside
        state.seconds += training.seconds - self.seconds
        state.skipped += training.skipped - self.skipped
        state.rollbacks += training.rollbacks - self.rollbacks
        self.store_counts()
