"""The checks of a store, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stacked.doctor import checkpoints, records, relocate, stale, unsent
from stacked.doctor.finding import Finding
from stacked.tracking.backend.store import Store

#: In the order in which they run: files must be found before they can be sent.
CHECKS: dict[str, Callable[[Store], Iterator[Finding]]] = {
    "records": records.find,
    "relocate": relocate.find,
    "stale": stale.find,
    "unsent": unsent.find,
    "checkpoints": checkpoints.find,
}
