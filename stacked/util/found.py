"""Classes that are found by themselves: those of all modules of a package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from typing import TypeVar

T = TypeVar("T")


def found_classes(base: type[T], attribute: str, package: str, path: Iterable[str]) -> dict[str, type[T]]:
    """Return the subclasses of `base` in all modules of a package that define `attribute`, by its value and sorted by it.

    package, path: the package's `__name__` and `__path__`.
    """
    _import_all(package, tuple(path))
    named = {getattr(cls, attribute): cls for cls in _subclasses(base) if attribute in vars(cls)}
    return dict(sorted(named.items()))


@cache  # called once for each stage of a spec
def _import_all(package: str, path: tuple[str, ...]) -> None:
    for module in pkgutil.iter_modules(path, f"{package}."):
        importlib.import_module(module.name)


def _subclasses(cls: type[T]) -> list[type[T]]:
    """Return all direct and indirect subclasses, each once."""
    below = [each for sub in cls.__subclasses__() for each in [sub, *_subclasses(sub)]]
    return list(dict.fromkeys(below))
