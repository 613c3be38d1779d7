"""All kinds of stages: every subclass of `Stage` in this package, by its `kind`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from stacked.stages.stage import Stage as Stage


def kinds() -> dict[str, type[Stage]]:
    """Return all stage classes by kind; a new module of this package is found without being listed."""
    _import_all()
    return {cls.kind: cls for cls in sorted(_subclasses(Stage), key=lambda cls: cls.kind)}


@cache  # called once for each stage of a spec
def _import_all() -> None:
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)


def _subclasses(cls: type[Stage]) -> list[type[Stage]]:
    """Return all direct and indirect subclasses that define a `kind`."""
    below = [each for sub in cls.__subclasses__() for each in [sub, *_subclasses(sub)]]
    return [sub for sub in dict.fromkeys(below) if "kind" in vars(sub)]
