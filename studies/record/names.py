"""Names of configurations, of MLflow experiments, and of datasets in paths."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacked.spec import RunSpec


def configuration(base: RunSpec, equal: str) -> str:
    """Return the id of what runs share: six hex digits of a SHA-256 of the base spec and `equal`."""
    return hashlib.sha256(f"{base.id} {equal}".encode()).hexdigest()[:6]


def experiment_name(base: RunSpec) -> str:
    """Return the name of the MLflow experiment of a spec: dataset, kinds of stages and widths."""
    stages = base.stack.stages
    kinds = "-".join(dict.fromkeys(stage.kind for stage in stages))
    return f"{slug(base.data.name)}-{kinds}-{'-'.join(str(stage.width) for stage in stages)}"


def slug(name: str) -> str:
    """Return a name with every run of characters other than letters and digits of any script replaced by "-"."""
    # composed, because some file systems take letters and their accents apart
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", name)).strip("-")
