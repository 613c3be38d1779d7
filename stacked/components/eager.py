"""torch's optimisers without torch's compiler: its import takes two seconds, and every process would pay for it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.optim import Optimizer


class Eager:
    """Mixin that replaces methods of torch's optimisers by the functions that torch has wrapped.

    The wrappers import the compiler when they are first called. They keep it from compiling these methods, which has no effect on
    code that is not compiled. A subclass also replaces `step`, by what `eager_step` returns.
    """

    add_param_group: Any = inspect.unwrap(Optimizer.add_param_group)
    load_state_dict: Any = inspect.unwrap(Optimizer.load_state_dict)
    state_dict: Any = inspect.unwrap(Optimizer.state_dict)
    zero_grad: Any = inspect.unwrap(Optimizer.zero_grad)


def eager_step(optimiser: type[Optimizer]) -> Any:
    """Return the method `step` of a class of torch's optimisers, without gradients and without the wrapper."""
    return torch.no_grad()(inspect.unwrap(optimiser.step))


class Adam(Eager, torch.optim.Adam):
    """`torch.optim.Adam`."""

    step: Any = eager_step(torch.optim.Adam)


class AdamW(Eager, torch.optim.AdamW):
    """`torch.optim.AdamW`."""

    step: Any = eager_step(torch.optim.AdamW)


class SGD(Eager, torch.optim.SGD):
    """`torch.optim.SGD`."""

    step: Any = eager_step(torch.optim.SGD)
