"""Similarity of codes: linear centred kernel alignment (CKA)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stacked.evaluation.evaluate import codes
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.training.codes import StoredInputs
from stacked.util.checks import need


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
    return float(table([centred(one)], [centred(other)]))


@own_settings()
def similarities(one: StackedAutoencoder, other: StackedAutoencoder, images: Tensor | StoredInputs) -> Tensor:
    """Return the linear CKA of the codes of two stacks, float64 [depths of one, depths of other], from depth 0, the inputs, on.

    images: inputs [N, ...], as splits hold them; maps are flattened (Kornblith et al. 2019, section 6). With N examples and codes
    of D values it takes N D² or, for larger codes, N² D steps for each pair. Few examples of large codes are similar by chance:
    give some thousands. Raises InputError for stacks that read inputs of different shapes.
    """
    need(
        one.input_shape == other.input_shape,
        f"stacks that read inputs of shape {one.input_shape} and {other.input_shape} cannot be compared: give two of one shape",
    )
    first, second = ([centred(codes(stack, images, k)) for k in range(stack.depth + 1)] for stack in (one, other))
    return table(first, second)


def centred(features: Tensor) -> Tensor:
    """Return features [N, D] less their means, in float64."""
    features = features.double()
    return features - features.mean(0)


def table(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Return the linear CKA [len(first), len(second)] of each pair of centred features."""
    norms = [[math.sqrt(product(x, x)) for x in part] for part in (first, second)]
    found = [
        [product(x, y) / (a * b) if a * b else math.nan for y, b in zip(second, norms[1], strict=True)]
        for x, a in zip(first, norms[0], strict=True)
    ]
    return torch.tensor(found, dtype=torch.float64)


def product(x: Tensor, y: Tensor) -> float:
    """Return ||Y'X||² of features X [N, D] and Y [N, E], by products of examples where these are fewer than values."""
    if max(x.shape[1], y.shape[1]) <= len(x):
        return float((y.T @ x).square().sum())
    return float(((x @ x.T) * (y @ y.T)).sum())
