"""What MLflow shows of a model of a run, its encoder or a classifier, beside its files."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stacked.tracking.backend.logged_metrics import LoggedMetrics

if TYPE_CHECKING:
    from mlflow.entities import Metric

#: Number of characters of a dataset's digest that MLflow keeps.
DIGEST = 36
#: Characters that MLflow refuses in the name of a model.
_REFUSED = re.compile("[/:.%\"']+")


def model_name(name: str, run: str) -> str:
    """Return the name in MLflow of a model `name` of the run called `run`, such as "encoder-joint-s0"."""
    return _REFUSED.sub("-", f"{name}-{run}")


@dataclass(frozen=True)
class ModelDescription:
    """The name of a model of a run, and what describes it.

    step: number of updates that trained it. parameters: those of the run. entries: the last values of the run's metrics, as
    they were logged there. dataset: name and digest of the data, if they are known.
    """

    name: str
    step: int
    parameters: dict[str, str]
    entries: list[LoggedMetrics]
    dataset: tuple[str, str] | None

    def metrics_of(self, model_id: str, run_id: str) -> list[Metric]:
        """Return the metrics as those of a model; without values that are not finite, of which MLflow would make zeros."""
        from mlflow.entities import Metric

        name, digest = self.dataset or (None, None)
        return [
            Metric(
                metric,
                value,
                entry.time,
                entry.step,
                model_id=model_id,
                run_id=run_id,
                dataset_name=name,
                dataset_digest=digest[:DIGEST] if digest else None,
            )
            for entry in self.entries
            for metric, value in entry.metrics.items()
            if math.isfinite(value)
        ]
