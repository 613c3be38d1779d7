"""What the numbers of a page were made with."""

from __future__ import annotations

import os

import torch

from stacked.runtime.environment import environment


def origin() -> str:
    """The code, the versions that the numbers depend on, and the machine, as a line."""
    tags = environment(torch.device("cpu"))
    changed = ", with changes" if tags["dirty"] == "true" else ""
    versions = ", ".join(f"{name} {tags[name.lower()]}" for name in ("Python", "torch", "MLflow", "NumPy"))
    return f"Commit {tags['commit'][:7]}{changed}; {versions}; {tags['platform']}, {os.cpu_count()} cores."
