"""The curves of a run: evaluations on validation images, at the same numbers of updates for all arms of a study."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from stacked.data import Splits
from stacked.evaluation import evaluate, probes
from stacked.evaluation.evaluate import spread
from stacked.evaluation.final_metrics import labelled
from stacked.evaluation.gradients import gradient_norms, reaches_all_layers
from stacked.evaluation.pictures import grid, shown_of
from stacked.model.stack import StackedAutoencoder
from stacked.runs.run_state import RunState
from stacked.runtime.system_metrics import SystemMetrics
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.training.codes import StoredInputs
from stacked.training.fit import TrainingMetrics

if TYPE_CHECKING:
    from stacked.tracking.protocol import RecordsRun


class Curves:
    """Evaluates a run on validation images while it trains, and records its curve."""

    def __init__(
        self,
        spec: RunSpec,
        splits: Splits,
        state: RunState,
        tracker: RecordsRun,
    ) -> None:
        self.spec, self.config, self.state, self.tracker = spec, spec.evaluation, state, tracker
        self.full_depth = spec.stack.depth
        self.system_metrics = SystemMetrics()
        valid, train = splits.valid, splits.train
        self.images = StoredInputs(valid.inputs, rows=spread(len(valid), self.config.images))
        self.shown, self.columns = shown_of(valid.inputs), splits.columns
        probed = (train, valid) if splits.classes and self.config.probes else ()
        self.probed = [labelled(split, self.config.probe_images) for split in probed]

    def evaluate(
        self, stack: StackedAutoencoder, phase: Phase, trained: TrainingMetrics | None, last: bool = False
    ) -> None:
        """Evaluate and record the stack if the current update is on the grid or the run's `last` one.

        trained: the metrics of training (None: before any training).
        """
        step = self.state.updates
        if step % self.config.every and not last:
            return
        probing = step % (self.config.every * self.config.probe_every) == 0 or last
        values = self.measure(stack, probing) | self.gradients(stack, phase)
        if trained is not None:
            values |= {
                "train/loss": trained.loss,
                "train/grad_norm": trained.grad_norm,
                "train/lr": trained.lr,
            }
        self.record(step, phase.name, trained.update if trained else 0, phase.depth, values)
        if probing:
            self.tracker.image("recon_grid", grid(stack, self.shown, self.columns), step)

    def begin(self, stack: StackedAutoencoder, phase: Phase) -> None:
        """Record the stack before the first update of a later phase, if the curve holds gradients there."""
        if found := self.gradients(stack, phase):
            self.record(self.state.updates, phase.name, 0, phase.depth, self.measure(stack, False) | found)

    def record_final_picture(self, stack: StackedAutoencoder) -> None:
        """Record the picture of the trained stack, at step 0: MLflow compares pictures of runs at one step."""
        self.tracker.image("recon_grid_final", grid(stack, self.shown, self.columns), 0)

    def record_untrained(self, stack: StackedAutoencoder) -> None:
        """Record an arm without training: the same values at both ends of the grid, which draw a line."""
        values = self.measure(stack, True)
        for step in sorted({0, self.config.until}):
            self.record(step, "untrained", step, 0, values)
        self.tracker.image("recon_grid", grid(stack, self.shown, self.columns), 0)

    def measure(self, stack: StackedAutoencoder, probing: bool) -> dict[str, float]:
        found = evaluate.reconstruction(stack, self.images)
        values = {"eval/recon_mse": found.mse, "eval/fvu": found.fvu}
        if stack.depth == self.full_depth:  # where arms can be compared: fewer stages reconstruct better
            values["eval/full_depth_mse"] = found.mse
        if probing and self.probed:
            (train, labels), (valid, valid_labels) = self.probed
            both = [evaluate.Codes(stack, images, stack.depth, evaluate.PROBED).all() for images in (train, valid)]
            values["eval/probe_acc"] = probes.quick_probe(both[0], labels, both[1], valid_labels)
        # undefined and non-finite values leave a gap in the curve
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def gradients(self, stack: StackedAutoencoder, phase: Phase) -> dict[str, float]:
        """Return the norms of the gradients by layer; empty if the spec has none, or the phase trains only some layers."""
        if not (self.config.gradients and reaches_all_layers(phase, self.full_depth)):
            return {}
        read = StoredInputs.of(self.images, evaluate.device_of(stack))
        found = gradient_norms(stack, phase, self.spec.optimisation, read(torch.arange(len(read))), seed=self.spec.seed)
        return {f"eval/{name}": norm for name, norm in found.items() if math.isfinite(norm)}

    def record(self, step: int, phase: str, phase_step: int, depth: int, values: dict[str, float]) -> None:
        values = values | {
            "progress/stage": depth,
            "progress/images_seen": self.state.images_seen,
            "progress/gflop": self.state.flop / 1e9,
            "progress/train_seconds": self.state.seconds,
        }
        # MLflow pairs metrics by position when it averages seeds
        if "eval/probe_acc" in values:
            values["progress/gflop_at_probe"] = values["progress/gflop"]
        if "eval/full_depth_mse" in values:
            values["progress/gflop_at_full_depth"] = values["progress/gflop"]
        self.state.curve.append({"phase": phase, "step": step, "phase_step": phase_step, **values})
        # only MLflow gets the load of the machine: what is recorded of a run does not depend on other work there
        self.tracker.log(values | self.system_metrics.read(), step=step)
