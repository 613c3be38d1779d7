"""Records of runs that cannot be read, and links in their place."""

from __future__ import annotations

from collections.abc import Iterator

from stacked.doctor.finding import Finding, folders, read, work_folders
from stacked.tracking.backend.store import Store
from stacked.util.errors import InputError


def find(store: Store) -> Iterator[Finding]:
    """Find records that cannot be read, and work folders that are links out of the store; they are reported only."""
    for link in work_folders(store, linked=True):
        yield Finding(f"{link} is a link that leads out of {link.parent} and is not followed: move it away")
    for folder in folders(store):
        try:
            read(folder)
        except InputError as error:
            yield Finding(str(error))
