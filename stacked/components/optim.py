"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from stacked.components.eager import SGD, Adam, AdamW
from stacked.components.lbfgs import LBFGS

#: parameter groups, each {"params": [...], ...}
Groups = Iterable[dict[str, Any]]


def _adam(params: Groups, weight_decay: float, momentum: float, nesterov: bool) -> torch.optim.Optimizer:
    return Adam(params, weight_decay=weight_decay, fused=True)


def _adamw(params: Groups, weight_decay: float, momentum: float, nesterov: bool) -> torch.optim.Optimizer:
    return AdamW(params, weight_decay=weight_decay, fused=True)


def _sgd(params: Groups, weight_decay: float, momentum: float, nesterov: bool) -> torch.optim.Optimizer:
    return SGD(params, lr=1e-3, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, fused=True)


def _lbfgs(params: Groups, weight_decay: float, momentum: float, nesterov: bool) -> torch.optim.Optimizer:
    return LBFGS(params)


#: name -> constructor from (parameter groups, weight decay, momentum, Nesterov's momentum or not); "sgd" alone has momentum; the
#: learning rate is set before each update
OPTIMISERS: dict[str, Callable[[Groups, float, float, bool], torch.optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
    "lbfgs": _lbfgs,
}
