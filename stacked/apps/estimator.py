"""A stacked autoencoder as a scikit-learn transformer."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from stacked.runtime.environment import device_of
from stacked.runtime.settings import own_settings
from stacked.spec import Budget, Optimisation, RunSpec
from stacked.spec.architecture import StackSpec
from stacked.stages.stage import Shape
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from stacked.util.checks import need
from stacked.util.chunks import chunks
from stacked.util.serialization import python_value

#: the most rows that are encoded or decoded at a time
ROWS = 1000
FLOATS = (np.float64, np.float32)


@dataclass(eq=False, repr=False)
class AutoencoderEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The parameters that all estimators of this package have, pretraining with them, and codes of rows as features.

    A dataclass, so that a subclass adds parameters without repeating these.
    """

    widths: Sequence[int] = (64, 16)
    _: KW_ONLY
    kind: str = "dense"
    image_shape: tuple[int, int, int] | None = None
    activation: str = "relu"
    bottleneck: str = "linear"
    output: str = "linear"
    policy: str = "greedy+finetune"
    epochs: float = 10
    end_epochs: float | None = None
    lr: float = 1e-3
    batch_size: int = 64
    loss: str = "mse"
    corruption: str = "masking"
    corruption_level: float = 0.0
    device: str = "cpu"
    random_state: int | np.random.RandomState | None = None

    def spec(self, seed: int = 0) -> RunSpec:
        """Return the run spec of these parameters; InputError if they are invalid."""
        widths = python_value(self.widths)
        widths = (widths,) if isinstance(widths, int) else widths
        need(
            isinstance(widths, (list, tuple)),
            f"widths {widths!r} is not allowed: give the width of each stage, in a list",
        )
        deepest = len(widths) - 1
        stages = tuple(
            part
            for k, width in enumerate(widths)
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

    def drawn_spec(self) -> RunSpec:
        """Return the run spec with a seed that is drawn by `random_state`."""
        return self.spec(int(check_random_state(self.random_state).randint(2**31 - 1)))

    def shape_of(self, rows: NDArray[Any]) -> Shape:
        """Return the shape in which the stages read each of rows [n, features]; InputError if `image_shape` does not fit."""
        given = python_value(self.image_shape)
        need(
            given is None or isinstance(given, (list, tuple)),
            f"image_shape {given!r} is not allowed: give (C, H, W), or None for rows that are vectors",
        )
        shape = (rows.shape[1],) if given is None else tuple(given)
        need(
            all(isinstance(side, int) and side > 0 for side in shape) and math.prod(shape) == rows.shape[1],
            f"image_shape {shape} does not fit rows of {rows.shape[1]} features: give one with that product",
        )
        return shape

    def pretrain(self, rows: NDArray[Any]) -> Tensor:
        """Train `stack_` on rows [n, features] by `spec_`; return them as floats [n, ...], on the device as the stack is."""
        shape = self.shape_of(rows)
        values = torch.from_numpy(np.array(rows, dtype=np.float32, order="C")).view(-1, *shape)
        values = values.to(device_of(self.device))
        self.stack_ = pretrain(self.spec_, StoredInputs(values), shape, device=self.device)
        self._n_features_out = math.prod(self.stack_.latent_shape)
        return values

    @own_settings()
    def transform(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the codes [n, values] of rows [n, features]."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=FLOATS, reset=False)
        return self.through(self.encoder, "forward", rows)

    @property
    def encoder(self) -> nn.Module:
        """What encodes rows, on the CPU."""
        return self.stack_.encoder

    def through(self, module: nn.Module, method: str, rows: NDArray[Any]) -> NDArray[Any]:
        """Apply a method of a module of this stack to rows [n, values]; the result has the dtype of the rows."""
        shape = self.stack_.latent_shape if method == "decode" else self.stack_.input_shape
        return through(module, method, rows, shape, self.stack_.widest(self.stack_.input_shape))


class StackedAutoencoderTransformer(AutoencoderEstimator):
    """The bottleneck code of a stacked autoencoder as features: rows [n, features] to codes [n, values], and back.

    Rows are not scaled: scale them first, in a pipeline, and choose an `output` activation that covers their range ("linear":
    any; "sigmoid": 0 to 1). Codes have the dtype of the rows.

    widths: units or channels of the stages; the last is the bottleneck. kind: kind of the stages, as in a spec. image_shape:
    (C, H, W) of the image in a row, for convolutional stages (None: rows are vectors). activation, bottleneck: activations of
    the codes, and of the deepest one. output: activation of the reconstruction. policy: a growth policy that needs no labels.
    epochs: epochs of each phase of growth. end_epochs: epochs of end-to-end training (None: the same). lr: peak learning rate of
    Adam. batch_size: rows in an update. loss: reconstruction loss, as in a spec. corruption, corruption_level: corruption of the
    stages' inputs. device: device to train on, such as "cpu" or "cuda". random_state: determines initial weights, order and
    corruption (None: drawn).

    Attributes after `fit`: `stack_`, the trained StackedAutoencoder, and `spec_`, its RunSpec.
    """

    @own_settings()
    def fit(self, X: ArrayLike, y: Any = None) -> StackedAutoencoderTransformer:  # noqa: N803
        """Train on rows [n, features]; y is ignored."""
        rows = validate_data(self, X, dtype=FLOATS)
        self.spec_ = self.drawn_spec()
        self.pretrain(rows)
        self.stack_.cpu()
        return self

    @own_settings()
    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the reconstructed rows [n, features] of codes [n, values]; InputError for codes of another size."""
        check_is_fitted(self)
        codes = check_array(X, dtype=FLOATS)
        need(
            codes.shape[1] == self._n_features_out,
            f"codes of {codes.shape[1]} values do not fit this encoder: give {self._n_features_out} per row",
        )
        return self.through(self.stack_, "decode", codes)

    @own_settings()
    def score(self, X: ArrayLike, y: Any = None) -> float:  # noqa: N803
        """Return minus the mean squared error of the reconstruction, in squared units of a feature: greater is better."""
        check_is_fitted(self)
        rows, squared = validate_data(self, X, dtype=FLOATS, reset=False), 0.0
        for index in chunks(len(rows), 2 * rows[:1].size, ROWS):
            part = rows[index.numpy()].astype(np.float64)  # part by part, so that there is no copy of all rows
            codes = self.through(self.stack_, "encode", part)
            squared += float(np.square(self.through(self.stack_, "decode", codes) - part).sum())
        return -squared / rows.size


@torch.no_grad()
def through(module: nn.Module, method: str, rows: NDArray[Any], shape: Shape, widest: int) -> NDArray[Any]:
    """Apply a method of a module, such as "encode", to rows [n, values], each of `shape`; the result has the rows' dtype.

    widest: the most values of an intermediate result of a row.
    """
    # in the precision of the rows, so that a row's result hardly depends on the other rows of its batch
    apply = getattr(module if rows.dtype == np.float32 else copy.deepcopy(module).double(), method)
    found = None
    for index in chunks(len(rows), 2 * widest, ROWS):
        part = apply(torch.tensor(rows[index.numpy()]).view(-1, *shape)).flatten(1).numpy()
        found = np.empty((len(rows), part.shape[1]), rows.dtype) if found is None else found
        found[index.numpy()] = part
    assert found is not None  # there is at least one row
    return found
