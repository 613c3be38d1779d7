"""Small stacks of one kind or of several, specs of them, and whether a spec can be trained."""

from __future__ import annotations

from typing import Any

import torch

from stacked import RunSpec, StackSpec
from stacked.model.stack import build
from stacked.objectives.objective import ObjectiveTargets
from stacked.spec import Optimisation, StageSpec
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.splits import toy_splits

#: words of an error message that say what to do
ADVICE = ("give ", "use ", "choose from ", "leave ")

CONV = StackSpec.of("conv", 4, 6)
DENSE = StackSpec.of("dense", 6, 4)
SIGMOID = StackSpec.of("dense", 6, 4, activation="sigmoid")
MIXED = StackSpec((StageSpec("conv", 4), StageSpec("dense", 6), StageSpec("dense", 4)))


def of(kind: str, **more: Any) -> StackSpec:
    return StackSpec.of(kind, 8, 8, **more)


#: rectified codes, and a decoder of the pixels without an activation
LINEAR = of("dense", output="linear")


def spec(policy: str = "greedy", stack: StackSpec = CONV, **how: Any) -> RunSpec:
    return RunSpec(policy, stack=stack, optimisation=Optimisation(**how))


TOY = toy_splits(16)
PIXELS = TOY.train.inputs.float() / 255


def trains(what: RunSpec) -> None:
    """One update of each of its phases: a finite loss, whose gradient is finite and reaches each stage that learns."""
    stack = build(what.stack, (1, 12, 12))
    for phase in what.phases():
        if not phase.updates:
            continue
        stack.learn_only(*phase.trainable).train().zero_grad()
        objective = PhaseLoss(stack, phase, what.optimisation, classes=4)
        with torch.no_grad():
            read = stack.encode(PIXELS, phase.input_depth)
        known = ObjectiveTargets(PIXELS, TOY.train.labels)
        targets = {"input": None, "pixels": PIXELS, "labels": TOY.train.labels, "objectives": known}
        target: Any = targets[phase.target]
        loss = objective(read, target, 0)
        loss.backward()
        assert loss.isfinite(), phase.name
        for k, stage in enumerate(stack.stages, start=1):
            grads = [p.grad for p in stage.parameters() if p.grad is not None]
            assert bool(grads) == (phase.trainable[0] <= k <= phase.trainable[1]), phase.name
            assert all(grad.isfinite().all() for grad in grads), phase.name
        assert objective.loss_per_example(read, target).isfinite().all()


def named(pair: Any) -> str:
    """The name of a parameter: the beginning of a message."""
    return pair[:60] if isinstance(pair, str) else ""
