"""The exact linear targets, by policy: where a stack of linear stages must meet PCA, and where it must not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from stacked import StackedAutoencoder, StackSpec
from stacked.model.stack import build
from stacked.runtime.rng import seeded
from stacked.spec.growth import POLICIES, Updates
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.phases import PLAIN


def minimised(policy: str, tied: bool, seed: int, x: Tensor) -> tuple[StackedAutoencoder, list[float]]:
    """Two linear stages, 12-6-3, each phase of the policy at its optimum (float64, full batch, L-BFGS), and the losses there."""
    with seeded(seed, "init"):
        spec = StackSpec.of("dense", 6, 3, activation="linear", output="linear", tied=tied)
        stack = build(spec, (12,)).double()
    optima = []
    for phase in POLICIES[policy](2, Updates((1, 1), 1)):
        stack.learn_only(*phase.trainable)
        with torch.no_grad():
            reads = stack.encode(x, phase.input_depth)
        objective = PhaseLoss(stack, phase, PLAIN)
        optimiser = torch.optim.LBFGS(
            [p for p in stack.parameters() if p.requires_grad],
            max_iter=5000,
            max_eval=20000,
            tolerance_grad=1e-14,
            tolerance_change=1e-18,
            history_size=50,
            line_search_fn="strong_wolfe",
        )

        def closure(optimiser: Any = optimiser, objective: Any = objective, reads: Tensor = reads) -> Tensor:
            optimiser.zero_grad()
            loss = objective(reads, x if objective.phase.target == "pixels" else None, 0)
            loss.backward()
            return loss

        for _ in range(3):
            optimiser.step(closure)
        optima.append(closure().item())
    return stack, optima


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("policy", ["greedy-pixels", "progressive", "joint"])
def test_linear_stages_that_restore_pixels_are_pca(
    policy: str, tied: bool, seed: int, linear_data: tuple[Tensor, dict[int, float]]
) -> None:
    """Pixel targets undo what makes greedy stages worse than PCA where they are untied.

    At its optimum stage 1 encodes A U^T x and decodes U A^-1 z, U the first six axes and A any invertible matrix. Through that
    decoder stage 2 gives U A^-1 D E A U^T x, and A^-1 (D E) A is any matrix of rank 3 where D and E are free: the error is that
    of PCA(3), whatever A is. A tied stage 1 has an orthogonal A, and there E^T E is the projection that is needed.
    """
    x, pca = linear_data
    stack, optima = minimised(policy, tied, seed, x)
    if policy != "joint":
        assert optima[0] == pytest.approx(pca[6], abs=1e-10)
    assert optima[-1] == pytest.approx(pca[3], abs=1e-10)
    assert (stack(x) - x).square().mean().item() == pytest.approx(pca[3], abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_linear_greedy_stages_are_pca_where_tied_and_worse_where_not(
    seed: int, linear_data: tuple[Tensor, dict[int, float]]
) -> None:
    x, pca = linear_data
    tied, untied = ((minimised("greedy", t, seed, x)[0](x) - x).square().mean().item() for t in (True, False))
    assert tied == pytest.approx(pca[3], abs=1e-10)
    assert untied > pca[3] * 1.005
