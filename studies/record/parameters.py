"""The parameters of a run on its MLflow page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stacked.data import takes_image_size
from stacked.util.serialization import flat

if TYPE_CHECKING:
    from stacked.spec import RunSpec


def parameters(spec: RunSpec) -> dict[str, Any]:
    """Return the fields of a spec by dotted name, without the image size where the data are no image files."""
    size = () if takes_image_size(spec.data.name) else ("data.image_size",)
    return {name: value for name, value in flat(spec).items() if name not in size}
