"""What a run will cost, told before it is trained: FLOPs, time, memory and disk."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from stacked.cost.disk import work_room
from stacked.cost.phase_cost import PhaseCost, phase_cost
from stacked.cost.roofline import Machine, measured, seconds_of
from stacked.data.stream import Order
from stacked.model.batch_norm import check_batch
from stacked.model.stack import StackedAutoencoder, check_size
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.stages.stage import Shape
from stacked.training.codes import Images
from stacked.training.fit import Training
from stacked.training.prepare import Examples, prepare_phase

#: updates by which this machine is told how it does on a spec
TRIED = 4


@dataclass(frozen=True)
class PhaseForecast:
    """A phase: its updates, GFLOP and seconds of training, the codes of frozen stages below included; bytes alive at once in an
    update, and of codes that are kept."""

    name: str
    updates: int
    gflop: float
    seconds: float
    peak_bytes: int
    codes_bytes: int


@dataclass(frozen=True)
class Forecast:
    """What a run costs on a machine: training alone, without what is measured between and after it. disk_bytes: of its work
    folder, at most, without the MLflow store."""

    machine: Machine
    phases: tuple[PhaseForecast, ...]
    disk_bytes: int

    @property
    def updates(self) -> int:
        return sum(phase.updates for phase in self.phases)

    @property
    def gflop(self) -> float:
        return sum(phase.gflop for phase in self.phases)

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @property
    def peak_bytes(self) -> int:
        """Beside the images, in the phase that takes most."""
        return max((phase.peak_bytes + phase.codes_bytes for phase in self.phases), default=0)


@own_settings()
def plan(spec: RunSpec, shape: Shape, images: int, *, classes: int = 0, machine: Machine | None = None) -> Forecast:
    """What `spec` costs on so many training images of `shape` (C, H, W), with so many classes.

    machine: one that is told about (None: this one's processor, with the threads that torch uses now; its rates are measured,
    and a few updates of the costliest phase are made). Nothing else is trained, read or written. InputError where images are
    too small or too few for the stack.
    """
    check_size(spec.stack, shape)
    order = Order(images, spec.optimisation.batch_size, spec.seed)
    phases = [phase for phase in spec.phases(order.updates_per_epoch) if phase.updates]
    if phases:
        check_batch(spec.stack, shape, spec.optimisation.batch_size, images)
    costs = [(phase, phase_cost(spec, shape, phase, images, classes)) for phase in phases]
    machine = machine or tried(spec, shape, costs, classes)
    with tempfile.TemporaryDirectory() as nothing:  # as if none of it were written yet
        room = work_room(spec, shape, order.updates_per_epoch, classes, Path(nothing))
    told = tuple(forecast(phase, cost, machine) for phase, cost in costs)
    return Forecast(machine, told, room.kept + room.passing)


def forecast(phase: Phase, cost: PhaseCost, machine: Machine) -> PhaseForecast:
    """What a phase costs on a machine."""
    update, encoding, recalibration = (
        machine.seconds(work.operations) for work in (cost.update, cost.encoding, cost.recalibration)
    )
    seconds = cost.updates * update + cost.recalibrations * recalibration + cost.encoded * encoding
    return PhaseForecast(phase.name, cost.updates, cost.flops / 1e9, seconds, cost.peak_bytes, cost.cache.bytes)


def tried(spec: RunSpec, shape: Shape, costs: list[tuple[Phase, PhaseCost]], classes: int) -> Machine:
    """This machine, with the efficiency that it shows in a few updates of the costliest phase."""
    machine = measured()
    if not costs:
        return machine
    costliest, cost = max(costs, key=lambda each: machine.seconds(each[1].update.operations))
    phase = dataclasses.replace(costliest, updates=2 * TRIED, resamples=False)
    images = Images(torch.randint(0, 256, (cost.batch, *shape), dtype=torch.uint8))
    examples = Examples(images, torch.zeros(cost.batch, dtype=torch.int64))
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
    points = training.points()
    for _ in range(TRIED):  # the first updates allocate
        next(points)
    seconds = seconds_of(lambda: next(points), TRIED - 1)
    return dataclasses.replace(machine, efficiency=machine.seconds(cost.update.operations) / seconds)
