"""The time of measuring a run: its curve, the errors on validation and test images, linear probes and classifiers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from stacked.cost.fake_execution import Operation, Work, encoding, reconstruction
from stacked.cost.phase_cost import PhaseCost, phase_cost
from stacked.cost.roofline import Machine
from stacked.data.order import Order
from stacked.evaluation.deep_clustering import BATCH, DEEP_CLUSTERINGS, EPOCHS
from stacked.evaluation.evaluate import PROBED
from stacked.evaluation.fine_tuning import classifier_updates
from stacked.evaluation.probes import PROBE_ITERATIONS
from stacked.model.stack import empty_stack
from stacked.spec import Classification, RunSpec, StackSpec
from stacked.spec.growth import Phase
from stacked.spec.objectives import needs_labels
from stacked.stages.stage import Shape
from stacked.util.chunks import chunks

#: Passes over the images of a probe that an iteration of its solver makes: the product with the weights, and the gradient.
PASSES = 2


@dataclass(frozen=True)
class ImageCounts:
    """The numbers of images of each split, and of their classes (0: there are none)."""

    train: int
    valid: int = 0
    test: int = 0
    classes: int = 0


def measuring_seconds(spec: RunSpec, shape: Shape, images: ImageCounts, updates: int, machine: Machine) -> float:
    """Return the seconds that a machine takes to measure a run of `spec` with this number of `updates`.

    Every linear probe is counted with as many iterations as its protocol allows, deep clustering with as many epochs, and other
    probes as ridge regressions.
    """
    timed = Timed(spec, shape, machine)
    depth, points = spec.stack.depth, updates // spec.evaluation.every + 1
    curve = points * timed.reconstructing(depth, min(images.valid, spec.evaluation.images))
    errors = timed.reconstructing(depth, images.valid)
    errors += sum(timed.reconstructing(k, images.test) for k in range(1, depth + 1))
    if not images.classes:
        return curve + errors
    quick = min(images.train, spec.evaluation.probe_images)
    names, in_curve = spec.evaluation.probes, points // spec.evaluation.probe_every + 1
    curve += in_curve * timed.ridge(depth, quick, min(images.valid, quick)) if names else 0
    fitted = min(images.train, spec.evaluation.probe_labels)
    probes = sum(timed.probe(k, fitted, images.test, images.classes) for k in range(depth + 1) if "logistic" in names)
    read = {"code": (depth,), "ends": (0, depth), "all": range(depth + 1)}[spec.evaluation.probe_depths]
    others = [name for name in names if name != "logistic" and name not in DEEP_CLUSTERINGS]
    probes += sum(timed.ridge(k, fitted, images.test) for _ in others for k in read)
    probes += sum(timed.deep_clustering(fitted, images) for name in names if name in DEEP_CLUSTERINGS)
    return curve + errors + probes + sum(timed.classifier(n, images) for n in budgets(spec, images))


def budgets(spec: RunSpec, images: ImageCounts) -> Iterable[int]:
    """Return the numbers of labels that classifiers are fine-tuned with, as `runs.supervised_end.SupervisedEnd` chooses them."""
    supervised = any(needs_labels(phase, spec.optimisation) for phase in spec.phases())
    seen = (spec.optimisation.labels or images.train) if supervised else 0
    counts = [
        images.train if budget is None else min(budget, images.train)
        for budget in spec.classification.budgets(images.train, images.classes)
    ]
    return [count for count in counts if count >= seen]


def classifier_cost(
    stack: StackSpec, config: Classification, shape: Shape, labels: int, classes: int
) -> tuple[Phase, PhaseCost]:
    """Return the phase in which a classifier is fine-tuned at one learning rate, and its cost. labels: their number."""
    per_epoch = Order(labels, config.batch_size, 0).updates_per_epoch
    phase = config.phase(stack.depth, classifier_updates(config, per_epoch))
    head = (config.head, config.head_width)
    return phase, phase_cost(as_classifier(stack, config), shape, phase, labels, classes, head)


def as_classifier(stack: StackSpec, config: Classification) -> RunSpec:
    """Return a spec with this stack and the settings by which classifiers on it are fine-tuned.

    Its policy has no phases: the settings need to fit the phase of a classifier only.
    """
    return RunSpec(policy="random", stack=stack, optimisation=config.optimisation(config.lrs[0]))


class Timed:
    """The seconds that parts of a measurement take on a machine, from the work on one chunk of images."""

    def __init__(self, spec: RunSpec, shape: Shape, machine: Machine) -> None:
        self.spec, self.shape, self.machine = spec, tuple(shape), machine
        empty = empty_stack(spec.stack, shape)
        self.widest = empty.widest(shape)
        self.values = [min(PROBED, math.prod(each)) for each in empty.shapes(shape)]

    def passing(self, count: int, work: Work, chunk: int) -> float:
        """Return the seconds of `work` on `count` images; `work` is that of one chunk of this number of images."""
        return self.machine.seconds(work.operations) * count / chunk

    def reconstructing(self, depth: int, count: int) -> float:
        """Return the seconds of reconstructing `count` images from a depth."""
        if not count:
            return 0.0
        chunk = self.chunk(count)
        return self.passing(count, _reconstruction(self.spec.stack, self.shape, depth, chunk), chunk)

    def encoding(self, depth: int, count: int) -> float:
        """Return the seconds of encoding `count` images to a depth."""
        if not (depth and count):
            return 0.0
        chunk = self.chunk(count)
        return self.passing(count, _encoding(self.spec.stack, self.shape, depth, chunk), chunk)

    def chunk(self, count: int) -> int:
        """Return the number of images that are evaluated at a time."""
        return len(chunks(max(1, count), self.widest)[0])

    def probe(self, depth: int, train: int, test: int, classes: int) -> float:
        """Return the seconds of a logistic regression on codes of `train` images, scored on `test` images."""
        values = self.values[depth]
        one = Operation("mm", 2 * train * values * classes, 4 * train * (values + classes))
        solving = PASSES * PROBE_ITERATIONS * self.machine.seconds([one])
        return solving + self.encoding(depth, train + test)

    def ridge(self, depth: int, train: int, valid: int) -> float:
        """Return the seconds of a ridge regression on codes of `train` images, scored on `valid` images."""
        values = self.values[depth]
        one = Operation("mm", 2 * train * values * min(train, values), 4 * train * values)
        return self.machine.seconds([one]) + self.encoding(depth, train + valid)

    def deep_clustering(self, train: int, images: ImageCounts) -> float:
        """Return the seconds of training a copy of the encoder to cluster `train` images, which are encoded before every epoch.

        An update is that of a classifier with a linear head, whose weights are as many as the values of the centres.
        """
        config = Classification(epochs=EPOCHS, updates=1, checks=1, batch_size=BATCH)
        _, cost = classifier_cost(self.spec.stack, config, self.shape, train, images.classes)
        training = cost.updates * self.machine.seconds(cost.update.operations)
        return (
            training
            + self.encoding(self.spec.stack.depth, images.test)
            + (EPOCHS + 1) * self.encoding(self.spec.stack.depth, train)
        )

    def classifier(self, labels: int, images: ImageCounts) -> float:
        """Return the seconds of fine-tuning on this number of labels at every learning rate, with the checks and one test."""
        config, depth = self.spec.classification, self.spec.stack.depth
        _, cost = classifier_cost(self.spec.stack, config, self.shape, labels, images.classes)
        training = cost.updates * self.machine.seconds(cost.update.operations)
        checking = config.checks * self.encoding(depth, min(images.valid, config.checked(labels)))
        return len(config.lrs) * (training + checking) + self.encoding(depth, images.test)


#: cached, as the cost of phases is: arms and seeds that share a stack are counted once in a process
_encoding = lru_cache(512)(encoding)
_reconstruction = lru_cache(512)(reconstruction)
