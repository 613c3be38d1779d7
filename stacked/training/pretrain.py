"""A stack trained through its phases, and nothing else: no splits, no measurements, no record.

A run is this with an `Observer` that measures, records and keeps checkpoints.
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
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.stages.stage import Shape
from stacked.training.codes import Inputs
from stacked.training.fit import Point, Training
from stacked.training.prepare import Examples, PreparedPhase, prepare_phase
from stacked.util.checks import need

After = Callable[[Phase, StackedAutoencoder], None]
#: updates from one look at the losses to the next: a look waits for the device
EVERY = 100


class Values:
    """Floats [N, ...] kept as they are, given by index."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __call__(self, index: Tensor) -> Tensor:
        return self.values[index.to(self.values.device)]

    def __len__(self) -> int:
        return len(self.values)


class PhaseObserver:
    """Is told of what happens inside a phase; this one does nothing."""

    def begin(self, training: Training) -> None:
        """The training of the phase is set up, and no update made."""

    def after_update(self) -> None:
        """An update was made; what this raises ends the training."""

    def point(self, point: Point) -> None:
        """The losses since the last point were read."""


class Observer:
    """Is told of what happens to a stack while it is trained, and decides where training begins; this one trains all."""

    #: updates made before the first phase, or the place inside it, from which training goes on
    done = 0

    def updates(self, number: int, phase: Phase, examples: Examples) -> int:
        """How many updates phase `number` (from 1) makes."""
        return phase.updates

    def is_inside(self, number: int) -> bool:
        """Whether the stack has the weights of a place inside phase `number`, from which it goes on."""
        return False

    def prepared(self, number: int, prepared: PreparedPhase) -> None:
        """The stack is ready for phase `number`, which may make no updates."""

    @contextmanager
    def phase(self, number: int, prepared: PreparedPhase) -> Iterator[PhaseObserver]:
        """Around the training of phase `number`."""
        yield PhaseObserver()

    def ended(self, number: int, phase: Phase) -> None:
        """Phase `number` has ended."""


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

    examples: what a phase trains on and is validated on. every: updates from one point to the next. Raises Diverged when a
    loss is not finite.
    """
    config, done = spec.optimisation, observer.done
    for number, phase in enumerate(phases[first - 1 :], start=first):
        train, valid = examples(phase)
        updates = observer.updates(number, phase, train) if phase.updates else 0
        phase = dataclasses.replace(phase, updates=updates)
        prepared = prepare_phase(stack, spec, phase, train, device, codes=codes, resumed=observer.is_inside(number))
        observer.prepared(number, prepared)
        if phase.updates:
            with observer.phase(number, prepared) as seen:
                watched = valid if config.patience_of(phase) else None
                training = Training(
                    stack,
                    phase,
                    prepared.inputs,
                    config,
                    order=prepared.order,
                    seed=spec.seed,
                    done=done,
                    every=every,
                    valid=prepared.of(watched.images, "recompute") if watched else None,
                    targets=prepared.targets,
                    valid_targets=watched.targets(phase, device) if watched else None,
                    classes=classes,
                )
                seen.begin(training)
                for point in training.points(seen.after_update):
                    seen.point(point)
            done += training.update
        observer.ended(number, phase)
    grow(stack, spec, spec.stack.depth, device)


class _After(Observer):
    """Calls a function at the end of every phase that has made updates."""

    def __init__(self, stack: StackedAutoencoder, after: After) -> None:
        self.stack, self.after = stack, after

    def ended(self, number: int, phase: Phase) -> None:
        if phase.updates:
            self.after(phase, self.stack)


@own_settings()
def pretrain(
    spec: RunSpec, images: Inputs, shape: Shape, *, device: str = "cpu", after: After = lambda phase, stack: None
) -> StackedAutoencoder:
    """The stack that the phases of `spec` make of `images`, each of `shape`, in eval mode.

    images: floats by index, as `Images` of uint8 or `Values` give them. What the spec says of data, evaluation and
    classification is not looked at. after: called when a phase has ended. Raises InputError for a spec that learns classes or
    stops early, which need labels and validation images (see `stacked.run`), and Diverged when a loss is not finite.
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
