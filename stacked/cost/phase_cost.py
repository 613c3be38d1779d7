"""The cost of a phase (FLOPs, operations, bytes), counted by fake execution."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache

from stacked.components.lbfgs import most_evaluations
from stacked.cost.fake_execution import LINEAR, Head, Work, encoding, longest_block, recalibration, update
from stacked.model.stack import empty_stack
from stacked.runtime.settings import own_settings
from stacked.spec import Optimisation, RunSpec
from stacked.spec.growth import Phase
from stacked.stages.stage import Shape
from stacked.training.code_cache import CodeCache, choose_cache
from stacked.training.recalibration import batches


@dataclass(frozen=True)
class PhaseCost:
    """The cost of `updates` updates of a phase on batches of `batch` out of `images` images.

    update: the work of one evaluation of loss and gradient and of the optimiser's step, without the frozen stages. evaluations:
    how many of them an update has: 1, or with a line search the most. encoding: the work of encoding one batch by the frozen
    stages. recalibration: the work of one of the `recalibrations` batches of recalibration. cache: how codes are kept, as far as
    this does not depend on the machine. flops_aside: FLOPs of an evaluation beside those of the block that has most, if several
    blocks learn alone at once: with a worker for each block they take no time.
    """

    updates: int
    images: int
    batch: int
    update: Work
    encoding: Work
    recalibration: Work
    recalibrations: int
    cache: CodeCache
    evaluations: int = 1
    flops_aside: int = 0

    @property
    def flops_once(self) -> int:
        """FLOPs of computing the cached codes."""
        return self.encoding.flop // self.batch * self.images if self.cache.mode == "memory" else 0

    @property
    def flops_per_update(self) -> int:
        """FLOPs of an update, with those of recomputed codes; with a line search the most."""
        return self.evaluations * self.update.flop + self._recomputed

    @property
    def flops_of_line_search(self) -> int:
        """The part of `flops_per_update` for evaluations beyond the first, whose number is known only afterwards."""
        return (self.evaluations - 1) * self.update.flop

    @property
    def flops_per_recalibration(self) -> int:
        """FLOPs of a batch of recalibration, with those of recomputed codes."""
        return self.recalibration.flop + self._recomputed

    @property
    def flops(self) -> int:
        """FLOPs of the whole phase."""
        each = self.updates * self.flops_per_update + self.recalibrations * self.flops_per_recalibration
        return self.flops_once + each

    @property
    def span(self) -> int:
        """FLOPs of the phase one after another, if each block that learns alone has a worker of its own.

        This is the span of the computation (Blumofe & Leiserson 1999), of which `flops` is the work. Codes of frozen stages and
        recalibration have one worker.
        """
        return self.flops - self.updates * self.evaluations * self.flops_aside

    @property
    def peak_bytes(self) -> int:
        """The most bytes alive in an update: the stack, its input, activations, gradients and optimiser state."""
        return self.update.peak_bytes

    @property
    def encoded(self) -> int:
        """The number of batches that frozen stages encode."""
        if self.cache.mode == "images":
            return 0
        if self.cache.mode == "memory":
            return math.ceil(self.images / self.batch)
        return self.updates + self.recalibrations

    @property
    def _recomputed(self) -> int:
        return self.encoding.flop if self.cache.mode == "recompute" else 0


@own_settings()
def phase_cost(
    spec: RunSpec, shape: Shape, phase: Phase, images: int, classes: int = 0, head: Head = LINEAR
) -> PhaseCost:
    """Return the cost of `phase` in a run of `spec` on this number of `images` of `shape` [C, H, W].

    classes, head: number of classes, and kind and width of the head, of a phase that learns labels.
    """
    config, stack, size = spec.optimisation, spec.stack, min(spec.optimisation.batch_size_of(phase), images)
    kind, alike = kind_of(phase, config), like(config)
    empty = _empty(stack, tuple(shape))
    values = math.prod(empty.shapes(shape)[phase.input_depth])
    again = batches(empty, phase, config, images // size)
    work = _update(stack, tuple(shape), kind, alike, size, classes, head)
    has_workers = phase.local_loss == "alone" and len(phase.ranges) > 1
    longest = _longest_block(stack, tuple(shape), kind, alike, size, classes) if has_workers else work.flop
    return PhaseCost(
        phase.updates,
        images,
        size,
        work,
        _encoding(stack, tuple(shape), phase.input_depth, size) if phase.input_depth else Work(()),
        _recalibration(stack, tuple(shape), kind, alike, size, classes, head) if again else Work(()),
        again,
        choose_cache(phase.input_depth, values, images, phase.updates, size),
        most_evaluations(config.lbfgs_iterations) if config.optimiser == "lbfgs" else 1,
        work.flop - longest,
    )


@lru_cache(1024)
def kind_of(phase: Phase, config: Optimisation) -> Phase:
    """Return `phase` without its name, length and position: phases with the same cost per update become equal."""
    kind = dataclasses.replace(phase, name="", updates=1, inherits_unspent_flops=False, resamples=False, begins="drawn")
    other = dataclasses.replace(kind, is_finetuning=False)
    own = (config.end_dropout, config.end_corruption_level)
    alike = config.patience_of(other) == config.patience_of(kind) and own == (None, None)
    return other if alike else kind


@lru_cache(1024)
def like(config: Optimisation) -> Optimisation:
    """Return the settings without those that change the size of a step and not its cost."""
    default = Optimisation()
    return dataclasses.replace(
        config,
        lr=default.lr,
        schedule=default.schedule,
        schedule_options=(),
        end_lr=None,
        end_schedule=None,
        end_schedule_options=(),
        warmup=0,
    )


#: cached results: phases, arms and seeds that share a stack are counted once in a process
_KEPT = 512
_update = lru_cache(_KEPT)(update)
_longest_block = lru_cache(_KEPT)(longest_block)
_encoding = lru_cache(_KEPT)(encoding)
_recalibration = lru_cache(_KEPT)(recalibration)
_empty = lru_cache(_KEPT)(empty_stack)
