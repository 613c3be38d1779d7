"""A stacked autoencoder as a scikit-learn transformer."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.spec import Budget, Optimisation, RunSpec
from stacked.spec.architecture import StackSpec
from stacked.training.pretrain import FloatInputs, pretrain
from stacked.util.checks import need
from stacked.util.chunks import chunks
from stacked.util.serialization import python_value

#: the most rows that are encoded or decoded at a time
ROWS = 1000
FLOATS = (np.float64, np.float32)


class StackedAutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The bottleneck code of a stacked autoencoder as features: rows [n, features] to codes [n, values], and back.

    Rows are not scaled: scale them first, in a pipeline, and choose an `output` activation that covers their range ("linear":
    any; "sigmoid": 0 to 1). Codes have the dtype of the rows.

    widths: units or channels of the stages; the last is the bottleneck. kind: kind of the stages, as in a spec. image_shape:
    (C, H, W) of the image in a row, for convolutional stages (None: rows are vectors). activation, bottleneck: activations of
    the codes, and of the deepest one. output: activation of the reconstruction. policy: a growth policy that needs no labels.
    epochs: epochs of each phase of growth. end_epochs: epochs of end-to-end training (None: the same). corruption,
    corruption_level: corruption of the stages' inputs. random_state: determines initial weights, order and corruption (None:
    drawn).

    Attributes after `fit`: `stack_`, the trained StackedAutoencoder, and `spec_`, its RunSpec.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 16),
        *,
        kind: str = "dense",
        image_shape: tuple[int, int, int] | None = None,
        activation: str = "relu",
        bottleneck: str = "linear",
        output: str = "linear",
        policy: str = "greedy+finetune",
        epochs: float = 10,
        end_epochs: float | None = None,
        lr: float = 1e-3,
        batch_size: int = 64,
        loss: str = "mse",
        corruption: str = "masking",
        corruption_level: float = 0.0,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.widths = widths
        self.kind = kind
        self.image_shape = image_shape
        self.activation = activation
        self.bottleneck = bottleneck
        self.output = output
        self.policy = policy
        self.epochs = epochs
        self.end_epochs = end_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.loss = loss
        self.corruption = corruption
        self.corruption_level = corruption_level
        self.device = device
        self.random_state = random_state

    def spec(self, seed: int = 0) -> RunSpec:
        """Return the run spec of these parameters; InputError if they are invalid."""
        deepest = len(self.widths) - 1
        stages = tuple(
            part
            for k, width in enumerate(self.widths)
            for part in StackSpec.of(
                self.kind, width, activation=self.bottleneck if k == deepest else self.activation
            ).stages
        )
        end = self.epochs if self.end_epochs is None else self.end_epochs
        return RunSpec(
            policy=self.policy,
            seed=seed,
            stack=StackSpec(stages, output=self.output),
            budget=Budget((self.epochs,), end, "epochs"),
            optimisation=Optimisation(
                lr=self.lr,
                batch_size=self.batch_size,
                loss=(self.loss,),
                corruption=self.corruption,
                corruption_level=(self.corruption_level,),
            ),
        )

    @own_settings()
    def fit(self, X: ArrayLike, y: Any = None) -> StackedAutoencoderTransformer:  # noqa: N803
        """Train on rows [n, features]; y is ignored."""
        rows = validate_data(self, X, dtype=FLOATS)
        shape = (rows.shape[1],) if self.image_shape is None else python_value(tuple(self.image_shape))
        need(
            math.prod(shape) == rows.shape[1],
            f"image_shape {shape} does not fit rows of {rows.shape[1]} features: give one with that product",
        )
        self.spec_ = self.spec(int(check_random_state(self.random_state).randint(2**31 - 1)))
        values = torch.from_numpy(np.array(rows, dtype=np.float32, order="C")).view(-1, *shape)
        self.stack_ = pretrain(self.spec_, FloatInputs(values), shape, device=self.device).cpu()
        self._n_features_out = math.prod(self.stack_.latent_shape)
        return self

    @own_settings()
    def transform(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the codes [n, values] of rows [n, features]."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=FLOATS, reset=False)
        return through(self.stack_, "encode", rows, self.stack_.input_shape)

    @own_settings()
    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the reconstructed rows [n, features] of codes [n, values]; InputError for codes of another size."""
        check_is_fitted(self)
        codes = check_array(X, dtype=FLOATS)
        need(
            codes.shape[1] == self._n_features_out,
            f"codes of {codes.shape[1]} values do not fit this encoder: give {self._n_features_out} per row",
        )
        return through(self.stack_, "decode", codes, self.stack_.latent_shape)

    @own_settings()
    def score(self, X: ArrayLike, y: Any = None) -> float:  # noqa: N803
        """Return minus the mean squared error of the reconstruction, in squared units of a feature: greater is better."""
        check_is_fitted(self)
        rows, squared = validate_data(self, X, dtype=FLOATS, reset=False), 0.0
        for index in chunks(len(rows), 2 * rows[:1].size, ROWS):
            part = rows[index.numpy()].astype(np.float64)  # part by part, so that there is no copy of all rows
            codes = through(self.stack_, "encode", part, self.stack_.input_shape)
            squared += float(np.square(self.inverse_transform(codes) - part).sum())
        return -squared / rows.size


@torch.no_grad()
def through(stack: StackedAutoencoder, way: str, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Apply `encode` or `decode` of `stack` to rows [n, values], each of `shape`; the result has the dtype of the rows."""
    # in the precision of the rows, so that a row's result hardly depends on the other rows of its batch
    stack = stack if rows.dtype == np.float32 else copy.deepcopy(stack).double()
    found = np.empty((len(rows), math.prod(stack.latent_shape if way == "encode" else stack.input_shape)), rows.dtype)
    for index in chunks(len(rows), 2 * stack.widest(stack.input_shape), ROWS):
        part = torch.tensor(rows[index.numpy()]).view(-1, *shape)
        found[index.numpy()] = getattr(stack, way)(part).flatten(1).numpy()
    return found
