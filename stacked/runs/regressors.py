"""The supervised end of a run on data with numbers to predict: a regressor for each label budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from stacked.data import Split
from stacked.evaluation.final_metrics import tested_regressor
from stacked.evaluation.fine_tuning import Selected
from stacked.model.regressor import Regressor, load_with_training, save_regressor
from stacked.runs.supervised_end import ModelMetadata, SupervisedEnd


@dataclass(frozen=True, kw_only=True)
class RegressorMetadata(ModelMetadata):
    """What a regressor's file says of its training.

    r2, mse: R² and the mean squared error on test examples, in squared units of the targets, means over the targets. valid_r2:
    R² on validation examples. target: that of the `DataSpec`.
    """

    r2: float
    mse: float
    valid_r2: float
    target: str | None = None

    kind: ClassVar[str] = "regressor"

    def scores(self) -> dict[str, float]:
        return {"r2": self.r2, "mse": self.mse, "valid_r2": self.valid_r2}

    def metrics(self) -> dict[str, float]:
        """Return the final metrics of the regressor, with the root of its MSE."""
        return super().metrics() | {f"regressor_rmse_{self.labels}": math.sqrt(self.mse)}


class Regressors(SupervisedEnd[Regressor]):
    """The supervised end of a run on data with targets."""

    metadata = RegressorMetadata

    def save(self, path: Path, model: Regressor, training: Mapping[str, Any]) -> None:
        save_regressor(path, model, self.spec.stack, training)

    def load(self, path: Path) -> tuple[Regressor, dict[str, Any]]:
        return load_with_training(path)

    def labels_of(self, split: Split) -> Tensor:
        assert split.targets is not None
        return split.targets

    def tested(self, selected: Selected) -> tuple[Regressor, dict[str, Any]]:
        regressor = selected.model
        assert isinstance(regressor, Regressor)
        r2, mse = tested_regressor(regressor, self.splits)
        return regressor, {
            "r2": r2,
            "mse": mse,
            "valid_r2": selected.valid_score,
            "target": self.spec.data.target,
        }
