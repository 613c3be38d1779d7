"""The code, the versions and the machine with which the numbers of a page were measured."""

from __future__ import annotations

import os

import torch

from stacked.runtime.environment import environment


def origin() -> str:
    """Return commit, versions of the libraries, platform and number of cores as one line."""
    tags = environment(torch.device("cpu"))
    changed = ", with changes" if tags["dirty"] == "true" else ""
    versions = ", ".join(f"{name} {tags[name.lower()]}" for name in ("Python", "torch", "MLflow", "NumPy"))
    return f"Commit {tags['commit'][:7]}{changed}; {versions}; {tags['platform']}, {os.cpu_count()} cores."
