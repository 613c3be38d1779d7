"""Winner-take-all constraints on a code: while a stage trains, its decoder sees the winners alone (Makhzani & Frey 2015).

Functions of (code, rate) that return the code with the losers set to 0; the gradient flows through the winners only. The
code of a trained stage is its unconstrained one: these are for training. To add one, write the function and name it in
WINNERS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stacked.util.checks import need


@dataclass(frozen=True)
class Winners:
    """A constraint.

    of: the function of (code, rate).
    maps: reads maps [B, C, H, W] only.
    """

    of: Callable[[Tensor, float], Tensor]
    maps: bool = False


def kept(rate: float, batch: int) -> int:
    """How many of `batch` examples a unit keeps at `rate` in (0, 1]: rounded up, so that every unit learns from some."""
    return max(1, math.ceil(rate * batch - 1e-9))  # 0.07 * 100 is a little more than 7 in floating point


def lifetime_winners(code: Tensor, rate: float) -> Tensor:
    """Which examples win, for each unit of [B, C] or each map of [B, C, H, W], whose activity is its largest value.

    Booleans that broadcast to the code; exactly `kept` a unit; among equal ones the earlier example wins.
    """
    activity = code.detach().flatten(2).amax(2) if code.dim() > 2 else code.detach()
    count = kept(rate, len(code))
    last = activity.topk(count, 0).values[-1]  # the least activity that wins; topk itself leaves open which of equals
    won, even = ~(activity <= last), activity == last  # so NaN wins, and divergence shows in the loss
    won |= even & (even.cumsum(0) <= count - won.sum(0))
    return won.view(*won.shape, *(1,) * (code.dim() - 2))


def spatial_winners(code: Tensor) -> Tensor:
    """The place of the largest value of each map [B, C, H, W]: booleans of that shape; among equal values the first."""
    need(
        code.dim() == 4,
        f"spatial winners need maps [B, C, H, W], not a code of shape {tuple(code.shape)}: use 'lifetime'",
    )
    flat = code.detach().flatten(2)
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(2, flat.argmax(2, keepdim=True), True).view_as(code)


def lifetime(code: Tensor, rate: float) -> Tensor:
    """For each unit, keep its largest values over the batch, a share `rate` of the examples (section 2: FC-WTA).

    Of maps, keep whole the ones of the winning examples.
    """
    return torch.where(lifetime_winners(code, rate), code, 0)


def spatial(code: Tensor, rate: float) -> Tensor:
    """In each map keep its largest value alone (section 3: CONV-WTA, spatial sparsity); `rate` has no say."""
    return torch.where(spatial_winners(code), code, 0)


def spatial_lifetime(code: Tensor, rate: float) -> Tensor:
    """In each map keep its largest value alone, and that only in a share `rate` of the examples (section 3: CONV-WTA).

    Both are chosen from the code as it came, so that a map all below 0 competes by its largest value and not by a 0.
    """
    return torch.where(spatial_winners(code) & lifetime_winners(code, rate), code, 0)


WINNERS: dict[str, Winners] = {
    "lifetime": Winners(lifetime),
    "spatial": Winners(spatial, maps=True),
    "spatial+lifetime": Winners(spatial_lifetime, maps=True),
}
