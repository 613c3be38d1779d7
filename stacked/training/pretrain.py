"""Training of a stack through its phases, without splits, measurements or records.

A run adds an `Observer` that measures, records and saves checkpoints.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from stacked.data.stream import Order
from stacked.model.batch_norm import check_batch
from stacked.model.stack import StackedAutoencoder, grow
from stacked.runtime.environment import device_of
from stacked.runtime.progress import Bar
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.stages.stage import Shape
from stacked.training.codes import Inputs
from stacked.training.fit import Training, TrainingMetrics
from stacked.training.prepare import Examples, PreparedPhase, prepare_phase
from stacked.util.checks import need

After = Callable[[Phase, StackedAutoencoder], None]
#: updates between two metrics; each one waits for the device
EVERY = 100


class Values:
    """Inputs that are floats [N, ...] in memory."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __call__(self, index: Tensor) -> Tensor:
        return self.values[index.to(self.values.device)]

    def __len__(self) -> int:
        return len(self.values)


class PhaseObserver:
    """Receives the events of one phase; this base class ignores them."""

    def begin(self, training: Training) -> None:
        """Called when the training of the phase is set up, before its first update."""

    def after_update(self) -> None:
        """Called after every update; an exception ends the training."""

    def metrics(self, metrics: TrainingMetrics) -> None:
        """Called with the metrics of training, every `every` updates."""


class Observer:
    """Receives the events of a training, and decides from where to resume; this base class trains everything."""

    #: number of updates made before training starts or resumes
    done = 0

    def updates(self, number: int, phase: Phase, examples: Examples) -> int:
        """Return the number of updates of phase `number` (from 1)."""
        return phase.updates

    def is_inside(self, number: int) -> bool:
        """Whether the stack has weights from inside phase `number`, which is to be resumed."""
        return False

    def prepared(self, number: int, prepared: PreparedPhase) -> None:
        """Called when the stack is prepared for phase `number`, which may have no updates."""

    @contextmanager
    def phase(self, number: int, prepared: PreparedPhase) -> Iterator[PhaseObserver]:
        """Context around the training of phase `number`; yields the observer of its events."""
        yield PhaseObserver()

    def ended(self, number: int, phase: Phase) -> None:
        """Called when phase `number` has ended."""


def train_phases(
    stack: StackedAutoencoder,
    spec: RunSpec,
    phases: list[Phase],
    examples: Callable[[Phase], tuple[Examples, Examples | None]],
    device: torch.device,
    observer: Observer,
    *,
    first: int = 1,
    classes: int = 0,
    codes: str = "auto",
    every: int = EVERY,
) -> None:
    """Train `stack` in place through `phases`, from number `first` on, and grow it to its full depth.

    examples: function from a phase to its training and validation examples. every: updates between two metrics. Raises Diverged
    if a loss is not finite.
    """
    config, done = spec.optimisation, observer.done
    for number, phase in enumerate(phases[first - 1 :], start=first):
        train, valid = examples(phase)
        updates = observer.updates(number, phase, train) if phase.updates else 0
        phase = dataclasses.replace(phase, updates=updates)
        prepared = prepare_phase(stack, spec, phase, train, device, codes=codes, resumed=observer.is_inside(number))
        observer.prepared(number, prepared)
        if phase.updates:
            with (
                Bar(phase.name, phase.updates, "updates", ends=True) as bar,
                observer.phase(number, prepared) as phase_observer,
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
                    valid=prepared.of(validation.images, "recompute") if validation else None,
                    targets=prepared.targets,
                    valid_targets=validation.targets(phase, device) if validation else None,
                    classes=classes,
                )
                phase_observer.begin(training)
                bar.resume(training.update)
                for metrics in training.train(counted(bar, training, phase_observer.after_update)):
                    bar.to(metrics.update, metrics.loss)
                    phase_observer.metrics(metrics)
            done += training.update
        observer.ended(number, phase)
    grow(stack, spec, spec.stack.depth, device)


def counted(bar: Bar, training: Training, after: Callable[[], None]) -> Callable[[], None]:
    """Return what is called after every update: it shows the update on the bar and then calls `after`."""

    def count() -> None:
        bar.to(training.update)
        after()

    return count


class _After(Observer):
    """Calls a function at the end of every phase with updates."""

    def __init__(self, stack: StackedAutoencoder, after: After) -> None:
        self.stack, self.after = stack, after

    def ended(self, number: int, phase: Phase) -> None:
        if phase.updates:
            self.after(phase, self.stack)


@own_settings()
def pretrain(
    spec: RunSpec, images: Inputs, shape: Shape, *, device: str = "cpu", after: After = lambda phase, stack: None
) -> StackedAutoencoder:
    """Train a stack on `images`, each of `shape`, through the phases of `spec`, and return it in eval mode.

    images: floats by index, as `Images` or `Values` return them. The data, evaluation and classification parts of the spec
    are ignored. after: called with each phase and the stack when the phase has ended. Raises InputError for a spec that
    learns labels or stops early, which needs labels or validation images (use `stacked.run`), and Diverged if a loss is not
    finite.
    """
    config, order = spec.optimisation, Order(len(images), spec.optimisation.batch_size, spec.seed)
    phases = spec.phases(order.updates_per_epoch)
    for phase in phases:
        need(phase.target != "labels", f"policy {spec.policy!r} learns classes: train it with stacked.run")
        need(config.patience_of(phase) is None, "early stopping needs validation images: train with stacked.run")
    if any(phase.updates for phase in phases):
        check_batch(spec.stack, shape, config.batch_size, order.n)
    stack, examples = StackedAutoencoder(shape), Examples(images)
    train_phases(stack, spec, phases, lambda _: (examples, None), device_of(device), _After(stack, after))
    return stack.eval()
