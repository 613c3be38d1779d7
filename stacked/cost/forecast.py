"""Estimates of a run's cost before training: FLOPs, time, memory and disk space."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from stacked.cost.disk import work_room
from stacked.cost.measuring_cost import ImageCounts, as_classifier, classifier_cost, measuring_seconds
from stacked.cost.phase_cost import PhaseCost, kind_of, like, phase_cost
from stacked.cost.roofline import Machine, seconds_of, this_machine
from stacked.model.batch_norm import check_batch
from stacked.model.stack import StackedAutoencoder, check_size, empty_stack
from stacked.runtime.settings import own_settings
from stacked.spec import Classification, RunSpec, StackSpec
from stacked.spec.growth import Phase
from stacked.spec.objectives import check_data
from stacked.stages.stage import Shape
from stacked.training.codes import StoredInputs
from stacked.training.examples import Examples
from stacked.training.fit import Training
from stacked.training.prepare import prepare_phase

#: number of trial updates that measure the efficiency of this machine
TRIAL_UPDATES = 4


@dataclass(frozen=True)
class PhaseForecast:
    """The cost of a phase.

    updates: number of updates. gflop, seconds: of training, with the encoding by frozen stages. peak_bytes: most bytes alive
    in an update. codes_bytes: bytes of cached codes.
    """

    name: str
    updates: int
    gflop: float
    seconds: float
    peak_bytes: int
    codes_bytes: int


@dataclass(frozen=True)
class Forecast:
    """The cost of a run on a machine.

    phases: the cost of its training. disk_bytes: most bytes of its work folder, without the MLflow store. measuring_seconds:
    time of its curve, its linear probes and its classifiers, and of the errors on validation and test images.
    """

    machine: Machine
    phases: tuple[PhaseForecast, ...]
    disk_bytes: int
    measuring_seconds: float = 0.0

    @property
    def updates(self) -> int:
        return sum(phase.updates for phase in self.phases)

    @property
    def gflop(self) -> float:
        return sum(phase.gflop for phase in self.phases)

    @property
    def seconds(self) -> float:
        """The time of training."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def peak_bytes(self) -> int:
        """The most bytes of memory beside the images, in the phase that needs most."""
        return max((phase.peak_bytes + phase.codes_bytes for phase in self.phases), default=0)


@own_settings()
def estimate_cost(
    spec: RunSpec,
    shape: Shape,
    images: int,
    *,
    classes: int = 0,
    valid: int = 0,
    test: int = 0,
    machine: Machine | None = None,
) -> Forecast:
    """Estimate the cost of a run of `spec` on training images of `shape`, such as (C, H, W).

    images, classes: their number, and that of their classes (0: there are none). valid, test: the numbers of validation and test
    images that the run is measured on. machine: the machine to estimate for (None: this machine's processor with torch's current
    number of threads; its rates are measured, with a few updates of the costliest phase). Nothing is stored. Raises InputError
    if the images are too small or too few for the stack.
    """
    check_size(spec.stack, shape)
    all_phases, stack = spec.phases(spec.updates_per_epoch(images)), empty_stack(spec.stack, shape)
    phases = [phase for phase in all_phases if phase.updates]
    if phases:
        check_batch(stack, min(map(spec.optimisation.batch_size_of, phases)), images)
    for phase in phases:
        check_data(phase, spec.optimisation, stack.shapes(shape), images)
    costs = [(phase, phase_cost(spec, shape, phase, images, classes)) for phase in phases]
    measuring_machine = machine
    if machine is None and classes:  # its efficiency is that of a classifier's batches, not of training's
        measuring_machine = calibrated_by_classifier(spec.stack, spec.classification, shape, images, classes)
    machine = machine or (calibrated(spec, shape, costs, classes) if costs else measuring_machine or this_machine())
    updates = sum(phase.updates for phase in phases)
    counts = ImageCounts(images, valid, test, classes)
    measuring = measuring_seconds(spec, shape, counts, updates, measuring_machine or machine)
    with tempfile.TemporaryDirectory() as nothing:  # an empty work folder: nothing is written yet
        room = work_room(spec, stack, all_phases, classes, Path(nothing))
    estimates = tuple(forecast(phase, cost, machine) for phase, cost in costs)
    return Forecast(machine, estimates, room.kept + room.temporary, measuring)


def forecast(phase: Phase, cost: PhaseCost, machine: Machine) -> PhaseForecast:
    """Return the cost of a phase on a machine."""
    update, encoding, recalibration = (
        machine.seconds(work.operations) for work in (cost.update, cost.encoding, cost.recalibration)
    )
    seconds = cost.updates * cost.evaluations * update + cost.recalibrations * recalibration + cost.encoded * encoding
    return PhaseForecast(phase.name, cost.updates, cost.flops / 1e9, seconds, cost.peak_bytes, cost.cache.bytes)


def calibrated(spec: RunSpec, shape: Shape, costs: list[tuple[Phase, PhaseCost]], classes: int) -> Machine:
    """Return this machine with the efficiency measured in a few updates of the costliest phase.

    Equal updates are measured once in a process, so that arms that share them have the same efficiency.
    """
    machine, config = this_machine(), spec.optimisation
    phase, cost = max(costs, key=lambda each: machine.seconds(each[1].update.operations))
    kind, threads = kind_of(phase, config), torch.get_num_threads()
    key = (spec.stack, like(config), tuple(shape), kind, cost.batch, classes, threads)
    if key not in _update_seconds:
        _update_seconds[key] = update_seconds(spec, shape, phase, cost.batch, classes)
    expected = cost.evaluations * machine.seconds(cost.update.operations)
    return dataclasses.replace(machine, efficiency=expected / _update_seconds[key])


#: seconds of an update by all that they depend on
_update_seconds: dict[tuple[object, ...], float] = {}


def update_seconds(spec: RunSpec, shape: Shape, phase: Phase, batch: int, classes: int) -> float:
    """Return the seconds of an update of a phase, measured in a few updates on random images, or floats of another shape."""
    phase = dataclasses.replace(phase, updates=2 * TRIAL_UPDATES, resamples=False, begins="drawn")
    is_image = len(shape) == 3
    images = StoredInputs(
        torch.randint(0, 256, (batch, *shape), dtype=torch.uint8) if is_image else torch.rand(batch, *shape)
    )
    examples = Examples(images, torch.zeros(batch, dtype=torch.int64))
    stack = StackedAutoencoder(shape)
    prepared = prepare_phase(stack, spec, phase, examples, torch.device("cpu"), codes="memory")
    training = Training(
        stack,
        phase,
        prepared.inputs,
        dataclasses.replace(spec.optimisation, patience=None, end_patience=None, recalibrate=False),
        order=prepared.order,
        seed=spec.seed,
        every=1,
        targets=prepared.targets,
        classes=classes,
    )
    metrics = training.train()
    for _ in range(TRIAL_UPDATES):  # warm-up: the first updates allocate memory
        next(metrics)
    return seconds_of(lambda: next(metrics), TRIAL_UPDATES - 1)


def calibrated_by_classifier(
    stack: StackSpec, config: Classification, shape: Shape, images: int, classes: int
) -> Machine:
    """Return this machine with the efficiency measured in a few updates of a classifier."""
    spec = as_classifier(stack, config)
    return calibrated(spec, shape, [classifier_cost(stack, config, shape, images, classes)], classes)
