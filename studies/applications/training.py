"""Our own stacks in studies of applications: trained layer-wise or jointly, with the same FLOPs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.data import Splits
    from stacked.model.stack import StackedAutoencoder
    from stacked.spec import RunSpec
    from studies.design.measurements import Context

#: how a stack is trained, as tables call it: the growth policy
WAYS = {"layer-wise": "greedy+finetune", "joint": "joint"}


class Trained(NamedTuple):
    """A stack in eval mode on the CPU, the spec that it was trained by, and what that took."""

    stack: StackedAutoencoder
    spec: RunSpec
    gflop: float


def equal(spec: RunSpec, way: str, splits: Splits, images: int) -> tuple[RunSpec, float]:
    """`spec` with the policy of a `way`, and a budget of as many FLOPs as its own has layer-wise; and these GFLOPs.

    They are counted for so many training images, whatever is in them.
    """
    from studies.design.arms import Arm
    from studies.framework.compute_budget import budgets

    first = Arm(WAYS["layer-wise"])
    base = dataclasses.replace(spec, policy=first.name)
    found = budgets(base, counted(splits, images), [Arm(WAYS[way])], "flops", first)[WAYS[way]]
    mine = dataclasses.replace(spec, policy=WAYS[way], budget=found)
    return mine, gflop_of(mine, splits, images)


def gflop_of(spec: RunSpec, splits: Splits, images: int) -> float:
    """What training on so many images takes."""
    from stacked.data.stream import Order
    from studies.framework.compute_budget import cost_function

    order = Order(images, spec.optimisation.batch_size, spec.seed)
    return (
        cost_function(spec, counted(splits, images), order, "flops", "cpu")(spec.phases(order.updates_per_epoch)) / 1e9
    )


def counted(splits: Splits, images: int) -> Splits:
    """The splits with so many training images of which nothing is known."""
    import torch

    from stacked.data.formats.split import Split

    empty = torch.zeros(1, dtype=torch.uint8).expand(images, *splits.image_shape).contiguous()
    return dataclasses.replace(splits, train=Split(empty, torch.zeros(images, dtype=torch.int64)))


def trained(context: Context, spec: RunSpec, way: str, images: Tensor | None = None) -> Trained:
    """A stack of `spec`, trained in a `way` on uint8 images (None: the training images)."""
    from stacked.training.codes import Images
    from stacked.training.pretrain import pretrain

    images = context.splits.train.images if images is None else images
    mine, gflop = equal(spec, way, context.splits, len(images))
    stack = pretrain(mine, Images(images), context.splits.image_shape, device=context.given.device)
    return Trained(stack.cpu(), mine, gflop)
