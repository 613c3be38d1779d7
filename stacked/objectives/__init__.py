"""The objectives that a phase can learn, by name: the subclasses of `Objective` in the modules of this package."""

from __future__ import annotations

from stacked.objectives.objective import Objective as Objective
from stacked.util.found import found_classes


def objectives() -> dict[str, type[Objective]]:
    """Return all objective classes by name; a new module of this package is found without being listed."""
    return found_classes(Objective, "name", __name__, __path__)  # type: ignore[type-abstract]  # none is made of it
