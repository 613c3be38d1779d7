"""All kinds of stages: every subclass of `Stage` in this package, by its `kind`."""

from __future__ import annotations

from stacked.stages.stage import Stage as Stage
from stacked.util.found import found_classes


def kinds() -> dict[str, type[Stage]]:
    """Return all stage classes by kind; a new module of this package is found without being listed."""
    return found_classes(Stage, "kind", __name__, __path__)
