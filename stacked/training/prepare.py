"""Preparation of a phase: the stack is grown and frozen, and it is decided where the codes that the phase reads come from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from stacked.data.order import Order
from stacked.model.stack import StackedAutoencoder, grow
from stacked.runtime.free_memory import free_bytes
from stacked.spec import Optimisation, RunSpec
from stacked.spec.beginnings import copied_stage
from stacked.spec.growth import Phase
from stacked.stages.initialise import copy_weights, make_identity, resample
from stacked.training.code_cache import CodeCache, choose_cache
from stacked.training.codes import Inputs, Targets, inputs
from stacked.training.examples import Examples


@dataclass
class PreparedPhase:
    """A phase that is ready to be trained.

    phase: the phase with the number of updates to make. order: the order of its batches. cache: where the codes of frozen stages
    come from: memory, or computed again for each batch. config: how it is trained. `inputs` are computed on first access.
    """

    stack: StackedAutoencoder
    phase: Phase
    examples: Examples
    order: Order
    cache: CodeCache
    config: Optimisation

    @cached_property
    def inputs(self) -> Inputs:
        """The inputs of the phase, by index."""
        return self.inputs_of(self.examples.images, self.cache.mode, self.cache.folder)

    @property
    def targets(self) -> Targets | None:
        """The targets of the phase by index, or None if the target is the input."""
        return self.examples.targets(self.phase, self.config, next(self.stack.parameters()).device)

    def inputs_of(self, images: Inputs, mode: str, folder: Path | None = None) -> Inputs:
        """Return the inputs of the phase for other images. mode, folder: those of a `CodeCache`."""
        return inputs(self.stack, self.phase.input_depth, images, mode, self.order.size, folder)


def prepare_phase(
    stack: StackedAutoencoder,
    spec: RunSpec,
    phase: Phase,
    examples: Examples,
    device: torch.device | None = None,
    *,
    codes: str = "auto",
    disk_cache: Path | None = None,
    share: float = 1.0,
    resumed: bool = False,
) -> PreparedPhase:
    """Grow `stack` to the depth of `phase`, freeze all stages but its own, and change weights if the phase says so.

    codes: "auto", "memory" or "recompute". disk_cache: folder for codes that are too large for memory (see `choose_cache`).
    share: fraction of the free memory that cached codes may use. resumed: whether the stack already has weights from inside the
    phase. Raises InputError if codes "memory" do not fit.
    """
    depth = stack.depth
    grow(stack, spec, phase.depth, device)
    begin_added(stack, phase, depth)
    stack.learn_only(*phase.trainable).eval()
    if phase.resamples and not resumed:
        resample(stack, spec.seed)
    order = Order(len(examples.images), spec.optimisation.batch_size_of(phase), spec.seed)
    values = math.prod(stack.shapes(stack.input_shape)[phase.input_depth])
    free = share * free_bytes(next(stack.parameters()).device)
    cache = choose_cache(phase.input_depth, values, order.n, phase.updates, order.size, codes, free, disk_cache)
    return PreparedPhase(stack, phase, examples, order, cache, spec.optimisation)


def begin_added(stack: StackedAutoencoder, phase: Phase, depth: int) -> None:
    """Let the stages above `depth`, which `phase` has added with drawn weights, begin as the phase says."""
    for k in range(max(3, depth + 1), phase.depth + 1):
        if phase.begins == "copy":
            copy_weights(stack.stages[k - 1], stack.stages[copied_stage(k, phase.depth - depth) - 1])
        elif phase.begins == "identity":
            make_identity(stack.stages[k - 1])
