"""The supervised end of a run on data with classes: a classifier for each label budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from stacked.data import Split
from stacked.evaluation.final_metrics import tested_accuracy
from stacked.evaluation.fine_tuning import Selected
from stacked.model.classifier import Classifier, load_with_training, save_classifier
from stacked.runs.supervised_end import ModelMetadata, SupervisedEnd


@dataclass(frozen=True, kw_only=True)
class ClassifierMetadata(ModelMetadata):
    """What a classifier's file says of its training. white_level: that of the `DataSpec`."""

    accuracy: float
    valid_accuracy: float
    white_level: int | None = None

    kind: ClassVar[str] = "classifier"

    def scores(self) -> dict[str, float]:
        return {"acc": self.accuracy, "valid_acc": self.valid_accuracy}


class Classifiers(SupervisedEnd[Classifier]):
    """The supervised end of a run on data with classes."""

    metadata = ClassifierMetadata

    def save(self, path: Path, model: Classifier, training: Mapping[str, Any]) -> None:
        save_classifier(path, model, self.spec.stack, training)

    def load(self, path: Path) -> tuple[Classifier, dict[str, Any]]:
        return load_with_training(path)

    def labels_of(self, split: Split) -> Tensor:
        return split.labels

    def tested(self, selected: Selected) -> tuple[Classifier, dict[str, Any]]:
        return selected.classifier, {
            "accuracy": tested_accuracy(selected.classifier, self.splits),
            "valid_accuracy": selected.valid_score,
            "white_level": self.spec.data.white_level,
        }
