"""Reconstruction losses: functions of (output, target), both [B, ...], that return a map of losses [B, ...].

The loss of an example is the mean of its map (`per_example`), so that stages of any size can be compared. The loss of a batch
is the mean of the whole map. To add a loss, write the function and name it in LOSSES.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from stacked.components.ssim import WINDOW, ssim_map

#: Weight of the structural similarity in "ssim-l1" (Zhao et al. 2017, section III).
STRUCTURE = 0.84


@dataclass(frozen=True)
class Loss:
    """A reconstruction loss.

    of: the function of (output, target) that returns the map of losses.
    one_pass: a function of torch that returns the mean of that map directly (None: there is none).
    logits: whether `of` takes the output before its activation, which is more accurate.
    outputs: the output activations for which the loss is defined (None: any).
    unit_targets: whether targets must lie in [0, 1].
    elementwise: whether the map has the target's shape, so that its values can be weighted one by one (see `emphasised`).
    least_side: least height and width of the target; if it is not 0, targets must be maps [B, C, H, W].
    """

    of: Callable[[Tensor, Tensor], Tensor]
    one_pass: Callable[[Tensor, Tensor], Tensor] | None = None
    logits: bool = False
    outputs: frozenset[str] | None = None
    unit_targets: bool = False
    elementwise: bool = True
    least_side: int = 0

    def mean(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean of the map of losses, a scalar."""
        if self.one_pass is None:
            return self.of(output, target).mean()
        # torch's loss returns its gradient in contiguous order whatever the output's layout. Viewing both tensors in the
        # output's own order avoids operations on mixed layouts, which take up to nine times as long.
        return self.one_pass(*as_they_lie(output, target))


def per_example(values: Tensor) -> Tensor:
    """Return the loss of each example [B], the mean of its map of losses [B, ...]."""
    return values.flatten(1).mean(1)


def emphasised(values: Tensor, hit: Tensor | None, alpha: float, beta: float) -> Tensor:
    """Weight a map of elementwise losses by `alpha` where `hit` is True and by `beta` elsewhere.

    The emphasis of Vincent et al. 2010, section 3.4; alpha 1 and beta 0 is their full emphasis. As there, the weights are not
    normalised: `per_example` still divides by the number of elements, so that the loss decreases with beta. `hit` is that of
    `Corrupted`: it broadcasts to the map, and None means everywhere.
    """
    return alpha * values if hit is None else torch.where(hit, alpha * values, beta * values)


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Return squared errors, in squared units of the target."""
    return (output - target).square()


def as_they_lie(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return views of both tensors in the order in which `output` lies in memory."""
    if output.dim() < 4 or output.is_contiguous():
        return output, target
    if output.is_contiguous(memory_format=torch.channels_last):
        return output.permute(0, 2, 3, 1), target.permute(0, 2, 3, 1)
    return output, target


class RectifiedMSE(torch.autograd.Function):
    """The mean squared error of a rectified output, which keeps the input of the rectifier and recomputes its output.

    The gradient equals that of torch's two functions bit for bit and takes as much time, but two instead of four tensors stay
    in memory. It cannot be differentiated twice.
    """

    @staticmethod
    def forward(linear: Tensor, target: Tensor) -> Tensor:
        return F.relu(linear).sub_(target).square_().mean()  # in place, where F.mse_loss allocates a second tensor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def vmap(info: Any, dims: tuple[int, int], linear: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Several stacks at once, by torch's own functions, since such maps are small."""
        linear, target = linear.movedim(dims[0], 0), target.movedim(dims[1], 0)
        return (F.relu(linear) - target).square().flatten(1).mean(1), 0

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        linear, target = ctx.saved_tensors
        difference = F.relu(linear).sub_(target).mul_(grads[0] * (2 / linear.numel()))
        return torch.ops.aten.threshold_backward.grad_input(difference, linear, 0, grad_input=difference), None


# torch asks for the signature in every call, and makes it anew each time unless the function has one
RectifiedMSE.forward.__signature__ = inspect.signature(RectifiedMSE.forward)  # type: ignore[attr-defined]


def rectified_mse(linear: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of the rectified `linear` [B, ...] and its target, a scalar."""
    if linear.dtype not in (torch.float32, torch.float64):  # F.mse_loss computes half precision in float32
        return F.mse_loss(F.relu(linear), target)
    return RectifiedMSE.apply(linear, target)


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Return absolute errors, in units of the target."""
    return (output - target).abs()


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """Return binary cross-entropies, in nats, between targets in [0, 1] and the sigmoid of `logits` (Bengio et al. 2007).

    Computed from logits it is finite, and its gradient exact, even if the sigmoid rounds to 0 or 1.
    """
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def ssim_l1(output: Tensor, target: Tensor) -> Tensor:
    """Return 0.84 (1 - SSIM) + 0.16 L1 of each channel of images [B, C, H, W] in [0, 1], as [B, C] (Zhao et al. 2017).

    Zhao et al. use SSIM at several scales and weight the absolute errors with the window of the coarsest. Here SSIM has one
    scale, averaged over all windows inside the image, and the absolute errors are averaged over all pixels without weights.
    """
    structure = 1 - ssim_map(output, target).flatten(2).mean(2)
    return STRUCTURE * structure + (1 - STRUCTURE) * l1(output, target).flatten(2).mean(2)


LOSSES: dict[str, Loss] = {
    "mse": Loss(mse, F.mse_loss),
    "bce": Loss(
        bce, F.binary_cross_entropy_with_logits, logits=True, outputs=frozenset({"sigmoid"}), unit_targets=True
    ),
    "l1": Loss(l1, F.l1_loss),
    # "mse" with a softplus decoder: Glorot, Bordes & Bengio 2011 pretrain rectifiers with the quadratic cost through a softplus,
    # whose gradient, unlike a rectifier's, does not vanish below zero. The name requires both.
    "softplus-quadratic": Loss(mse, F.mse_loss, outputs=frozenset({"softplus"})),
    "ssim-l1": Loss(
        ssim_l1,
        outputs=frozenset({"sigmoid", "saturating-linear"}),
        unit_targets=True,
        elementwise=False,
        least_side=WINDOW,
    ),
}
