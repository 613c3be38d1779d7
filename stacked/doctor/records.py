"""Records of runs that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

from stacked.doctor.finding import Finding, folders, read
from stacked.tracking.backend.store import Store
from stacked.util.errors import InputError


def find(store: Store) -> Iterator[Finding]:
    """Find records that cannot be read, which are reported only."""
    for folder in folders(store):
        try:
            read(folder)
        except InputError as error:
            yield Finding(str(error))
