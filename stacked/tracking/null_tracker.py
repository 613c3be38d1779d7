"""A tracker that records nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn


class NullTracker:
    """Takes the place of a Tracker, or of the run of a phase, and records nothing."""

    def __enter__(self) -> NullTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        pass

    def tags(self, tags: Mapping[str, object]) -> None:
        pass

    def image(self, key: str, array: NDArray[np.uint8], step: int) -> None:
        pass

    def artifact(self, path: Path, folder: str | None = None) -> None:
        pass

    def text(self, text: str, artifact_file: str) -> None:
        pass

    def flush(self) -> bool:
        return True

    def phase(
        self, index: int, name: str, params: Mapping[str, object], tags: Mapping[str, object] | None = None
    ) -> NullTracker:
        return self

    def dataset(
        self, name: str, digest: str, *, rows: int, shape: Sequence[int], context: str, dtype: str = "uint8"
    ) -> None:
        pass

    def model(
        self,
        module: nn.Module,
        example: Tensor,
        step: int,
        name: str = "encoder",
        metrics: Collection[str] | None = None,
    ) -> None:
        pass
