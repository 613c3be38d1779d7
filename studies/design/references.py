"""References: methods that a study of training runs shows beside its arms, and that do not depend on a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec


@dataclass(frozen=True)
class Found:
    """What a reference measures; nothing where it does not fit the data.

    metrics: results on test images by the name of a column of the rows, such as "final/recon_sse". samples: arrays for figures,
    named as those of `evaluation.pictures`.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    samples: Mapping[str, Any] = field(default_factory=dict)


#: Function of the splits and the base spec of a study. It selects settings, if any, on validation images, and reads the test
#: images once.
Reference: TypeAlias = "Callable[[Splits, RunSpec], Found]"
