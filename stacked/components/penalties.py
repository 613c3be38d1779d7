"""Penalties: terms on a trained stage's code or weights that are added, with a weight, to its reconstruction loss.

Each is a function of (stage, x, code, generator), where x [B, ...] is the stage's input and code [B, ...] its output before
any winner-take-all constraint. It returns a scalar, averaged over the batch if it depends on the examples. To add one,
write the function and name it in PENALTIES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stacked.stages.activations import AMPLITUDE, RANGES, STEEPNESS
from stacked.stages.convolutions import CONVS
from stacked.stages.stage import Stage
from stacked.util.checks import need

#: Default target of the mean activation for "kl" (Ng 2011, section 3).
RHO = 0.05

#: activation -> its derivative as a function of its value, for "contractive"
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda h: h * (1 - h),
    "tanh": lambda h: 1 - h.square(),
    "scaled-tanh": lambda h: AMPLITUDE * STEEPNESS * (1 - (h / AMPLITUDE).square()),
    "relu": lambda h: (h > 0).to(h.dtype),
    "softplus": lambda h: -torch.expm1(-h),
    "saturating-linear": lambda h: ((h > 0) & (h < 1)).to(h.dtype),
    "linear": torch.ones_like,
}


def _no_reason(kind: str, activation: str, norm: str) -> str | None:
    return None


@dataclass(frozen=True)
class Penalty:
    """A penalty.

    of: the function of (stage, x, code, generator).
    differentiates: whether it differentiates the code with respect to x and keeps the graph. Then x must require grad before it
        is encoded, and attention must use a kernel that is twice differentiable (torch's SDPBackend.MATH).
    has_target: whether `of` also takes the target of the mean activation.
    refuses: function of a stage's (kind, activation, norm) that returns why it cannot have the penalty and what to use
        instead, as a clause of an error message, or None if it can.
    """

    of: Callable[..., Tensor]
    differentiates: bool = False
    has_target: bool = False
    refuses: Callable[[str, str, str], str | None] = _no_reason


def l1(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """Return the mean absolute value of the code, over all values and examples."""
    return code.abs().mean()


def kl(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator, rho: float = RHO) -> Tensor:
    """Return the mean over units of KL(rho || r) in nats, with r the unit's mean over the batch (and over positions of maps).

    Ng 2011 (CS294A notes, section 3) sums over the units; here they are averaged, so that stages of any width can be compared.
    A target for the mean activation goes back to Lee, Ekanadham & Ng 2008.
    """
    mean = code.mean([0, *range(2, code.dim())])
    info = torch.finfo(code.dtype)
    mean = mean.clamp(
        info.tiny, 1 - info.eps
    )  # a unit that is 0 or 1 for the whole batch has a large loss instead of an infinite one
    return (rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()).mean()


def kl_refuses(kind: str, activation: str, norm: str) -> str | None:
    """Refuse codes that leave [0, 1], whose mean is no probability."""
    if RANGES[activation] == (0, 1):
        return None
    return (
        f"it needs a code in (0, 1), not that of activation {activation!r}; use activation 'sigmoid', or penalty 'l1'"
    )


def contractive(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """Return the mean of ||d code / d x||_F^2 over examples, in closed form for code = phi(W x + b) (Rifai et al. 2011).

    It is sum_i phi'(a_i)^2 sum_j W_ij^2, with phi' computed from the code. Rifai et al. add it to a loss summed over the input
    values, where ours is their mean: their lambda is our weight times the number of input values.
    """
    return (SLOPES[stage.activation](code).square() @ first_weight(stage).square().sum(1)).mean()


def contractive_refuses(kind: str, activation: str, norm: str) -> str | None:
    """Refuse stages that are not one affine map followed by an activation of each unit alone."""
    if kind != "dense":
        what = f"a {kind} stage"
    elif norm != "none":
        what = f"a stage with norm {norm!r}"
    else:
        return None
    return f"its closed form holds for a dense stage without norm, not for {what}; use 'contractive-estimate'"


def contractive_estimate(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """Return an unbiased estimate of the mean of ||d code / d x||_F^2 over examples, for any twice differentiable stage.

    E ||v^T J||^2 = ||J||_F^2 for independent random signs v (Hutchinson 1990), which have the least variance of all v with unit
    covariance. Each update draws one v. With batch norm in training mode, an example's code depends on the whole batch: then
    the result estimates the squared norm of the Jacobian of the batch's codes with respect to the batch, divided by B.
    """
    bits = torch.randint(0, 2, code.shape, generator=generator, device=generator.device)
    (row,) = torch.autograd.grad(code, x, (2 * bits - 1).to(code.dtype), create_graph=True)
    return row.square().sum() / len(x)


def orthogonality(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """Return ||W W^T - I||_F^2 / rows for the encoder's first weight, flattened to W [out, in] (Bansal, Chen & Wang 2018).

    If out > in, the rows cannot be orthonormal and the columns are used: ||W^T W - I||_F^2 / columns. Other weights of the
    stage do not count.
    """
    weight = first_weight(stage)
    if weight.shape[0] > weight.shape[1]:
        weight = weight.T
    return (weight @ weight.T - torch.eye(len(weight), dtype=weight.dtype, device=weight.device)).square().sum() / len(
        weight
    )


def weight_decay(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """Return half the sum of squares of the stage's weight matrices and kernels, whose gradient is w (Krogh & Hertz 1992).

    Vectors (biases, and scales and shifts of norms) do not count, and tied weights count once. As a term of the loss it passes
    through the optimiser, and Adam rescales it, unlike the optimisers' own `weight_decay`.
    """
    weights = [p for p in stage.parameters() if p.dim() > 1]
    return torch.stack([p.square().sum() for p in weights]).sum() / 2


def first_weight(stage: Stage) -> Tensor:
    """Return the weight of the encoder's first linear layer or convolution, as a matrix [out, in]."""
    weights = [m.weight for m in stage.encoder.modules() if isinstance(m, (nn.Linear, *CONVS))]
    need(
        bool(weights),
        f"the encoder of a {stage.kind} stage has no linear layer or convolution to penalise: use another penalty",
    )
    return weights[0].flatten(1)


PENALTIES: dict[str, Penalty] = {
    "l1": Penalty(l1),
    "kl": Penalty(kl, has_target=True, refuses=kl_refuses),
    "contractive": Penalty(contractive, refuses=contractive_refuses),
    "contractive-estimate": Penalty(contractive_estimate, differentiates=True),
    "orthogonality": Penalty(orthogonality),
    "weight-decay": Penalty(weight_decay),
}
