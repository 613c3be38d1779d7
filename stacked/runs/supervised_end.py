"""The supervised end of a run: after its last phase a model is fine-tuned for each label budget; it can be resumed."""

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
from stacked.evaluation.fine_tuning import FineTuning, Selected
from stacked.evaluation.label_rows import ClassifierRows, LabelRows
from stacked.model.classifier import Classifier
from stacked.model.regressor import Regressor
from stacked.model.stack import StackedAutoencoder
from stacked.model.supervised_file import model_path
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


@dataclass(frozen=True, kw_only=True)
class ModelMetadata(ABC):
    """What the file of a fine-tuned model says of its training; a subclass adds the results on test and validation data.

    run: the id of the run. data: the digest of its data. labels: the label budget. valid_labels: number of validation examples
    that selected the model. lr, updates: those that were selected. gflop: of fine-tuning at all learning rates. encoder: the
    digest of the weights that fine-tuning began from ("" in a file of an earlier version).
    """

    run: str
    data: str
    labels: str
    valid_labels: int
    lr: float
    updates: int
    gflop: float
    encoder: str = ""

    #: the kind of the model, which begins the names of its metrics
    kind: ClassVar[str]

    @abstractmethod
    def scores(self) -> dict[str, float]:
        """Return the results on test and validation data, by the names of their metrics."""

    def metrics(self) -> dict[str, float]:
        """Return the final metrics of the model; their names end in the label budget."""
        values = self.scores() | {
            "lr": self.lr,
            "updates": self.updates,
            "valid_labels": self.valid_labels,
            "gflop": self.gflop,
        }
        return {f"{self.kind}_{name}_{self.labels}": value for name, value in values.items()}


#: the class of the models
M = TypeVar("M", Classifier, Regressor)


class SupervisedEnd(ABC, Generic[M]):
    """Fine-tunes the models of a run, all of one kind, from its trained `stack`, and keeps them in the work folder.

    number: that of the last phase; models are numbered after it. saved: the checkpoint that the run resumes from. A subclass
    says what kind of model it is.
    """

    #: what the file of a model says of its training
    metadata: ClassVar[type[ModelMetadata]]

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
    def save(self, path: Path, model: M, training: Mapping[str, Any]) -> None:
        """Write a model and the metadata of its training to a file."""

    @abstractmethod
    def load(self, path: Path) -> tuple[M, dict[str, Any]]:
        """Return the model in a file and the metadata of its training; InputError if the file is damaged."""

    @abstractmethod
    def labels_of(self, split: Split) -> Tensor:
        """Return the labels of a split that the models learn."""

    @abstractmethod
    def tested(self, selected: Selected) -> tuple[M, dict[str, Any]]:
        """Test a model; return it and the fields of its metadata that only its kind has."""

    @property
    def kind(self) -> str:
        """The kind of the models."""
        return self.metadata.kind

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
                    self.save(model_path(work, self.kind, name), found[0], asdict(found[1]))
            if work:
                self.tracker.artifact(model_path(work, self.kind, name), f"{self.kind}s")
            models[name] = found[0].eval()
            metrics |= found[1].metrics()
        return models, metrics

    @cached_property
    def encoder(self) -> str:
        """The digest of the weights that fine-tuning begins from."""
        return checksum({name: tensor.cpu() for name, tensor in self.stack.encoder.state_dict().items()}, {})

    def trained(self, selected: Selected, name: str, rows: ClassifierRows) -> tuple[M, ModelMetadata]:
        """Test a model, and return it and the metadata of its training."""
        model, results = self.tested(selected)
        return model, self.metadata(
            run=self.spec.id,
            data=self.splits.digest,
            labels=name,
            valid_labels=len(rows.valid),
            lr=selected.lr,
            updates=selected.updates,
            gflop=self.gflop(selected, rows),
            encoder=self.encoder,
            **results,
        )

    def kept(self, name: str) -> tuple[M, ModelMetadata] | None:
        """Return the model of this encoder and label budget in the work folder, or None; a damaged one causes a warning."""
        path = model_path(self.checkpoints.folder, self.kind, name) if self.checkpoints.folder else None
        if path is None or not path.exists():
            return None
        try:
            model, training = self.load(path)
            metadata = from_dict(self.metadata, training)
        except InputError as error:
            warnings.warn(f"{error}: it is fine-tuned again", RuntimeWarning, stacklevel=2)
            return None
        wanted = self.spec.id, self.splits.digest, name, self.encoder
        if (metadata.run, metadata.data, metadata.labels, metadata.encoder) != wanted:
            return None
        return model.to(next(self.stack.parameters()).device), metadata

    def gflop(self, selected: Selected, rows: ClassifierRows) -> float:
        """Return the GFLOPs of fine-tuning at all learning rates."""
        config, shape = self.spec.classification, self.splits.input_shape
        _, cost = classifier_cost(self.spec.stack, config, shape, len(rows.train), self.splits.outputs)
        flop = selected.updates_made * cost.flops_per_update + selected.recalibrations * cost.flops_per_recalibration
        return (flop + cost.flops_once * len(config.lrs)) / 1e9

    def select(self, index: int, name: str, rows: ClassifierRows) -> Selected:
        """Fine-tune model number `index`, from 0, or resume it; its checks are logged in a child run."""
        train, valid = self.splits.train, self.splits.valid
        fine_tuning = FineTuning(
            self.stack,
            (StoredInputs(train.inputs, rows=rows.train), self.labels_of(train)[rows.train]),
            (StoredInputs(valid.inputs, rows=rows.valid), self.labels_of(valid)[rows.valid]),
            self.splits.classes,
            self.spec.classification,
            self.spec.seed,
        )
        saved, phases = self.saved, self.number + index
        if saved and saved.is_classifier and saved.phases == phases:
            restore_fine_tuning(saved, fine_tuning)
        parameters = fine_tuning_parameters(fine_tuning, name)
        with self.tracker.phase(phases + 1, f"{self.kind}, {name} labels", parameters) as child:

            def after_update() -> None:
                position = fine_tuning.rate * fine_tuning.updates + fine_tuning.update
                if self.checkpoints.due(position):
                    tensors, plain = fine_tuning.state()
                    tensors = {f"classifier/{key}": value for key, value in tensors.items()}
                    state = asdict(self.state) | {"classifier": plain}
                    self.checkpoints.save_inside_phase(phases, position, self.stack.state_dict() | tensors, state)

            def after_check(score: float) -> None:
                log_check(child, fine_tuning, score)

            return fine_tuning.train(after_update, after_check)


def fine_tuning_parameters(fine_tuning: FineTuning, labels: str) -> Mapping[str, Any]:
    """Return the parameters of a model's child run."""
    config = fine_tuning.config
    return {
        "labels": labels,
        "encoder": config.encoder,
        "head": config.head,
        "target": "labels",
        "updates": fine_tuning.updates,
        "loss": "cross-entropy" if fine_tuning.kind == "classifier" else "squared error",
        "optimiser": config.optimiser,
    }


def log_check(child: RecordsPhase, fine_tuning: FineTuning, score: float) -> None:
    """Log the validation score at the current update, with a curve for each learning rate."""
    name = "classifier/accuracy" if fine_tuning.kind == "classifier" else "regressor/r2"
    lr = f"{fine_tuning.lr:g}".replace("+", "")  # which names of metrics in MLflow cannot have
    child.log({f"{name}/lr {lr}": score}, step=fine_tuning.update)
