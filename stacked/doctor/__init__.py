"""What accidents leave in a store of runs, listed and mended.

Look with `python -m stacked.doctor --dry-run` first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stacked.doctor import checkpoints, records, relocate, stale, unsent
from stacked.doctor.finding import Finding
from stacked.tracking.backend.store import Store

__all__ = ["CHECKS", "Finding"]

#: In the order in which they are made: what MLflow cannot find a place for cannot be sent.
CHECKS: dict[str, Callable[[Store], Iterator[Finding]]] = {
    "records": records.find,
    "relocate": relocate.find,
    "stale": stale.find,
    "unsent": unsent.find,
    "checkpoints": checkpoints.find,
}
