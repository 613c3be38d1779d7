"""Stage types: every subclass of `Stage` in this package's modules, by its `kind`."""

from __future__ import annotations

import importlib
import pkgutil

from stacked.stages.stage import Stage as Stage

#: what a stack tells each of its stages; all other parameters of a stage are options of its kind
SHARED = frozenset({"in_shape", "width", "activation", "output", "pixels", "norm"})


def kinds() -> dict[str, type[Stage]]:
    """All stage types by name; a new module in this package is found by itself."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return {cls.kind: cls for cls in sorted(Stage.__subclasses__(), key=lambda cls: cls.kind)}
