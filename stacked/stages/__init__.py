"""Stage types: every subclass of `Stage` in this package's modules, by its `kind`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from stacked.stages.stage import Stage as Stage


def kinds() -> dict[str, type[Stage]]:
    """All stage types by name; a new module in this package is found by itself."""
    _import_all()
    return {cls.kind: cls for cls in sorted(_subclasses(Stage), key=lambda cls: cls.kind)}


@cache  # a spec of many stages asks for each of them
def _import_all() -> None:
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)


def _subclasses(cls: type[Stage]) -> list[type[Stage]]:
    """Those that have a kind of their own, at any remove."""
    below = [each for sub in cls.__subclasses__() for each in [sub, *_subclasses(sub)]]
    return [sub for sub in dict.fromkeys(below) if "kind" in vars(sub)]
