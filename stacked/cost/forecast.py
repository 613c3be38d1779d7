"""What a run will cost, told before it is trained: FLOPs, time, memory and disk."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from stacked.cost.disk import empty, work_room
from stacked.cost.fake_execution import Work, encoding, recalibrating, update
from stacked.cost.roofline import Machine, measured, seconds_of
from stacked.data.stream import Order
from stacked.model.batch_norm import check_batch
from stacked.model.stack import StackedAutoencoder, check_size, grow
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.stages.stage import Shape
from stacked.training import codes, recalibration
from stacked.training.codes import Images, Prefix, inputs
from stacked.training.fit import Training

#: updates by which this machine is told how it does on a spec
TRIED = 4


@dataclass(frozen=True)
class PhaseCost:
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
    phases: tuple[PhaseCost, ...]
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


@dataclass(frozen=True)
class Part:
    """A phase of a spec and all that its cost follows from. recalibrated: batches on which running statistics are taken anew."""

    phase: Phase
    learning: Work
    below: Work
    recalibrating: Work
    recalibrated: int
    inputs: codes.Plan
    batch: int
    images: int

    def cost(self, machine: Machine) -> PhaseCost:
        """What it costs on a machine."""
        updates, again, reads = self.phase.updates, self.recalibrated, self.inputs
        learning, below, passing = (
            machine.seconds(work.operations) for work in (self.learning, self.below, self.recalibrating)
        )
        encoded = updates + again if reads.mode == "recompute" else math.ceil(self.images / self.batch)
        seconds = updates * learning + again * passing + (encoded * below if reads.mode != "images" else 0.0)
        flop = updates * self.learning.flop + again * self.recalibrating.flop + reads.flops_once
        flop += (updates + again) * reads.flops_per_update
        return PhaseCost(self.phase.name, updates, flop / 1e9, seconds, self.learning.peak_bytes, self.inputs.bytes)


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
    parts = [part(spec, shape, phase, order, classes) for phase in phases]
    machine = machine or tried(spec, shape, parts, classes)
    with tempfile.TemporaryDirectory() as nothing:  # as if none of it were written yet
        room = work_room(spec, shape, order.updates_per_epoch, classes, Path(nothing))
    return Forecast(machine, tuple(one.cost(machine) for one in parts), room.kept + room.passing)


def part(spec: RunSpec, shape: Shape, phase: Phase, order: Order, classes: int) -> Part:
    """What the cost of a phase follows from."""
    how = spec.optimisation
    learning = update(spec.stack, shape, phase, how, order.size, classes)
    below = encoding(spec.stack, shape, phase.reads, order.size) if phase.reads else Work(())
    stack = empty(spec, shape)
    prefix = Prefix(phase.reads, below.flop // order.size, math.prod(stack.shapes(shape)[phase.reads]))
    again = recalibration.batches(stack, phase, how, order.updates_per_epoch)
    passing = recalibrating(spec.stack, shape, phase, how, order.size, classes) if again else Work(())
    chosen = codes.plan(prefix, order.n, phase.updates, order.size)
    return Part(phase, learning, below, passing, again, chosen, order.size, order.n)


def tried(spec: RunSpec, shape: Shape, parts: list[Part], classes: int) -> Machine:
    """This machine, with the efficiency that it shows in a few updates of the costliest phase."""
    machine = measured()
    if not parts:
        return machine
    one = max(parts, key=lambda part: machine.seconds(part.learning.operations))
    phase = dataclasses.replace(one.phase, updates=2 * TRIED)
    stack, order = StackedAutoencoder(shape), Order(one.batch, one.batch, 0)
    grow(stack, spec, phase.depth, torch.device("cpu"))
    stack.learn_only(*phase.learn).eval()
    images = Images(torch.randint(0, 256, (one.batch, *shape), dtype=torch.uint8))
    targets = {"input": None, "pixels": images, "labels": lambda index: torch.zeros(len(index), dtype=torch.int64)}
    training = Training(
        stack,
        phase,
        inputs(stack, phase.reads, images, "memory" if phase.reads else "images", order.size),
        dataclasses.replace(spec.optimisation, patience=None, end_patience=None, recalibrate=False),
        order=order,
        seed=spec.seed,
        every=1,
        targets=targets[phase.target],
        classes=classes,
    )
    points = training.points()
    for _ in range(TRIED):  # the first updates allocate
        next(points)
    seconds = seconds_of(lambda: next(points), TRIED - 1)
    return dataclasses.replace(machine, efficiency=machine.seconds(one.learning.operations) / seconds)
