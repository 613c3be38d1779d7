"""torch's settings, as this package's own calls have them, whatever the program around them has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

#: devices that torch.autocast may be on for
KINDS = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def own_settings() -> Iterator[None]:
    """A context, or a decorator, in which single precision, the CPU and gradients are torch's defaults; then all is as before.

    Inside neither torch.set_default_dtype, torch.set_default_device, torch.set_grad_enabled, torch.inference_mode nor
    torch.autocast of the caller counts; what is drawn from torch's global generator leaves it as it was. The default type is one
    for all threads: where it is another one, they see single precision meanwhile.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as settings:
        settings.enter_context(torch.random.fork_rng(devices=[]))
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":  # else not: it would slow down every call of torch's
            settings.enter_context(torch.device("cpu"))
        for kind in KINDS:
            if torch.is_autocast_enabled(kind):
                settings.enter_context(torch.autocast(kind, enabled=False))
        if dtype != torch.float32:
            settings.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield
