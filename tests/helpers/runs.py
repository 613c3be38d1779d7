"""A tiny run, and what two runs must have in common to be the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from stacked import RunSpec, StackSpec
from stacked.runs.run import Result
from stacked.spec import Budget, Classification, Evaluation, Optimisation

#: 150 training images in batches of 32; a point every 5 updates, so that most stops are between two.
SPEC = RunSpec(
    policy="greedy+finetune",
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget((2.0,), 3.0),
    optimisation=Optimisation(batch_size=32, corruption_level=(0.1,), lr=1e-2, schedule="cosine"),
    evaluation=Evaluation(every=5, images=40, probe_every=100, probe_images=40, probe_labels=40),
    classification=Classification(labels=()),
)
#: what depends on the clock, or on who edits the code while tests run
TIMES = ("train_seconds", "seconds", "elapsed", "progress/train_seconds", "commit", "commits")


def numbers(result: Result) -> list[dict[str, Any]]:
    """The row and the curve, without TIMES."""
    return [{name: value for name, value in each.items() if name not in TIMES} for each in [result.row, *result.curve]]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether all parameters and buffers are the same to the bit."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
