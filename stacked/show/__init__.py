"""What is in a stack, as text and figures: `summary`, `diagram`, `filters`, `reconstructions` and `diagnosis`.

    from stacked import show
    print(show.summary(stack))
    show.diagram(stack).savefig("stack.svg")

Figures are matplotlib's, which is imported when the first one is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stacked.show.diagnosis_figure import diagnosis as diagnosis
    from stacked.show.restored_images import reconstructions as reconstructions
    from stacked.show.stack_diagram import diagram as diagram
    from stacked.show.stage_table import summary as summary
    from stacked.show.unit_filters import filters as filters

_HOME = {
    "diagnosis": "stacked.show.diagnosis_figure",
    "diagram": "stacked.show.stack_diagram",
    "filters": "stacked.show.unit_filters",
    "reconstructions": "stacked.show.restored_images",
    "summary": "stacked.show.stage_table",
}
__all__ = ["diagnosis", "diagram", "filters", "reconstructions", "summary"]


def __getattr__(name: str) -> Any:
    """Import functions when first used, because studies import the style of figures without torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
