"""The names that studies give: of a configuration, of an experiment in MLflow, and of a dataset in a path."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacked.spec import RunSpec


def configuration(base: RunSpec, equal: str) -> str:
    """The first six hex digits of the SHA-256 of what runs share."""
    return hashlib.sha256(f"{base.id} {equal}".encode()).hexdigest()[:6]


def experiment_name(base: RunSpec) -> str:
    """The name of the family of runs that compare in MLflow: dataset and architecture."""
    stages = base.stack.stages
    kinds = "-".join(dict.fromkeys(stage.kind for stage in stages))
    return f"{slug(base.data.name)}-{kinds}-{'-'.join(str(stage.width) for stage in stages)}"


def slug(name: str) -> str:
    """A dataset's name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
