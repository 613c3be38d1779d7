"""Strict determinism: torch refuses an operation whose result could differ in its bits when it is repeated.

What a run computes depends on its spec alone, with this or without; this makes sure that no operation adds chance of its own,
as some do on a GPU, whose threads add in any order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stacked.util.checks import need
from stacked.util.errors import InputError

#: What cuBLAS reads when it starts, and the values with which it is deterministic (NVIDIA, cuBLAS, "Results reproducibility").
WORKSPACE, WORKSPACES = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
REFUSED = " does not have a deterministic implementation"


def is_strict() -> bool:
    """Whether torch refuses what is not deterministic, in this process and now."""
    return torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()


@contextmanager
def strict(device: str = "cpu", on: bool = True) -> Iterator[None]:
    """A context in which torch refuses what is not deterministic, in all threads; afterwards its settings are as before.

    device: on which is computed inside; for CUDA, enter before anything is computed there. on: False changes nothing.

    Raises InputError for an operation that has no deterministic implementation, where it is called, and when CUDA was
    started with a workspace that does not let it be deterministic.
    """
    if not on:
        yield
        return
    workspace = os.environ.get(WORKSPACE)
    if device.startswith("cuda"):
        check_workspace(workspace, torch.cuda.is_initialized())
        os.environ.setdefault(WORKSPACE, WORKSPACES[0])
    enabled, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # it chooses kernels by how long they took
    try:
        yield
    except RuntimeError as error:
        operation, refused, _ = str(error).partition(REFUSED)
        if not refused:
            raise
        raise InputError(
            f"{operation} has no deterministic implementation on {device}: leave strict determinism out, train on another "
            "device, or use a stage or loss without it"
        ) from error
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None and not torch.cuda.is_initialized():  # once CUDA runs, it says with what
            os.environ.pop(WORKSPACE, None)


def check_workspace(workspace: str | None, started: bool) -> None:
    """Raise InputError unless CUDA, `started` already or not, is deterministic with this workspace (None: its own choice)."""
    allowed = " or ".join(WORKSPACES)
    need(
        workspace in WORKSPACES or workspace is None,
        f"{WORKSPACE} {workspace!r} does not let CUDA be deterministic: set it to {allowed}, or do not set it",
    )
    need(
        workspace is not None or not started,
        f"CUDA was started without {WORKSPACE}, which it reads then: set it to {allowed} before, or ask for strict "
        "determinism before anything is computed on CUDA",
    )
