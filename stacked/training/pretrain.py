"""Train a stack through its phases.

Measuring, recording and checkpoints are not part of it: a run adds them through `TrainingHooks`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from stacked.data.pixels import Pixels
from stacked.model.batch_norm import check_batch
from stacked.model.stack import StackedAutoencoder, empty_stack, grow
from stacked.runtime.environment import device_of
from stacked.runtime.progress import Bar
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.spec.objectives import check_data, needs_labels
from stacked.stages.stage import Shape
from stacked.training.codes import Inputs, on_device
from stacked.training.examples import Examples
from stacked.training.fit import Training, TrainingMetrics
from stacked.training.prepare import PreparedPhase, prepare_phase
from stacked.util.checks import layout_hint, need

PhaseCallback = Callable[[Phase, StackedAutoencoder], None]
#: updates between two metrics; each one synchronises with the GPU
EVERY = 100


class PhaseHooks:
    """Called at the events of one phase; this base class does nothing."""

    def begin(self, training: Training) -> None:
        """Called when the training of the phase is set up, before its first update."""

    def after_update(self) -> None:
        """Called after every update; an exception ends the training."""

    def metrics(self, metrics: TrainingMetrics) -> None:
        """Called with the metrics of training, every `every` updates."""


class TrainingHooks:
    """Called at the events of a training; also sets the lengths of phases and where to resume.

    This base class does nothing at events, keeps the lengths and trains from the start.
    """

    #: number of updates made before the phase in which training starts or resumes
    done = 0

    def n_updates(self, number: int, phase: Phase, examples: Examples) -> int:
        """Return the number of updates that phase `number` (from 1) is trained for."""
        return phase.updates

    def is_inside(self, number: int) -> bool:
        """Whether the stack has weights from inside phase `number`, which is to be resumed."""
        return False

    def prepared(self, number: int, prepared: PreparedPhase) -> None:
        """Called when the stack is prepared for phase `number`, which may have no updates."""

    @contextmanager
    def phase(self, number: int, prepared: PreparedPhase) -> Iterator[PhaseHooks]:
        """Context around the training of phase `number`; yields the hooks of its events."""
        yield PhaseHooks()

    def ended(self, number: int, phase: Phase) -> None:
        """Called when phase `number` has ended."""


def train_phases(
    stack: StackedAutoencoder,
    spec: RunSpec,
    phases: list[Phase],
    examples: Callable[[Phase], tuple[Examples, Examples | None]],
    device: torch.device,
    hooks: TrainingHooks,
    *,
    first_phase: int = 1,
    classes: int = 0,
    codes: str = "auto",
    disk_cache: Path | None = None,
    every: int = EVERY,
) -> None:
    """Train `stack` in place through `phases`, from number `first_phase` (from 1) on, and grow it to its full depth.

    examples: function from a phase to its training and validation examples. codes, disk_cache: see `prepare_phase`. every:
    updates between two metrics. Raises Diverged if a loss is not finite.
    """
    config, done = spec.optimisation, hooks.done
    for number, phase in enumerate(phases[first_phase - 1 :], start=first_phase):
        train, valid = examples(phase)
        updates = hooks.n_updates(number, phase, train) if phase.updates else 0
        phase = dataclasses.replace(phase, updates=updates)
        inside = hooks.is_inside(number)
        prepared = prepare_phase(stack, spec, phase, train, device, codes=codes, disk_cache=disk_cache, resumed=inside)
        hooks.prepared(number, prepared)
        if phase.updates:
            with (
                Bar(phase.name, phase.updates, "updates", ends=True) as bar,
                hooks.phase(number, prepared) as phase_hooks,
            ):
                validation = valid if config.patience_of(phase) else None
                training = Training(
                    stack,
                    phase,
                    prepared.inputs,
                    config,
                    order=prepared.order,
                    seed=spec.seed,
                    done=done,
                    every=every,
                    valid=prepared.inputs_of(validation.images, "recompute") if validation else None,
                    targets=prepared.targets,
                    valid_targets=validation.targets(phase, config, device) if validation else None,
                    classes=classes,
                )
                phase_hooks.begin(training)
                bar.resume(training.update)
                for metrics in training.train(with_progress(bar, training, phase_hooks.after_update)):
                    bar.to(metrics.update, metrics.loss)
                    phase_hooks.metrics(metrics)
            done += training.update
        hooks.ended(number, phase)
    grow(stack, spec, spec.stack.depth, device)


def with_progress(bar: Bar, training: Training, after_update: Callable[[], None]) -> Callable[[], None]:
    """Return a function that shows the update of `training` on the bar and then calls `after_update`."""

    def show_and_call() -> None:
        bar.to(training.update)
        after_update()

    return show_and_call


class _CallAfterPhases(TrainingHooks):
    """Calls a function at the end of every phase with updates."""

    def __init__(self, stack: StackedAutoencoder, after: PhaseCallback) -> None:
        self.stack, self.after = stack, after

    def ended(self, number: int, phase: Phase) -> None:
        if phase.updates:
            self.after(phase, self.stack)


@own_settings()
def pretrain(
    spec: RunSpec,
    inputs: Inputs | Pixels,
    shape: Shape | None = None,
    *,
    device: str = "cpu",
    after: PhaseCallback = lambda phase, stack: None,
) -> StackedAutoencoder:
    """Train a stack on `inputs`, each of `shape`, through the phases of `spec`, and return it in eval mode.

    inputs: examples [N, ...] as a tensor or NumPy array, uint8 or floats, as `StoredInputs` takes them; or an object that
    returns floats by index. shape: of one example (None: that of the first). The data, evaluation and classification parts of
    the spec are ignored. after: called with each phase and the stack when the phase has ended. Raises InputError for examples
    of another shape and for a spec that learns labels or stops early, which needs labels or validation data (use
    `stacked.run`), and Diverged if a loss is not finite.
    """
    torch_device = device_of(device)
    read = on_device(inputs, torch_device)
    config, phases = spec.optimisation, spec.phases(spec.updates_per_epoch(len(read)))
    found = read(torch.zeros(1, dtype=torch.long)).shape[1:]
    shape = tuple(found) if shape is None else tuple(shape)
    need(
        found == shape,
        f"examples of shape {list(found)} do not fit the given shape {list(shape)}: give the shape of one example"
        f"{layout_hint([len(read), *found]) if len(shape) == 3 else ''}",
    )
    for phase in phases:
        need(not needs_labels(phase, config), f"policy {spec.policy!r} learns classes: train it with stacked.run")
        need(config.patience_of(phase) is None, "early stopping needs validation images: train with stacked.run")
    if any(phase.target == "objectives" for phase in phases):
        shapes = empty_stack(spec.stack, shape).shapes(shape)
        for phase in phases:
            check_data(phase, config, shapes, len(read))
    smallest = min((config.batch_size_of(phase) for phase in phases if phase.updates), default=2)
    if min(smallest, len(read)) == 1 and any(phase.updates for phase in phases):
        check_batch(empty_stack(spec.stack, shape), smallest, len(read))
    stack, examples = StackedAutoencoder(shape), Examples(read)
    hooks = _CallAfterPhases(stack, after)
    train_phases(stack, spec, phases, lambda _: (examples, None), torch_device, hooks)
    return stack.eval()
