"""Penalties: terms on a learning stage's code or weights that are added, times a weight, to its reconstruction loss.

Each is a function of (stage, x, code, generator): x [B, ...] is what the stage read, `code` [B, ...] what it gave, before
any winner-take-all constraint. It returns a scalar, the mean over the batch where it depends on the examples. To add one,
write the function and name it in PENALTIES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stacked.stages.stage import Stage
from stacked.util.checks import need

#: The mean activation that "kl" pulls each unit to (Ng 2011, section 3).
RHO = 0.05

#: activation -> its derivative, told from its value alone; those of "contractive"
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda h: h * (1 - h),
    "tanh": lambda h: 1 - h.square(),
    "relu": lambda h: (h > 0).to(h.dtype),
    "softplus": lambda h: -torch.expm1(-h),
    "linear": torch.ones_like,
}


def _nobody(kind: str, activation: str, norm: str) -> str | None:
    return None


@dataclass(frozen=True)
class Penalty:
    """A penalty.

    of: the function of (stage, x, code, generator).
    differentiates: takes the derivative of the code by x, with a graph: x must require grad before it is encoded, and
        attention be computed by a kernel that is differentiable twice (torch's SDPBackend.MATH).
    refuses: says of a stage's (kind, activation, norm) why it cannot have the penalty and what to use instead, as one
        clause of an error message; None: it can.
    """

    of: Callable[[Stage, Tensor, Tensor, torch.Generator], Tensor]
    differentiates: bool = False
    refuses: Callable[[str, str, str], str | None] = _nobody


def l1(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """The mean absolute value of the code, over its values and the examples."""
    return code.abs().mean()


def kl(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """The mean over units of KL(rho || r) in nats, r being the unit's mean over the batch (of maps: and their places).

    Ng 2011 (CS294A notes, section 3), who sums over the units where here their mean is taken, so that stages of any width
    compare; the idea of a target for the mean activation is of Lee, Ekanadham & Ng 2008.
    """
    mean = code.mean([0, *range(2, code.dim())])
    info = torch.finfo(code.dtype)
    mean = mean.clamp(
        info.tiny, 1 - info.eps
    )  # a unit that rounds to 0 or 1 for the whole batch costs much, not infinity
    return (RHO * (RHO / mean).log() + (1 - RHO) * ((1 - RHO) / (1 - mean)).log()).mean()


def kl_refuses(kind: str, activation: str, norm: str) -> str | None:
    """A mean activation is a probability only for a sigmoid."""
    if activation == "sigmoid":
        return None
    return (
        f"it needs a code in (0, 1), not that of activation {activation!r}; use activation 'sigmoid', or penalty 'l1'"
    )


def contractive(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """||d code / d x||_F^2, the mean over the examples, in closed form for code = phi(W x + b) (Rifai et al. 2011).

    It is sum_i phi'(a_i)^2 sum_j W_ij^2, and phi' is told from the code. Rifai et al. set it beside a loss summed over
    the values read, where ours is their mean: their lambda is our weight times the number of values read.
    """
    return (SLOPES[stage.activation](code).square() @ first_weight(stage).square().sum(1)).mean()


def contractive_refuses(kind: str, activation: str, norm: str) -> str | None:
    """The closed form is that of one affine map and an activation of each unit by itself."""
    if kind != "dense":
        what = f"a {kind} stage"
    elif norm != "none":
        what = f"a stage with norm {norm!r}"
    elif activation not in SLOPES:
        what = f"activation {activation!r}"
    else:
        return None
    return f"its closed form is that of a dense stage without norm, not of {what}; use 'contractive-estimate'"


def contractive_estimate(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """An unbiased estimate of ||d code / d x||_F^2, the mean over the examples, for any stage that is differentiable twice.

    E ||v^T J||^2 = ||J||_F^2 for independent signs v (Hutchinson 1990; of all v with unit covariance, signs vary least).
    One v an update, drawn from the generator. Under batch norm in training the code of one example depends on all: then
    it estimates the squared norm of the Jacobian of the whole batch's code by the whole batch, divided by B.
    """
    bits = torch.randint(0, 2, code.shape, generator=generator, device=generator.device)
    (row,) = torch.autograd.grad(code, x, (2 * bits - 1).to(code.dtype), create_graph=True)
    return row.square().sum() / len(x)


def orthogonality(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """||W W^T - I||_F^2 / rows of the encoder's first weight, flattened to W [out, in] (Bansal, Chen & Wang 2018).

    With out > in the rows cannot be orthonormal; then it is the columns: ||W^T W - I||_F^2 / columns. Only the first
    weight matrix or kernel counts, whatever else the stage has.
    """
    weight = first_weight(stage)
    if weight.shape[0] > weight.shape[1]:
        weight = weight.T
    return (weight @ weight.T - torch.eye(len(weight), dtype=weight.dtype, device=weight.device)).square().sum() / len(
        weight
    )


def weight_decay(stage: Stage, x: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """1/2 the sum of squares of the stage's weight matrices and kernels, so that the gradient is w (Krogh & Hertz 1992).

    Biases, and scales and shifts of norms, are vectors and do not count; tied weights count once. As a term of the loss it
    goes through the optimiser, and Adam rescales it; the optimisers' own `weight_decay` is another thing.
    """
    weights = [p for p in stage.parameters() if p.dim() > 1]
    return torch.stack([p.square().sum() for p in weights]).sum() / 2


def first_weight(stage: Stage) -> Tensor:
    """The weight of the encoder's first Linear or Conv2d, as a matrix [out, in]."""
    found = [m for m in stage.encoder.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    need(bool(found), f"the encoder of a {stage.kind} stage has no Linear or Conv2d whose weight could be penalised")
    return found[0].weight.flatten(1)


PENALTIES: dict[str, Penalty] = {
    "l1": Penalty(l1),
    "kl": Penalty(kl, refuses=kl_refuses),
    "contractive": Penalty(contractive, refuses=contractive_refuses),
    "contractive-estimate": Penalty(contractive_estimate, differentiates=True),
    "orthogonality": Penalty(orthogonality),
    "weight-decay": Penalty(weight_decay),
}
