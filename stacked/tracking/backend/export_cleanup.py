"""What torch keeps of every model that it exports, and how to let go of it.

An export with an open batch size has an environment of symbolic shapes. Torch (2.14) keeps each for as long as the process
lives: in the caches of its methods, and in a circle of references that leads through C++, which Python's collector does not
see. That is a sixth of a megabyte a run. The text of every function that it generates is kept as well, for tracebacks: another
40 kilobytes.
"""

from __future__ import annotations

import gc
import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def environments() -> list[Any]:
    """The environments of symbolic shapes that are alive."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    return [each for each in gc.get_referrers(ShapeEnv) if type(each) is ShapeEnv]  # an object refers to its class


def generated() -> dict[str, str]:
    """The texts of functions that torch has generated, by the names that they have as files; not a copy."""
    from torch.fx import graph_module

    texts: dict[str, str] = graph_module._loader.eval_cache
    return texts


@contextmanager
def let_go() -> Iterator[None]:
    """A context whose exports leave nothing behind, once Python's collector has been; those of others stay as they are."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    others, texts = {id(each) for each in environments()}, set(generated())
    try:
        yield
    finally:
        for each in environments():
            if id(each) not in others:
                each.tracked_fakes = None
        for method in vars(ShapeEnv).values():
            if hasattr(method, "cache_clear"):
                method.cache_clear()
        for name in generated().keys() - texts:
            del generated()[name]
            linecache.cache.pop(name, None)
