"""Winner-take-all constraints: during training a stage's decoder reads only the largest values of a code (Makhzani & Frey 2015).

Functions of (code, rate) that return the code with all other values set to 0; gradients flow through the kept values only.
They apply to training only: the code of a trained stage is unconstrained. To add one, write the function and name it in
WINNER_TAKE_ALL.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stacked.util.checks import need


@dataclass(frozen=True)
class WinnerTakeAll:
    """A winner-take-all constraint.

    of: the function of (code, rate).
    maps: whether it accepts maps [B, C, H, W] only.
    """

    of: Callable[[Tensor, float], Tensor]
    maps: bool = False


def kept(rate: float, batch: int) -> int:
    """Return how many of `batch` examples a unit keeps at `rate` in (0, 1]; rounded up, so that every unit learns from some."""
    return max(1, math.ceil(rate * batch - 1e-9))  # 0.07 * 100 is a little more than 7 in floating point


def lifetime_winners(code: Tensor, rate: float) -> Tensor:
    """Return a mask of the examples that each unit of [B, C], or each map of [B, C, H, W], keeps: those of its largest activity.

    The activity of a map is its largest value. The mask broadcasts to the code and keeps exactly `kept` examples of each
    unit; of equal activities the earlier example is kept.
    """
    activity = code.detach().flatten(2).amax(2) if code.dim() > 2 else code.detach()
    count = kept(rate, len(code))
    last = activity.topk(count, 0).values[-1]  # threshold; topk does not define which of equal values it returns
    won, even = ~(activity <= last), activity == last  # keeps NaN, so that divergence shows in the loss
    won |= even & (even.cumsum(0) <= count - won.sum(0))
    return won.view(*won.shape, *(1,) * (code.dim() - 2))


def spatial_winners(code: Tensor) -> Tensor:
    """Return a mask of the largest value of each map [B, C, ...], the first one among equals."""
    need(
        code.dim() > 2,
        f"spatial winner-take-all needs maps [B, C, ...], not a code of shape {tuple(code.shape)}: use 'lifetime'",
    )
    flat = code.detach().flatten(2)
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(2, flat.argmax(2, keepdim=True), True).view_as(code)


def lifetime(code: Tensor, rate: float) -> Tensor:
    """Keep each unit's largest values over the batch, in a share `rate` of the examples (section 2: FC-WTA).

    In a map of a kept example, all values are kept.
    """
    return torch.where(lifetime_winners(code, rate), code, 0)


def spatial(code: Tensor, rate: float) -> Tensor:
    """Keep only the largest value of each map (section 3: CONV-WTA, spatial sparsity); `rate` is not used."""
    return torch.where(spatial_winners(code), code, 0)


def spatial_lifetime(code: Tensor, rate: float) -> Tensor:
    """Keep only the largest value of each map, and only in a share `rate` of the examples (section 3: CONV-WTA).

    Both masks are computed from the unconstrained code, so that a map with values below 0 only competes by its largest value
    and not by a 0.
    """
    return torch.where(spatial_winners(code) & lifetime_winners(code, rate), code, 0)


WINNER_TAKE_ALL: dict[str, WinnerTakeAll] = {
    "lifetime": WinnerTakeAll(lifetime),
    "spatial": WinnerTakeAll(spatial, maps=True),
    "spatial+lifetime": WinnerTakeAll(spatial_lifetime, maps=True),
}
