"""A figure that a study has of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, ParamSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Of = ParamSpec("Of")


@dataclass(frozen=True)
class Drawing(Generic[Of]):
    """A figure: what it shows, in a sentence or two, and what draws it from a study's record (None: for want of data)."""

    caption: str
    draw: Callable[Of, Figure | None]
