"""L-BFGS with a line search, for large batches (Liu & Nocedal 1989; strong Wolfe conditions)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stacked.components.eager import Eager


class LBFGS(Eager, torch.optim.LBFGS):
    """torch's L-BFGS, which starts anew in every update.

    An update minimises the loss of one batch in several iterations, as Hinton & Salakhutdinov 2006 do by conjugate gradients. Its
    history does not pass to the next update, because differences between gradients of two batches are not curvature. So there
    is no state between updates. The learning rate is the step length that a line search tries first; in the first iteration of
    every update, whose direction is the gradient g itself, that is lr * min(1, 1 / sum |g|).
    """

    def __init__(self, params: Any) -> None:
        super().__init__(params, line_search_fn="strong_wolfe")

    def minimise(self, loss: Tensor, evaluate: Callable[[], Tensor], iterations: int) -> int:
        """Make an update from the current gradients, those of `loss`; return how often `evaluate` was called.

        evaluate: computes the loss at the current weights, with gradients.
        """
        calls = 0

        def again() -> Tensor:
            nonlocal calls
            calls += 1
            return loss if calls == 1 else evaluate()

        for group in self.param_groups:
            group["max_iter"], group["max_eval"] = iterations, most_evaluations(iterations)
        self.state.clear()
        self.step(again)
        self.state.clear()
        return calls - 1

    def _gather_flat_grad(self) -> Tensor:
        # torch's own takes views, which gradients in channels-last order have not
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in self._params])


def most_evaluations(iterations: int) -> int:
    """Return after how many evaluations of the loss an update ends, if it has not made its iterations before."""
    return 1 + 2 * iterations


def vectors(iterations: int) -> int:
    """Return how many vectors of the size of all weights an update keeps: two for each iteration, and those of a line search."""
    return 2 * min(iterations, 100) + 8
