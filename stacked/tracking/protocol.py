"""The interface that a run needs to record itself: `Tracker` records in MLflow, `NullTracker` nowhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn


class RecordsPhase(Protocol):
    """Records a phase, in a `with` statement; methods as in `stacked.tracking.tracker.Run`."""

    def __enter__(self) -> RecordsPhase: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def log(self, metrics: Mapping[str, float], step: int) -> None: ...

    def tags(self, tags: Mapping[str, object]) -> None: ...


class RecordsRun(RecordsPhase, Protocol):
    """Records a run; methods as in `stacked.tracking.tracker.Tracker`."""

    def image(self, key: str, array: NDArray[np.uint8], step: int) -> None: ...

    def artifact(self, path: Path, folder: str | None = None) -> None: ...

    def text(self, text: str, artifact_file: str) -> None: ...

    def flush(self) -> bool: ...

    def phase(
        self, index: int, name: str, params: Mapping[str, object], tags: Mapping[str, object] | None = None
    ) -> RecordsPhase: ...

    def dataset(
        self, name: str, digest: str, *, rows: int, shape: Sequence[int], context: str, dtype: str = "uint8"
    ) -> None: ...

    def model(
        self,
        module: nn.Module,
        example: Tensor,
        step: int,
        name: str = "encoder",
        metrics: Collection[str] | None = None,
    ) -> None: ...
