"""Linear CKA: its definition by kernels, what it does not depend on, and the table of two stacks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from stacked import InputError, StackSpec
from stacked.evaluation.diagnosis import linear_cka, similarities
from stacked.evaluation.diagnosis.similarity import Centred
from stacked.evaluation.evaluate import codes
from stacked.model.stack import build
from tests.helpers.phases import IMAGES, stack_of


def features(n: int, values: int, seed: int = 0) -> Tensor:
    """Correlated features with means, so that centring matters."""
    made = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, values, generator=made, dtype=torch.float64)
    return mixed @ torch.randn(values, values, generator=made, dtype=torch.float64) + 3


def by_kernels(x: Tensor, y: Tensor) -> float:
    """Kornblith et al. 2019, equations 3 and 4: HSIC(K, L) = tr(KHLH) / (n - 1)^2 of linear kernels."""
    n = len(x)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n

    def hsic(one: Tensor, other: Tensor) -> float:
        return float(torch.trace(one @ centre @ other @ centre)) / (n - 1) ** 2

    one, other = x @ x.T, y @ y.T
    return hsic(one, other) / math.sqrt(hsic(one, one) * hsic(other, other))


def orthogonal(values: int) -> Tensor:
    return torch.linalg.qr(
        torch.randn(values, values, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    )[0]


@pytest.mark.parametrize(("n", "d", "e"), [(40, 5, 7), (12, 30, 40), (20, 5, 60)], ids=["values", "examples", "mixed"])
def test_it_is_the_definition_by_kernels(n: int, d: int, e: int) -> None:
    x = features(n, d)
    y = torch.cat([features(n, e - 2, 1), x[:, :2]], dim=1)
    expected = by_kernels(x, y)
    assert 0.01 < expected < 0.99
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-10)
    assert linear_cka(y, x) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "d"), [(40, 5), (12, 30)])
def test_it_is_1_for_the_same_features_also_rotated_and_scaled(n: int, d: int) -> None:
    x, y = features(n, d), features(n, d + 1, 1)
    assert linear_cka(x, x) == pytest.approx(1, abs=1e-12)
    assert linear_cka(x, -0.3 * x @ orthogonal(d) + 7) == pytest.approx(1, abs=1e-12)
    assert linear_cka(2 * x @ orthogonal(d), y) == pytest.approx(linear_cka(x, y), rel=1e-10)
    stretched = x * torch.linspace(1, 50, d, dtype=torch.float64)
    assert linear_cka(x, stretched) < 0.99


def test_it_is_near_0_for_features_that_have_nothing_in_common() -> None:
    x, y = (torch.randn(4000, 4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert 0 <= linear_cka(x, y) < 0.005


def test_features_that_do_not_vary_have_none_and_others_are_refused() -> None:
    x = features(13, 3)
    for value in (1.0, 0.7):  # the mean of 13 times 0.7 is rounded
        assert math.isnan(linear_cka(x, torch.full((13, 2), value, dtype=torch.float64)))
    for other in (x[:5], x[0]):
        with pytest.raises(InputError, match="cannot be compared: give"):
            linear_cka(x, other)


def test_of_codes_with_more_values_than_examples_their_products_are_kept() -> None:
    """Also if there are more values than are read at a time."""
    x, y = features(20, 7), features(20, 3000, 1)
    assert [Centred.of(each).values.shape for each in (x, y)] == [(20, 7), (20, 20)]
    for one, other in ((x, y), (y, x), (y, y[:, :2000])):
        assert linear_cka(one, other) == pytest.approx(by_kernels(one, other), rel=1e-10)


def test_a_table_has_all_pairs_of_depths() -> None:
    one, other = stack_of(4, 6, kind="conv"), stack_of(7, 5, 4)
    state = copy.deepcopy(one.state_dict())
    images = IMAGES[:40]
    found = similarities(one, other, images)
    assert found.shape == (3, 4)
    for i in range(3):
        for j in range(4):
            expected = by_kernels(codes(one, images, i).double(), codes(other, images, j).double())
            assert found[i, j].item() == pytest.approx(expected, rel=1e-6)
    assert found[0, 0] == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(similarities(other, one, images), found.T, rtol=1e-10, atol=0)
    torch.testing.assert_close(similarities(one, one, images).diagonal(), torch.ones(3, dtype=torch.float64))
    assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_stacks_that_read_other_inputs_are_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(1, 12, 12\) and \(3,\) cannot be compared: give two of one shape"):
        similarities(stack_of(4), build(StackSpec.of("dense", 2), (3,)), IMAGES[:4])
