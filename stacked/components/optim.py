"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

#: parameter groups, each {"params": [...], ...}
Groups = Iterable[dict[str, Any]]


def _adam(params: Groups, weight_decay: float, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, weight_decay=weight_decay, fused=True)


def _adamw(params: Groups, weight_decay: float, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, weight_decay=weight_decay, fused=True)


def _sgd(params: Groups, weight_decay: float, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=1e-3, weight_decay=weight_decay, momentum=momentum, fused=True)


#: name -> constructor from (parameter groups, weight decay, momentum); the learning rate is set before each update
OPTIMISERS: dict[str, Callable[[Groups, float, float], torch.optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}


def constant(progress: float) -> float:
    """A constant factor of 1."""
    return 1.0


def cosine(progress: float) -> float:
    """Decrease from 1 to 0 along half a cosine (Loshchilov & Hutter 2017, equation 5, one period)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def onecycle(progress: float) -> float:
    """Increase from 1/25 to 1 over the first 30 %, then decrease to 1e-4/25, both along half a cosine (Smith & Topin 2019)."""
    start, end, peak = 1 / 25, 1e-4 / 25, 0.3
    if progress < peak:
        return start + (1 - start) * (1 - cosine(progress / peak))
    return end + (1 - end) * cosine((progress - peak) / (1 - peak))


#: name -> function from the progress through a phase, 0 to 1, to a factor of the learning rate
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "onecycle": onecycle,
}


def learning_rate(lr: float, schedule: str, warmup: int, update: int, updates: int) -> float:
    """Return the learning rate of `update` (from 0) of `updates`: linear warm-up over `warmup` updates, then the schedule."""
    if update < warmup:
        return lr * (update + 1) / (warmup + 1)
    return lr * SCHEDULES[schedule]((update - warmup) / max(1, updates - warmup))
