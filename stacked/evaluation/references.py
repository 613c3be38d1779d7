"""Errors of reference methods, PCA and the mean image, by the same measurements as those of a stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked.data.scaling import Scaling
from stacked.evaluation.evaluate import Reconstruction, compared
from stacked.runtime.free_memory import free_bytes
from stacked.runtime.settings import own_settings
from stacked.training.codes import StoredInputs
from stacked.util.checks import need
from stacked.util.chunks import chunks


@dataclass(frozen=True)
class Components:
    """Principal components, orthonormal rows `components_` [k, D], and the mean `mean_` [D], named as in scikit-learn's PCA."""

    mean_: NDArray[np.float64]
    components_: NDArray[np.float64]

    def transform(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the codes [n, k] of rows [n, D]."""
        return rows @ self.components_.T - self.mean_ @ self.components_.T

    def inverse_transform(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Return the rows [n, D] of codes [n, k]."""
        return codes @ self.components_ + self.mean_

    def restored(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the reconstruction of rows [n, D] from their codes."""
        return self.inverse_transform(self.transform(rows))


@own_settings()
def fitted_pca(train: Tensor, components: int) -> Components:
    """Fit the first principal components of inputs [N, ...], as splits hold them: bytes are scaled to [0, 1].

    Sums of bytes and of their products are exact in float64 in any order, so that the result does not depend on chunks. Raises
    InputError if there are more components than examples or values.
    """
    n, values = len(train), train[:1].numel()
    need(
        n > 1 and 0 < components <= min(n, values),
        f"{components} principal components cannot be computed from {n:,} examples of {values:,} values: use fewer",
    )
    total = torch.zeros(values, dtype=torch.float64)
    products = torch.zeros(values, values, dtype=torch.float64)
    for index in chunks(n, values):
        part = train[index].flatten(1).double()
        total += part.sum(0)
        products.addmm_(part.T, part)
    white = 255.0 if train.dtype == torch.uint8 else 1.0
    covariance = (products * n).sub_(torch.outer(total, total)).div_(n * (n - 1) * white**2)
    axes = np.linalg.eigh(covariance.numpy())[1].T[::-1][:components]
    # the sign of a component is that for which its largest value is positive, as in scikit-learn
    signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1))
    return Components((total / (white * n)).numpy(), np.ascontiguousarray(axes * signs))


@own_settings()
def as_rows(images: Tensor, dtype: torch.dtype = torch.float64) -> NDArray[Any]:
    """Return inputs [N, ...], as splits hold them, as float rows [N, D] (bytes in [0, 1]), for methods that need all at once.

    Raises InputError if they do not fit in memory.
    """
    rows, free = torch.empty(0, dtype=dtype), free_bytes(torch.device("cpu"))
    size = rows.element_size() * images.numel()
    need(
        size <= 0.8 * free,
        f"{len(images):,} examples of {images[:1].numel():,} values need {size / 2**30:,.1f} GiB as rows of numbers, and "
        f"{free / 2**30:,.1f} are free: use smaller or fewer examples, or another method",
    )
    rows = rows.new_empty(len(images), images[:1].numel())
    for index in chunks(*rows.shape):
        rows[index] = StoredInputs(images, dtype)(index).flatten(1)
    return rows.numpy()


@own_settings()
def pca_reference(train: Tensor, test: Tensor, components: int, scaling: Scaling | None = None) -> Reconstruction:
    """Return the errors on test inputs of PCA fitted to training inputs, both [N, ...] as splits with this scaling hold them."""
    return row_errors(test, fitted_pca(train, components).restored, scaling)


def row_errors(
    inputs: Tensor, restore: Callable[[NDArray[Any]], NDArray[Any]], scaling: Scaling | None = None
) -> Reconstruction:
    """Return the errors of `restore`, a function of float64 rows [n, D], on inputs [N, ...], as splits hold them."""
    return compared(
        StoredInputs(inputs, torch.float64),
        lambda x: torch.from_numpy(restore(x.flatten(1).numpy())).view_as(x),
        scaling=scaling,
    )


@own_settings()
def mean_reference(train: Tensor, test: Tensor, scaling: Scaling | None = None) -> Reconstruction:
    """Return the errors on test inputs of the mean training example, both [N, ...] as splits with this scaling hold them."""
    total = torch.zeros(train.shape[1:], dtype=torch.float64)
    for index in chunks(len(train), total.numel()):
        total += train[index].sum(0, dtype=torch.float64)  # sums of bytes are exact
    mean = total / ((255 if train.dtype == torch.uint8 else 1) * len(train))
    return compared(StoredInputs(test, torch.float64), lambda x: mean, scaling=scaling)
