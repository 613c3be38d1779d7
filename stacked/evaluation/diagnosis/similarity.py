"""Similarity of codes: linear centred kernel alignment (CKA)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stacked.evaluation.evaluate import codes
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.training.codes import StoredInputs
from stacked.util.checks import need

#: the least number of values of a large code that are converted to float64 at a time
COLUMNS = 1024


def linear_cka(one: Tensor, other: Tensor) -> float:
    """Return the linear CKA, from 0 to 1, of features [N, D] and [N, E] of the same N examples, computed in float64.

    With X and Y the features less their means it is ||Y'X||² / (||X'X|| ||Y'Y||), in Frobenius norms (Kornblith et al. 2019,
    equation 4 with linear kernels). It does not change with an orthogonal map or an isotropic scaling of either. NaN if the
    features of all examples are equal. Raises InputError for different numbers of examples.
    """
    need(
        one.dim() == other.dim() == 2 and len(one) == len(other),
        f"features of shape {tuple(one.shape)} and {tuple(other.shape)} cannot be compared: give [N, D] and [N, E] of the same "
        "N examples",
    )
    return float(table([Centred.of(one)], [Centred.of(other)]))


@own_settings()
def similarities(one: StackedAutoencoder, other: StackedAutoencoder, images: Tensor | StoredInputs) -> Tensor:
    """Return the linear CKA of the codes of two stacks, float64 [depths of one, depths of other], from depth 0, the inputs, on.

    images: inputs [N, ...], as splits hold them; maps are flattened (Kornblith et al. 2019, section 6). Of each code of D values
    N min(N, D) floats are kept. Few examples of large codes are similar by chance: give some thousands. Raises InputError for
    stacks that read inputs of different shapes.
    """
    need(
        one.input_shape == other.input_shape,
        f"stacks that read inputs of shape {one.input_shape} and {other.input_shape} cannot be compared: give two of one shape",
    )

    def depths(stack: StackedAutoencoder) -> list[Centred]:
        return [Centred.of(codes(stack, images, k)) for k in range(stack.depth + 1)]

    first = depths(one)
    return table(first, first if other is one else depths(other))


@dataclass(frozen=True)
class Centred:
    """Features X less their means, in float64: as they are, [N, D], or of more values than examples the smaller X X' [N, N]."""

    values: Tensor
    is_product: bool

    @classmethod
    def of(cls, features: Tensor) -> Centred:
        """Return features [N, D] centred."""
        n = len(features)
        if features.shape[1] <= n:
            return cls(centred(features), False)
        total = torch.zeros(n, n, dtype=torch.float64, device=features.device)
        for columns in features.split(max(n, COLUMNS), dim=1):
            part = centred(columns)
            total.addmm_(part, part.T)
        return cls(total, True)

    @property
    def product(self) -> Tensor:
        """X X' [N, N]."""
        return self.values if self.is_product else self.values @ self.values.T


def centred(features: Tensor) -> Tensor:
    """Return features [N, D] less their means, in float64: 0 where they do not vary."""
    features = features.double()
    features = features - features[:1]  # exactly 0 if all are equal, whose mean can be rounded
    return features - features.mean(0)


def table(first: list[Centred], second: list[Centred]) -> Tensor:
    """Return the linear CKA [len(first), len(second)] of each pair of features."""
    norms = [[math.sqrt(product(x, x)) for x in part] for part in (first, second)]
    found = [
        [product(x, y) / (a * b) if a * b else math.nan for y, b in zip(second, norms[1], strict=True)]
        for x, a in zip(first, norms[0], strict=True)
    ]
    return torch.tensor(found, dtype=torch.float64)


def product(x: Centred, y: Centred) -> float:
    """Return ||Y'X||², by products of values, or of examples where one of them has more values than these."""
    if x.is_product or y.is_product:
        return float((x.product * y.product).sum())
    return float((y.values.T @ x.values).square().sum())
