"""Reconstruction losses: functions of (output, target), both [B, ...], that return a map of losses [B, ...].

A loss is the mean of its map over each example (`per_example`), so that stages of any size compare; that of a batch is the
mean of the whole map, which is the same. To add one, write the function and name it in LOSSES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from stacked.components.ssim import WINDOW, ssim_map

#: Weight of the structural part of "ssim-l1" (Zhao et al. 2017, section III).
STRUCTURE = 0.84


@dataclass(frozen=True)
class Loss:
    """A reconstruction loss.

    of: the function of (output, target) that gives the map of losses.
    one_pass: torch's own function of them that gives the mean of that map at once (None: there is none).
    logits: `of` is given the output before its activation, where this is the more exact way to compute it.
    outputs: the output activations for which the loss is defined; None: any.
    unit_targets: targets must lie in [0, 1].
    elementwise: the map has the target's shape, and its values can be weighted one by one (see `emphasised`).
    least_side: height and width that targets must have at least; where it is not 0, targets must be maps [B, C, H, W].
    """

    of: Callable[[Tensor, Tensor], Tensor]
    one_pass: Callable[[Tensor, Tensor], Tensor] | None = None
    logits: bool = False
    outputs: frozenset[str] | None = None
    unit_targets: bool = False
    elementwise: bool = True
    least_side: int = 0

    def mean(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean of the map of losses."""
        if self.one_pass is None:
            return self.of(output, target).mean()
        # its gradient lies in plain order whatever the output's: a view in which these are the same spares what follows from
        # mixed layouts, which take up to nine times as long
        return self.one_pass(*as_they_lie(output, target))


def per_example(values: Tensor) -> Tensor:
    """The loss of each example [B]: the mean of its map of losses [B, ...]."""
    return values.flatten(1).mean(1)


def emphasised(values: Tensor, hit: Tensor | None, alpha: float, beta: float) -> Tensor:
    """A map of elementwise losses, weighted `alpha` where the corruption hit the element and `beta` elsewhere.

    The emphasis of Vincent et al. 2010, section 3.4; alpha 1 and beta 0 is their full emphasis. As there, the weighted
    losses are not renormalised: `per_example` still divides by the number of elements, so that the loss shrinks with beta.
    `hit` is that of `Corrupted`: it broadcasts to the map, and None is everywhere.
    """
    return alpha * values if hit is None else torch.where(hit, alpha * values, beta * values)


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Squared errors, in squared units of the target."""
    return (output - target).square()


def as_they_lie(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the order in which the output lies in memory."""
    if output.dim() < 4 or output.is_contiguous():
        return output, target
    if output.is_contiguous(memory_format=torch.channels_last):
        return output.permute(0, 2, 3, 1), target.permute(0, 2, 3, 1)
    return output, target


class RectifiedMSE(torch.autograd.Function):
    """The mean squared error of what a rectifier makes of `linear`, which alone is kept: the rectifier's output is made anew.

    The gradient is that of torch's two functions to the bit, in as much time, but with two of four tensors alive. It cannot be
    differentiated again.
    """

    @staticmethod
    def forward(linear: Tensor, target: Tensor) -> Tensor:
        return F.relu(linear).sub_(target).square_().mean()  # in one tensor, where F.mse_loss makes another

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def vmap(info: Any, dims: tuple[int, int], linear: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Of several stacks at once, by torch's own functions: such maps are small."""
        linear, target = linear.movedim(dims[0], 0), target.movedim(dims[1], 0)
        return (F.relu(linear) - target).square().flatten(1).mean(1), 0

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        linear, target = ctx.saved_tensors
        difference = F.relu(linear).sub_(target).mul_(grads[0] * (2 / linear.numel()))
        return torch.ops.aten.threshold_backward.grad_input(difference, linear, 0, grad_input=difference), None


def rectified_mse(linear: Tensor, target: Tensor) -> Tensor:
    """The mean of `mse` of the rectified output [B, ...] and its target; of half precision as torch takes it."""
    if linear.dtype not in (torch.float32, torch.float64):  # torch, by autocast or inside, takes it in single precision
        return F.mse_loss(F.relu(linear), target)
    return RectifiedMSE.apply(linear, target)


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Absolute errors, in units of the target."""
    return (output - target).abs()


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropies in nats of targets in [0, 1] and the sigmoid of `logits` (Bengio et al. 2007).

    From the logits it is finite, and its gradient exact, also where the sigmoid rounds to 0 or 1.
    """
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def ssim_l1(output: Tensor, target: Tensor) -> Tensor:
    """0.84 (1 - SSIM) + 0.16 L1 of each channel of images [B, C, H, W] in [0, 1]: a map [B, C] (Zhao et al. 2017).

    Theirs has SSIM at several scales, and weights the absolute errors by the window of the coarsest. Here it is SSIM at
    one scale, the mean over all windows inside the image, beside the plain mean of the absolute errors of all pixels.
    """
    structure = 1 - ssim_map(output, target).flatten(2).mean(2)
    return STRUCTURE * structure + (1 - STRUCTURE) * l1(output, target).flatten(2).mean(2)


LOSSES: dict[str, Loss] = {
    "mse": Loss(mse, F.mse_loss),
    "bce": Loss(
        bce, F.binary_cross_entropy_with_logits, logits=True, outputs=frozenset({"sigmoid"}), unit_targets=True
    ),
    "l1": Loss(l1, F.l1_loss),
    # "mse" under the name of a recipe: Glorot, Bordes, Bengio 2011 pretrain rectifiers with the quadratic cost through a
    # softplus decoder, whose gradient does not vanish below zero as a rectifier's does; the name holds the two together.
    "softplus-quadratic": Loss(mse, F.mse_loss, outputs=frozenset({"softplus"})),
    "ssim-l1": Loss(ssim_l1, outputs=frozenset({"sigmoid"}), unit_targets=True, elementwise=False, least_side=WINDOW),
}
