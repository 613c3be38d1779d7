"""A figure that belongs to one study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, ParamSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Of = ParamSpec("Of")


@dataclass(frozen=True)
class Drawing(Generic[Of]):
    """A figure: its caption, and the function that draws it from the record of a study (and returns None without data)."""

    caption: str
    draw: Callable[Of, Figure | None]
