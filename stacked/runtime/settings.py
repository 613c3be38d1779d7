"""torch's global settings, reset to their defaults inside this package's calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

#: device types that torch.autocast supports
KINDS = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def own_settings() -> Iterator[None]:
    """Context (or decorator) with torch's defaults: float32, CPU, gradients on, no inference mode, no autocast.

    The caller's settings and the state of torch's global generator are restored afterwards. The default dtype is one setting
    for all threads: while it is changed here, other threads see float32 too.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as settings:
        settings.enter_context(torch.random.fork_rng(devices=[]))
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":  # a device context slows every call of torch down
            settings.enter_context(torch.device("cpu"))
        for kind in KINDS:
            if torch.is_autocast_enabled(kind):
                settings.enter_context(torch.autocast(kind, enabled=False))
        if dtype != torch.float32:
            settings.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield
