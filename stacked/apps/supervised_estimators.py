"""Stacked autoencoders as scikit-learn's classifiers and regressors: pretrained on all rows, fine-tuned on the labelled ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from stacked.apps.estimator import FLOATS, AutoencoderEstimator
from stacked.evaluation.fine_tuning import fine_tuned
from stacked.evaluation.scores import Labelled
from stacked.model.batch_norm import check_batch
from stacked.model.regressor import Regressor
from stacked.model.stack import empty_stack
from stacked.runtime.settings import own_settings
from stacked.spec import Classification, RunSpec
from stacked.training.codes import StoredInputs
from stacked.util.checks import finite, need, positive

#: Fine-tuning by default: as many epochs or updates, whichever is more, so that few labels are learnt too.
EPOCHS, UPDATES = 20, 500


@dataclass(eq=False, repr=False)
class SupervisedEstimator(AutoencoderEstimator):
    """The parameters of fine-tuning, and fine-tuning with them."""

    _: KW_ONLY
    fine_tune_epochs: float | None = None
    fine_tune_lr: float = 1e-3
    head: str = "linear"
    head_width: int = 256
    dropout: float = 0.0
    freeze: bool = False
    validation_fraction: float | None = None
    patience: int = 10

    def spec(self, seed: int = 0) -> RunSpec:
        """Return the run spec of these parameters, with the recipe of fine-tuning; InputError if they are invalid."""
        epochs = EPOCHS if self.fine_tune_epochs is None else self.fine_tune_epochs
        positive(epochs, "fine_tune_epochs")
        need(isinstance(self.freeze, (bool, np.bool_)), f"freeze {self.freeze!r} is not allowed: give True or False")
        least = max(1, round(epochs))  # updates, of which an epoch has one or more
        recipe = Classification(
            labels=(None,),
            lrs=(self.fine_tune_lr,),
            updates=UPDATES if self.fine_tune_epochs is None else least,
            epochs=epochs,
            batch_size=self.batch_size,
            checks=1 if self.validation_fraction is None else least,
            schedule="cosine" if self.validation_fraction is None else "constant",
            patience=self.patience,
            encoder="frozen" if self.freeze else "learning",
            head=self.head,
            head_width=self.head_width,
            dropout=self.dropout,
        )
        return replace(super().spec(seed), classification=recipe)

    def fine_tune(
        self,
        rows: NDArray[Any],
        labels: NDArray[Any],
        known: NDArray[np.bool_],
        sample_weight: ArrayLike | None,
        classes: tuple[str, ...] = (),
    ) -> None:
        """Pretrain on rows [n, features], and set `model_` to the one fine-tuned on those with known labels.

        labels: numbers of classes, int64 [n], or floats [n, K]. known: whether a row has a label. classes: names of the classes.
        """
        weights = weights_of(sample_weight, len(rows))
        need(
            bool(known.any()), "y has no labelled row: give at least one beside those of -1 (classes) or NaN (numbers)"
        )
        used = np.flatnonzero(known & (weights > 0))
        need(len(used) > 0, "sample_weight is zero in all labelled rows: give at least one of them a weight above 0")
        need(
            not classes or len(np.unique(labels[used])) > 1,
            f"y has one class, {classes[labels[used[0]]] if classes else ''}, in the labelled rows with a weight above 0, and "
            "two are needed: add rows of another class (numbers of -1 mark rows without a label)",
        )
        self.spec_ = self.drawn_spec()
        train, valid = self.split(used, labels if classes else None)
        if not self.freeze:
            check_batch(
                empty_stack(self.spec_.stack, self.shape_of(rows)),
                self.batch_size,
                len(train),
                "labelled rows",
                "that is",
            )
        values = self.pretrain(rows)
        uniform = (weights[used] == weights[used[0]]).all()

        def of(index: NDArray[np.int64]) -> Labelled:
            return (
                StoredInputs(
                    values if len(index) == len(values) else values[torch.from_numpy(index).to(values.device)]
                ),
                torch.from_numpy(labels[index]),
                None if uniform else torch.from_numpy(weights[index]),
            )

        selected = fine_tuned(
            self.stack_,
            of(train),
            None if valid is None else of(valid),
            classes,
            self.spec_.classification,
            self.spec_.seed,
        )
        self.model_ = selected.model.cpu()
        self.stack_.cpu()
        self.validation_score_ = None if valid is None else selected.valid_score

    def split(
        self, used: NDArray[np.int64], labels: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Return the rows to fine-tune on, ascending, and those to select on (None: there are none).

        used: the labelled rows. labels: numbers of classes, int64 [n] (None: numbers are predicted).
        """
        share = self.validation_fraction
        if share is None:
            return used, None
        need(
            finite(share) and 0 < share < 1,
            f"validation_fraction {share!r} is not allowed: give a number between 0 and 1, exclusive, or None",
        )
        held, least = round(share * len(used)), 2 if labels is None else len(np.unique(labels[used]))
        fewest = 2 if labels is None else np.unique(labels[used], return_counts=True)[1].min()
        need(
            fewest > 1 and least <= held <= len(used) - least,
            f"validation_fraction {share!r} does not split {len(used)} labelled rows, of which either part needs one of each "
            "class, or two numbers: give more rows, or validation_fraction None",
        )
        train, valid = train_test_split(
            used, test_size=held, random_state=self.spec_.seed, stratify=None if labels is None else labels[used]
        )
        return np.sort(train), np.sort(valid)

    @property
    def encoder(self) -> nn.Module:
        """The fine-tuned encoder."""
        return self.model_.encoder

    @own_settings()
    def outputs(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the outputs [n, K] of the head for rows [n, features]; InputError if they are not finite."""
        check_is_fitted(self)
        found = self.through(self.model_, "forward", validate_data(self, X, dtype=FLOATS, reset=False))
        need(bool(np.isfinite(found).all()), "the outputs for X are not finite: scale X as for the fit")
        return found


@dataclass(eq=False, repr=False)
class StackedAutoencoderClassifier(ClassifierMixin, SupervisedEstimator):  # type: ignore[misc]
    """A classifier: a stacked autoencoder that is pretrained on all rows, and a head, fine-tuned with it on the labelled ones.

    If y holds numbers, -1 marks rows without a label, as in scikit-learn's semi-supervised estimators: they are used for
    pretraining only. Classes can be called "-1" as texts. sample_weight weights the supervised loss, which in
    each batch is sum(weight * loss) / sum(weight); a row of weight 0 is used as one without a label. Pretraining takes all rows
    alike. There is no `partial_fit`: each stage is trained on all rows before the next one is added.

    The parameters of pretraining are those of `StackedAutoencoderTransformer`; rows are not scaled here either. The loss of
    fine-tuning is the cross-entropy. fine_tune_epochs: epochs of it over the labelled rows (None: 20, but 500 updates or more).
    fine_tune_lr: its learning rate, which decreases to 0 along half a cosine unless rows are held out. head: "linear", or "mlp",
    a layer of `head_width` rectified units before the linear one. dropout: fraction of the code that is set to 0 while
    fine-tuning. freeze: train the head only. validation_fraction: fraction of the labelled rows, stratified, that is held out
    to choose the state of the highest accuracy among as many checks as epochs (None: none are, and the last state is used).
    patience: checks without a higher one after which fine-tuning ends.

    Attributes after `fit`: `classes_`; `model_`, the fine-tuned Classifier; `stack_`, the StackedAutoencoder as it was
    pretrained; `spec_`, its RunSpec; `validation_score_`, the accuracy on the rows held out (None: there are none). `transform`
    gives the codes of the fine-tuned encoder.
    """

    # a classifier gains from a wider code and a larger learning rate than a regressor (digits, breast cancer and diabetes)
    widths: Sequence[int] = (128, 64)
    _: KW_ONLY
    fine_tune_lr: float = 2e-3

    @own_settings()
    def fit(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> StackedAutoencoderClassifier:
        """Train on rows [n, features] and their classes [n], -1 for none; sample_weight, 0 or more, a number or [n] (None: 1).

        Raises InputError unless rows of two classes have a weight above 0.
        """
        rows, given = validate_data(self, X, y, dtype=FLOATS)
        check_classification_targets(given)
        known = given != -1 if given.dtype.kind in "if" else np.ones(len(given), dtype=bool)
        self.classes_, codes = np.unique(given[known], return_inverse=True)
        labels = np.full(len(given), -1)
        labels[known] = codes
        self.fine_tune(rows, labels, known, sample_weight, tuple(map(str, self.classes_)))
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the logits [n, classes] of rows [n, features]; of two classes, those of the second minus the first, [n]."""
        logits = self.outputs(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    @own_settings()
    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the probability of each of `classes_` [n, classes] for rows [n, features]."""
        return torch.from_numpy(self.outputs(X)).softmax(1).numpy()

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the most probable class [n] of rows [n, features]."""
        best = self.outputs(X).argmax(1)
        return self.classes_[best]


@dataclass(eq=False, repr=False)
class StackedAutoencoderRegressor(RegressorMixin, SupervisedEstimator):  # type: ignore[misc]
    """A regressor: a stacked autoencoder that is pretrained on all rows, and a head, fine-tuned with it on the labelled ones.

    NaN in y marks rows without a label, which are used for pretraining only. y can have several columns, which one head
    predicts. Each is standardised by the (weighted) mean and standard deviation of the rows fine-tuned on, and predictions are
    converted back. The loss of fine-tuning is the squared error of the standardised y, and rows are held out for R², at random.

    All else, parameters, sample_weight and attributes, is as in `StackedAutoencoderClassifier`; `model_` is a Regressor.
    """

    @own_settings()
    def fit(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> StackedAutoencoderRegressor:
        """Train on rows [n, features] and their y, [n] or [n, K], NaN for none; sample_weight, 0 or more, as of the classifier.

        Raises InputError unless a row with a label has a weight above 0, and for rows of which only a part is NaN.
        """
        if y is None:
            validate_data(self, X, y)  # which refuses it
        given = check_array(y, dtype=np.float64, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
        rows = validate_data(self, X, dtype=FLOATS)
        check_consistent_length(rows, given)
        targets = given.reshape(len(rows), -1)
        missing = np.isnan(targets)
        partly = np.flatnonzero(missing.any(1) & ~missing.all(1))
        need(
            len(partly) == 0,
            f"y has NaN in some but not all of its {targets.shape[1]} columns in {len(partly)} rows (first: {partly[:1].sum()}): "
            "give all numbers of a row, or NaN for all",
        )
        self._shape = given.shape[1:]
        self.fine_tune(rows, targets, ~missing.any(1), sample_weight)
        return self

    @own_settings()
    def predict(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Return the predictions, [n] or [n, K] as y was, of rows [n, features]."""
        outputs = torch.from_numpy(self.outputs(X))
        assert isinstance(self.model_, Regressor)
        return self.model_.in_units(outputs).numpy().reshape(-1, *self._shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def weights_of(sample_weight: ArrayLike | None, n: int) -> NDArray[np.float64]:
    """Return the weights [n] of n rows (one number: of all); InputError for another shape, and below 0."""
    if sample_weight is None or isinstance(sample_weight, Real):
        sample_weight = np.full(n, 1.0 if sample_weight is None else float(sample_weight))
    weights = check_array(sample_weight, dtype=np.float64, ensure_2d=False, input_name="sample_weight")
    need(
        weights.shape == (n,),
        f"sample_weight of shape {list(weights.shape)} does not fit {n} rows: give one number a row",
    )
    need(bool((weights >= 0).all()), f"sample_weight {weights.min():g} is not allowed: give 0 or more")
    return weights
