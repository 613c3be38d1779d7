"""The supervised end of a run: a classifier for each label budget, kept in the work folder and resumed inside fine-tuning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stacked.cost.measuring_cost import classifier_cost
from stacked.data import Splits
from stacked.evaluation.classify import FineTuning, Selected
from stacked.evaluation.curves import State
from stacked.evaluation.final_metrics import tested_accuracy
from stacked.evaluation.label_rows import ClassifierRows, LabelRows
from stacked.model.classifier import Classifier, classifier_path, load_with_training, save_classifier
from stacked.model.stack import StackedAutoencoder
from stacked.model.tensor_file import checksum
from stacked.runs.checkpoint import Checkpoints, Saved
from stacked.runs.checkpoint_validation import restore_fine_tuning
from stacked.spec import RunSpec
from stacked.training.codes import Images
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


class SupervisedEnd:
    """Fine-tunes the classifiers of a run from its trained `stack`.

    number: that of the last phase; classifiers are numbered after it. saved: the checkpoint that the run resumes from.
    """

    def __init__(
        self,
        stack: StackedAutoencoder,
        spec: RunSpec,
        splits: Splits,
        labels: LabelRows,
        state: State,
        checkpoints: Checkpoints,
        saved: Saved | None,
        tracker: RecordsRun,
        number: int,
    ) -> None:
        self.stack, self.spec, self.splits, self.labels, self.state = stack, spec, splits, labels, state
        self.checkpoints, self.saved, self.tracker, self.number = checkpoints, saved, tracker, number

    def fine_tune(self) -> tuple[dict[str, Classifier], dict[str, float]]:
        """Return the classifier of each label budget by its name, "all" or a number, and the final metrics of all of them.

        Each one is tested once. A classifier in the work folder is not fine-tuned again.
        """
        classifiers, metrics, work = dict[str, Classifier](), dict[str, float](), self.checkpoints.folder
        for index, rows in enumerate(self.labels.classifiers):
            if len(rows.train) < len(self.labels.learned):
                continue  # fewer labels than the encoder was trained with would not be honest
            name = "all" if rows.budget is None else str(rows.budget)
            found = self.kept(name)
            if found is None:
                selected = self.select(index, name, rows)
                found = selected.classifier, self.trained(selected, name, rows)
                if work:
                    save_classifier(classifier_path(work, name), found[0], self.spec.stack, asdict(found[1]))
            if work:
                self.tracker.artifact(classifier_path(work, name), "classifiers")
            classifiers[name] = found[0].eval()
            metrics |= found[1].metrics()
        return classifiers, metrics

    @cached_property
    def encoder(self) -> str:
        """The digest of the weights that fine-tuning begins from."""
        return checksum({name: tensor.cpu() for name, tensor in self.stack.encoder.state_dict().items()}, {})

    def kept(self, name: str) -> tuple[Classifier, Trained] | None:
        """Return the classifier of this encoder and label budget in the work folder, or None; a damaged one causes a warning."""
        path = classifier_path(self.checkpoints.folder, name) if self.checkpoints.folder else None
        if path is None or not path.exists():
            return None
        try:
            classifier, training = load_with_training(path)
            trained = from_dict(Trained, training)
        except InputError as error:
            warnings.warn(f"{error}: it is fine-tuned again", RuntimeWarning, stacklevel=2)
            return None
        wanted = self.spec.id, self.splits.digest, name, self.encoder
        if (trained.run, trained.data, trained.labels, trained.encoder) != wanted:
            return None
        return classifier.to(next(self.stack.parameters()).device), trained

    def trained(self, selected: Selected, name: str, rows: ClassifierRows) -> Trained:
        """Test a classifier, and return what its file says of its training."""
        classes, shape = len(self.splits.classes), self.splits.image_shape
        _, cost = classifier_cost(self.spec.stack, self.spec.classification, shape, len(rows.train), classes)
        flop = selected.updates_made * cost.flops_per_update + selected.recalibrations * cost.flops_per_recalibration
        flop += cost.flops_once * len(self.spec.classification.lrs)
        return Trained(
            self.spec.id,
            self.splits.digest,
            name,
            tested_accuracy(selected.classifier, self.splits),
            selected.valid_score,
            len(rows.valid),
            selected.lr,
            selected.updates,
            flop / 1e9,
            self.encoder,
            self.spec.data.white_level,
        )

    def select(self, index: int, name: str, rows: ClassifierRows) -> Selected:
        """Fine-tune classifier number `index`, from 0, or resume it; its checks are logged in a child run."""
        train, valid = self.splits.train, self.splits.valid
        tuning = FineTuning(
            self.stack,
            (Images(train.images, rows=rows.train), train.labels[rows.train]),
            (Images(valid.images, rows=rows.valid), valid.labels[rows.valid]),
            self.splits.classes,
            self.spec.classification,
            self.spec.seed,
        )
        saved, phases = self.saved, self.number + index
        if saved and saved.is_classifier and saved.phases == phases:
            restore_fine_tuning(saved, tuning)
        parameters = fine_tuning_parameters(tuning, name)
        with self.tracker.phase(phases + 1, f"classifier, {name} labels", parameters) as child:

            def after_update() -> None:
                position = tuning.rate * tuning.updates + tuning.update
                if self.checkpoints.due(position):
                    tensors, plain = tuning.state()
                    tensors = {f"classifier/{key}": value for key, value in tensors.items()}
                    state = asdict(self.state) | {"classifier": plain}
                    self.checkpoints.save_inside_phase(phases, position, self.stack.state_dict() | tensors, state)

            def after_check(accuracy: float) -> None:
                log_check(child, tuning, accuracy)

            return tuning.train(after_update, after_check)


def fine_tuning_parameters(tuning: FineTuning, labels: str) -> Mapping[str, Any]:
    """Return the parameters of a classifier's child run."""
    config = tuning.config
    return {
        "labels": labels,
        "encoder": config.encoder,
        "head": config.head,
        "target": "labels",
        "updates": tuning.updates,
        "loss": "cross-entropy",
        "optimiser": config.optimiser,
    }


def log_check(child: RecordsPhase, tuning: FineTuning, accuracy: float) -> None:
    """Log the validation accuracy at the current update, with a curve for each learning rate."""
    lr = f"{tuning.lr:g}".replace("+", "")  # which names of metrics in MLflow cannot have
    child.log({f"classifier/accuracy/lr {lr}": accuracy}, step=tuning.update)
