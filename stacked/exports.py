"""What torch keeps of every model that it exports, and how to let go of it.

An export with an open batch size has an environment of symbolic shapes. Torch (2.14) keeps each for as long as the process
lives: in the caches of its methods, and in a circle of references that leads through C++, which Python's collector does not
see. That is a sixth of a megabyte a run.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def environments() -> list[Any]:
    """The environments of symbolic shapes that are alive."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    return [each for each in gc.get_objects() if type(each) is ShapeEnv]


@contextmanager
def let_go() -> Iterator[None]:
    """A context whose exports leave nothing behind, once Python's collector has been; those of others stay as they are."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    others = {id(each) for each in environments()}
    try:
        yield
    finally:
        for each in environments():
            if id(each) not in others:
                each.tracked_fakes = None
        for method in vars(ShapeEnv).values():
            if hasattr(method, "cache_clear"):
                method.cache_clear()
