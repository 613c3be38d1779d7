"""Training of stacks in studies of applications: layer-wise or jointly, with equal FLOPs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.data import Splits
    from stacked.model.stack import StackedAutoencoder
    from stacked.spec import RunSpec
    from studies.design.measurements import Context

#: the growth policy of each way of training, by its name in tables
WAYS = {"layer-wise": "greedy+finetune", "joint": "joint"}


class Trained(NamedTuple):
    """A trained stack in eval mode on the CPU, its spec, and the GFLOPs of its training."""

    stack: StackedAutoencoder
    spec: RunSpec
    gflop: float


def equal_flops_spec(spec: RunSpec, way: str, splits: Splits, images: int) -> tuple[RunSpec, float]:
    """Return (spec with the policy of `way` and as many FLOPs as layer-wise training with the budget of `spec`, GFLOPs).

    images: number of training images.
    """
    from studies.design.arms import Arm
    from studies.framework.compute_budget import budgets

    first = Arm(WAYS["layer-wise"])
    base = dataclasses.replace(spec, policy=first.name)
    found = budgets(base, placeholder_splits(splits, images), [Arm(WAYS[way])], "flops", first)[WAYS[way]]
    mine = dataclasses.replace(spec, policy=WAYS[way], budget=found)
    return mine, gflop_of(mine, splits, images)


def gflop_of(spec: RunSpec, splits: Splits, images: int) -> float:
    """Return the GFLOPs of training on `images` images."""
    from studies.framework.compute_budget import cost_function

    cost = cost_function(spec, placeholder_splits(splits, images), images, "flops", "cpu")
    return cost(spec.phases(spec.updates_per_epoch(images))) / 1e9


def placeholder_splits(splits: Splits, images: int) -> Splits:
    """Return the splits with `images` blank training images, for counting FLOPs."""
    import torch

    from stacked.data.formats.split import Split

    empty = torch.zeros(1, dtype=torch.uint8).expand(images, *splits.input_shape).contiguous()
    return dataclasses.replace(splits, train=Split(empty, torch.zeros(images, dtype=torch.int64)))


def train_stack(context: Context, spec: RunSpec, way: str, images: Tensor | None = None) -> Trained:
    """Train a stack of `spec` in a `way` on uint8 images (None: the training images) and return it."""
    from stacked.training.codes import StoredInputs
    from stacked.training.pretrain import pretrain

    images = context.splits.train.inputs if images is None else images
    mine, gflop = equal_flops_spec(spec, way, context.splits, len(images))
    stack = pretrain(mine, StoredInputs(images), context.splits.input_shape, device=context.given.device)
    return Trained(stack.cpu(), mine, gflop)
