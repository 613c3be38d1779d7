"""The supervised end of a run on data with numbers to predict: a regressor for each label budget."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from stacked.data import Split
from stacked.evaluation.final_metrics import tested_regressor
from stacked.evaluation.fine_tuning import Selected
from stacked.evaluation.label_rows import ClassifierRows
from stacked.model.regressor import Regressor, load_with_training, regressor_path, save_regressor
from stacked.runs.classifiers import SupervisedEnd
from stacked.util.serialization import from_dict


@dataclass(frozen=True)
class TrainedRegressor:
    """What a regressor's file says of its training.

    run: the id of the run. data: the digest of its data. labels: the label budget. encoder: the digest of the weights that
    fine-tuning began from ("" in a file of an earlier version). target: that of the `DataSpec`. r2, mse: R² and the mean
    squared error on test examples, in squared units of the targets, means over the targets. The others are the results of
    selection.
    """

    run: str
    data: str
    labels: str
    r2: float
    mse: float
    valid_r2: float
    valid_labels: int
    lr: float
    updates: int
    gflop: float
    encoder: str = ""
    target: str | None = None

    def metrics(self) -> dict[str, float]:
        """Return the final metrics of the regressor, with the root of its MSE; their names end in the label budget."""
        names = ("r2", "mse", "valid_r2", "lr", "updates", "valid_labels", "gflop")
        values = {name: getattr(self, name) for name in names} | {"rmse": math.sqrt(self.mse)}
        return {f"regressor_{name}_{self.labels}": value for name, value in values.items()}


class Regressors(SupervisedEnd[Regressor]):
    """The supervised end of a run on data with targets."""

    kind, folder = "regressor", "regressors"

    def path(self, work: Path, name: str) -> Path:
        return regressor_path(work, name)

    def save(self, path: Path, model: Regressor, trained: Any) -> None:
        save_regressor(path, model, self.spec.stack, asdict(trained))

    def load(self, path: Path) -> tuple[Regressor, TrainedRegressor]:
        regressor, training = load_with_training(path)
        return regressor, from_dict(TrainedRegressor, training)

    def labels_of(self, split: Split) -> Tensor:
        assert split.targets is not None
        return split.targets

    def trained(self, selected: Selected, name: str, rows: ClassifierRows) -> tuple[Regressor, TrainedRegressor]:
        regressor = selected.model
        assert isinstance(regressor, Regressor)
        r2, mse = tested_regressor(regressor, self.splits)
        facts = self.facts(selected, name, rows)
        return regressor, TrainedRegressor(
            **facts, r2=r2, mse=mse, valid_r2=selected.valid_score, target=self.spec.data.target
        )
