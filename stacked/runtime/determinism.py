"""Strict determinism: torch refuses operations whose result can differ between repetitions.

What a run computes depends on its spec alone, with or without this. Strict determinism also rules out operations that are
not deterministic themselves, such as sums on a GPU whose threads add in any order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stacked.util.checks import need
from stacked.util.errors import InputError

#: The variable that cuBLAS reads at its start, and its deterministic values (NVIDIA, cuBLAS, "Results reproducibility").
WORKSPACE, WORKSPACES = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
REFUSED = " does not have a deterministic implementation"


def is_strict() -> bool:
    """Whether torch currently refuses nondeterministic operations in this process."""
    return torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()


@contextmanager
def strict(device: str = "cpu", on: bool = True) -> Iterator[None]:
    """Context in which torch refuses nondeterministic operations, in all threads; its settings are restored afterwards.

    device: the device used inside; enter before anything is computed on CUDA. on: False changes nothing.

    Raises InputError for an operation without a deterministic implementation, and if CUDA was started with a workspace
    that is not deterministic.
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
    torch.backends.cudnn.benchmark = False  # benchmarking selects kernels by measured time, which varies
    try:
        yield
    except RuntimeError as error:
        operation, refused, _ = str(error).partition(REFUSED)
        if not refused:
            raise
        raise InputError(
            f"{operation} has no deterministic implementation on {device}: leave strict determinism out, train on another "
            "device, or use another stage or loss"
        ) from error
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None and not torch.cuda.is_initialized():  # a CUDA that has started keeps the value it read
            os.environ.pop(WORKSPACE, None)


def check_workspace(workspace: str | None, started: bool) -> None:
    """Raise InputError if CUDA is not deterministic with this value of CUBLAS_WORKSPACE_CONFIG (None: not set).

    started: whether CUDA has been initialised already, so that setting the variable now would have no effect.
    """
    allowed = " or ".join(WORKSPACES)
    need(
        workspace in WORKSPACES or workspace is None,
        f"{WORKSPACE} {workspace!r} does not make CUDA deterministic: set it to {allowed}, or do not set it",
    )
    need(
        workspace is not None or not started,
        f"CUDA was started without {WORKSPACE}, which it reads at its start: set it to {allowed} before, or enter strict "
        "determinism before anything is computed on CUDA",
    )
