"""Optimisers are torch's, to the bit, and do not load torch's compiler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stacked.components.optim import OPTIMISERS

TORCHS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": lambda groups: torch.optim.Adam(groups, weight_decay=0.01, fused=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, weight_decay=0.01, fused=True),
    "sgd": lambda groups: torch.optim.SGD(groups, weight_decay=0.01, momentum=0.9, fused=True),
}
NESTEROV = "sgd, nesterov"
TORCHS[NESTEROV] = lambda groups: torch.optim.SGD(groups, weight_decay=0.01, momentum=0.9, nesterov=True, fused=True)
WITHOUT_COMPILER = """
import sys
import torch
from stacked import Budget, Optimisation, RunSpec, StackSpec, pretrain
for name in sys.argv[1:]:
    spec = RunSpec(
        stack=StackSpec.of("dense", 4, 3),
        budget=Budget(2, 2, "updates"),
        optimisation=Optimisation(batch_size=4, optimiser=name),
    )
    pretrain(spec, torch.rand(8, 5))
    if "torch._dynamo" in sys.modules:
        sys.exit(name)
"""


def updated(make: Callable[[Any], torch.optim.Optimizer]) -> list[Tensor]:
    """Return weights, and what the optimiser keeps, after four updates at two learning rates and a reload of the state."""
    draw = torch.Generator().manual_seed(0)
    weights = [
        torch.nn.Parameter(torch.randn(5, 7, generator=draw)),
        torch.nn.Parameter(torch.randn(3, generator=draw)),
    ]
    optimiser = make([{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.01}])
    for update in range(4):
        optimiser.zero_grad()
        assert all(weight.grad is None for weight in weights)
        sum((weight**3).sum() for weight in weights).backward()
        for group in optimiser.param_groups:
            group["lr"] *= 0.9
        optimiser.step()
        if update == 1:
            state = optimiser.state_dict()
            optimiser = make([{"params": weights[:1]}, {"params": weights[1:]}])
            optimiser.load_state_dict(state)
    assert all(weight.requires_grad for weight in weights)
    return [
        *(weight.detach() for weight in weights),
        *(kept for of in optimiser.state.values() for kept in of.values()),
    ]


@pytest.mark.parametrize("name", TORCHS)
def test_updates_are_those_of_torchs_optimiser(name: str) -> None:
    own = OPTIMISERS[name.partition(",")[0]]
    ours, torchs = updated(lambda groups: own(groups, 0.01, 0.9, name == NESTEROV)), updated(TORCHS[name])
    assert len(ours) == len(torchs) > 2
    for mine, other in zip(ours, torchs, strict=True):
        assert torch.equal(mine, other)


def test_nesterovs_momentum_is_that_of_sutskever_et_al() -> None:
    """v' = m v - e f'(w + m v), w' = w + v' (2013, equations 3 and 4); the optimiser's weights are w + m v."""
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(5, generator=draw, dtype=torch.float64)
    curvature = torch.rand(5, generator=draw, dtype=torch.float64)
    weights = torch.nn.Parameter(start.clone())
    optimiser = OPTIMISERS["sgd"]([{"params": [weights], "lr": 0.02}], 0.0, 0.95, True)
    w, v = start.clone(), torch.zeros(5, dtype=torch.float64)
    for _ in range(20):
        optimiser.zero_grad()
        (curvature * weights**4).sum().backward()
        optimiser.step()
        v = 0.95 * v - 0.02 * 4 * curvature * (w + 0.95 * v) ** 3
        w = w + v
        assert w.isfinite().all()
        torch.testing.assert_close(weights.detach(), w + 0.95 * v, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_training_does_not_load_torchs_compiler() -> None:
    """With any optimiser; in one process, since it loads torch."""
    words = [sys.executable, "-c", WITHOUT_COMPILER, *OPTIMISERS]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
