"""Fine-tuning after the last phase of a run: a model for each label budget, kept in the work folder; it can be resumed."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from torch import Tensor

from stacked.cost.measuring_cost import classifier_cost
from stacked.data import Split, Splits
from stacked.evaluation.final_metrics import tested_accuracy
from stacked.evaluation.fine_tuning import FineTuning, Selected
from stacked.evaluation.label_rows import ClassifierRows, LabelRows
from stacked.model.classifier import Classifier, classifier_path, load_with_training, save_classifier
from stacked.model.regressor import Regressor
from stacked.model.stack import StackedAutoencoder
from stacked.model.tensor_file import checksum
from stacked.runs.checkpoint import Checkpoints, Saved
from stacked.runs.checkpoint_validation import restore_fine_tuning
from stacked.runs.run_state import RunState
from stacked.spec import RunSpec
from stacked.training.codes import StoredInputs
from stacked.util.errors import InputError
from stacked.util.serialization import from_dict

if TYPE_CHECKING:
    from stacked.tracking.protocol import RecordsPhase, RecordsRun


@dataclass(frozen=True)
class Trained:
    """What a classifier's file says of its training.

    run: the id of the run. data: the digest of its data. labels: the label budget. encoder: the digest of the weights that
    fine-tuning began from ("" in a file of an earlier version). white_level: that of the `DataSpec`. The others are the results
    of selection and of the test.
    """

    run: str
    data: str
    labels: str
    accuracy: float
    valid_accuracy: float
    valid_labels: int
    lr: float
    updates: int
    gflop: float
    encoder: str = ""
    white_level: int | None = None

    def metrics(self) -> dict[str, float]:
        """Return the final metrics of the classifier; their names end in the label budget."""
        values = {
            "acc": self.accuracy,
            "valid_acc": self.valid_accuracy,
            "lr": self.lr,
            "updates": self.updates,
            "valid_labels": self.valid_labels,
            "gflop": self.gflop,
        }
        return {f"classifier_{name}_{self.labels}": value for name, value in values.items()}


#: the class of the models
M = TypeVar("M", Classifier, Regressor)


class SupervisedEnd(ABC, Generic[M]):
    """Fine-tunes the models of a run, all of one kind, from its trained `stack`.

    number: that of the last phase; models are numbered after it. saved: the checkpoint that the run resumes from. A subclass
    says what kind of model it is.
    """

    #: the kind of the models, and the folder of their files in MLflow
    kind: ClassVar[str]
    folder: ClassVar[str]

    def __init__(
        self,
        stack: StackedAutoencoder,
        spec: RunSpec,
        splits: Splits,
        labels: LabelRows,
        state: RunState,
        checkpoints: Checkpoints,
        saved: Saved | None,
        tracker: RecordsRun,
        number: int,
    ) -> None:
        self.stack, self.spec, self.splits, self.labels, self.state = stack, spec, splits, labels, state
        self.checkpoints, self.saved, self.tracker, self.number = checkpoints, saved, tracker, number

    @abstractmethod
    def path(self, work: Path, name: str) -> Path:
        """Return the path of the model of a label budget."""

    @abstractmethod
    def save(self, path: Path, model: M, trained: Any) -> None:
        """Write a model and what is known of its training, a dataclass with `metrics`."""

    @abstractmethod
    def load(self, path: Path) -> tuple[M, Any]:
        """Return a model and what is known of its training; InputError if the file is damaged."""

    @abstractmethod
    def labels_of(self, split: Split) -> Tensor:
        """Return the labels of a split that the models learn."""

    @abstractmethod
    def trained(self, selected: Selected, name: str, rows: ClassifierRows) -> tuple[M, Any]:
        """Test a model, and return it and what its file says of its training."""

    def facts(self, selected: Selected, name: str, rows: ClassifierRows) -> dict[str, Any]:
        """Return what the files of all kinds of models say of their training."""
        return {
            "run": self.spec.id,
            "data": self.splits.digest,
            "labels": name,
            "valid_labels": len(rows.valid),
            "lr": selected.lr,
            "updates": selected.updates,
            "gflop": self.gflop(selected, rows),
            "encoder": self.encoder,
        }

    def fine_tune(self) -> tuple[dict[str, M], dict[str, float]]:
        """Return the model of each label budget by its name, "all" or a number, and the final metrics of all of them.

        Each one is tested once. A model in the work folder is not fine-tuned again.
        """
        models, metrics, work = dict[str, M](), dict[str, float](), self.checkpoints.folder
        for index, rows in enumerate(self.labels.classifiers):
            if len(rows.train) < len(self.labels.learned):
                continue  # its name would hide that the encoder has already used more labels
            name = "all" if rows.budget is None else str(rows.budget)
            found = self.kept(name)
            if found is None:
                found = self.trained(self.select(index, name, rows), name, rows)
                if work:
                    self.save(self.path(work, name), *found)
            if work:
                self.tracker.artifact(self.path(work, name), self.folder)
            models[name] = found[0].eval()
            metrics |= found[1].metrics()
        return models, metrics

    @cached_property
    def encoder(self) -> str:
        """The digest of the weights that fine-tuning begins from."""
        return checksum({name: tensor.cpu() for name, tensor in self.stack.encoder.state_dict().items()}, {})

    def kept(self, name: str) -> tuple[M, Any] | None:
        """Return the model of this encoder and label budget in the work folder, or None; a damaged one causes a warning."""
        path = self.path(self.checkpoints.folder, name) if self.checkpoints.folder else None
        if path is None or not path.exists():
            return None
        try:
            model, trained = self.load(path)
        except InputError as error:
            warnings.warn(f"{error}: it is fine-tuned again", RuntimeWarning, stacklevel=2)
            return None
        wanted = self.spec.id, self.splits.digest, name, self.encoder
        if (trained.run, trained.data, trained.labels, trained.encoder) != wanted:
            return None
        return model.to(next(self.stack.parameters()).device), trained

    def gflop(self, selected: Selected, rows: ClassifierRows) -> float:
        """Return the GFLOPs of fine-tuning at all learning rates."""
        config, shape = self.spec.classification, self.splits.input_shape
        _, cost = classifier_cost(self.spec.stack, config, shape, len(rows.train), self.splits.outputs)
        flop = selected.updates_made * cost.flops_per_update + selected.recalibrations * cost.flops_per_recalibration
        return (flop + cost.flops_once * len(config.lrs)) / 1e9

    def select(self, index: int, name: str, rows: ClassifierRows) -> Selected:
        """Fine-tune model number `index`, from 0, or resume it; its checks are logged in a child run."""
        train, valid = self.splits.train, self.splits.valid
        tuning = FineTuning(
            self.stack,
            (StoredInputs(train.inputs, rows=rows.train), self.labels_of(train)[rows.train]),
            (StoredInputs(valid.inputs, rows=rows.valid), self.labels_of(valid)[rows.valid]),
            self.splits.classes,
            self.spec.classification,
            self.spec.seed,
        )
        saved, phases = self.saved, self.number + index
        if saved and saved.is_classifier and saved.phases == phases:
            restore_fine_tuning(saved, tuning)
        parameters = fine_tuning_parameters(tuning, name)
        with self.tracker.phase(phases + 1, f"{self.kind}, {name} labels", parameters) as child:

            def after_update() -> None:
                position = tuning.rate * tuning.updates + tuning.update
                if self.checkpoints.due(position):
                    tensors, plain = tuning.state()
                    tensors = {f"classifier/{key}": value for key, value in tensors.items()}
                    state = asdict(self.state) | {"classifier": plain}
                    self.checkpoints.save_inside_phase(phases, position, self.stack.state_dict() | tensors, state)

            def after_check(score: float) -> None:
                log_check(child, tuning, score)

            return tuning.train(after_update, after_check)


class Classifiers(SupervisedEnd[Classifier]):
    """The supervised end of a run on data with classes."""

    kind, folder = "classifier", "classifiers"

    def path(self, work: Path, name: str) -> Path:
        return classifier_path(work, name)

    def save(self, path: Path, model: Classifier, trained: Any) -> None:
        save_classifier(path, model, self.spec.stack, asdict(trained))

    def load(self, path: Path) -> tuple[Classifier, Trained]:
        classifier, training = load_with_training(path)
        return classifier, from_dict(Trained, training)

    def labels_of(self, split: Split) -> Tensor:
        return split.labels

    def trained(self, selected: Selected, name: str, rows: ClassifierRows) -> tuple[Classifier, Trained]:
        return selected.classifier, Trained(
            **self.facts(selected, name, rows),
            accuracy=tested_accuracy(selected.classifier, self.splits),
            valid_accuracy=selected.valid_score,
            white_level=self.spec.data.white_level,
        )


def fine_tuning_parameters(tuning: FineTuning, labels: str) -> Mapping[str, Any]:
    """Return the parameters of a model's child run."""
    config = tuning.config
    return {
        "labels": labels,
        "encoder": config.encoder,
        "head": config.head,
        "target": "labels",
        "updates": tuning.updates,
        "loss": "cross-entropy" if tuning.kind == "classifier" else "squared error",
        "optimiser": config.optimiser,
    }


def log_check(child: RecordsPhase, tuning: FineTuning, score: float) -> None:
    """Log the validation score at the current update, with a curve for each learning rate."""
    name = "classifier/accuracy" if tuning.kind == "classifier" else "regressor/r2"
    lr = f"{tuning.lr:g}".replace("+", "")  # which names of metrics in MLflow cannot have
    child.log({f"{name}/lr {lr}": score}, step=tuning.update)
