"""Winner-take-all: who wins, how many, and that losers learn nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stacked.components.winner_take_all import WINNER_TAKE_ALL, kept, lifetime, spatial, spatial_lifetime
from stacked.util.errors import InputError


def test_lifetime_of_units_by_hand() -> None:
    code = torch.tensor([[1.0, 0.0], [3.0, -5.0], [2.0, -1.0], [0.0, -2.0]])
    assert lifetime(code, 0.5).tolist() == [[0, 0], [3, 0], [2, -1], [0, 0]]
    assert lifetime(code, 0.25).tolist() == [[0, 0], [3, 0], [0, 0], [0, 0]]
    assert torch.equal(lifetime(code, 1.0), code)


MAPS = torch.tensor([[[[1.0, 5.0], [0.0, 2.0]]], [[[-1.0, -3.0], [-2.0, -1.0]]], [[[4.0, 3.0], [4.0, 0.0]]]])


def test_winners_of_maps_by_hand() -> None:
    """Three examples of one map; the second is negative all over, the third has its largest value twice."""
    none = [[0, 0], [0, 0]]
    assert spatial(MAPS, 0.5)[:, 0].tolist() == [[[0, 5], [0, 0]], [[-1, 0], [0, 0]], [[4, 0], [0, 0]]]
    assert lifetime(MAPS, 0.5)[:, 0].tolist() == [[[1, 5], [0, 2]], none, [[4, 3], [4, 0]]]
    assert spatial_lifetime(MAPS, 0.5)[:, 0].tolist() == [[[0, 5], [0, 0]], none, [[4, 0], [0, 0]]]
    assert spatial_lifetime(MAPS, 0.1)[:, 0].tolist() == [[[0, 5], [0, 0]], none, none]
    # a map below zero competes by its largest value, not by the zeros beside it
    below = torch.stack([MAPS[1] - 1, MAPS[1]])
    assert spatial_lifetime(below, 0.5)[:, 0].tolist() == [none, [[-1, 0], [0, 0]]]


@pytest.mark.parametrize("sides", [(9,), (3, 3), (2, 3, 4)])
def test_maps_of_every_rank_have_one_winner(sides: tuple[int, ...]) -> None:
    code = torch.randn(5, 4, *sides)
    found = spatial(code, 0.5)
    assert (found.flatten(2).count_nonzero(2) == 1).all()
    assert torch.equal(found.flatten(2).sum(2), code.flatten(2).amax(2))


@pytest.mark.parametrize(("rate", "batch", "count"), [(0.05, 100, 5), (0.07, 100, 7), (0.05, 101, 6), (0.05, 8, 1)])
def test_the_share_is_rounded_up_and_not_by_a_rounding_error(rate: float, batch: int, count: int) -> None:
    assert kept(rate, batch) == count


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0])
def test_exactly_so_many_win(rate: float, ties: bool) -> None:
    """Also among equal values, of which a rectifier gives many."""
    random = torch.Generator().manual_seed(0)
    vectors, maps = torch.randn(30, 7, generator=random), torch.randn(30, 5, 3, 4, generator=random)
    if ties:
        vectors, maps = vectors.round() + 9, maps.round() + 9  # none is 0, so that winners can be counted
    count = math.ceil(rate * 30)
    assert ((lifetime(vectors, rate) != 0).sum(0) == count).all()
    assert ((lifetime(maps, rate) != 0).flatten(2).all(2).sum(0) == count).all()
    assert ((lifetime(maps, rate) != 0).flatten(2).any(2).sum(0) == count).all()
    assert ((spatial(maps, rate) != 0).flatten(2).sum(2) == 1).all()
    assert ((spatial_lifetime(maps, rate) != 0).sum((0, 2, 3)) == count).all()


def test_of_equal_values_the_first_wins() -> None:
    assert lifetime(torch.tensor([[1.0], [2.0], [1.0], [1.0]]), 0.75).tolist() == [[1], [2], [1], [0]]
    assert spatial(torch.ones(1, 1, 2, 2), 1).tolist() == [[[[1, 0], [0, 0]]]]


@pytest.mark.parametrize("name", WINNER_TAKE_ALL)
def test_the_gradient_flows_through_winners_alone(name: str) -> None:
    code = torch.randn(10, 3, 4, 5, requires_grad=True)
    before = code.detach().clone()
    won = WINNER_TAKE_ALL[name].of(code, 0.3)
    (won * 2).sum().backward()
    assert code.grad is not None
    assert torch.equal(code.grad, 2.0 * (won != 0))
    assert torch.equal(won.detach(), torch.where(won != 0, before, 0))
    assert torch.equal(code.detach(), before)


@pytest.mark.parametrize("name", WINNER_TAKE_ALL)
def test_divergence_is_not_hidden(name: str) -> None:
    code = torch.randn(10, 3, 4, 5)
    code[2, 1, 3, 4] = math.nan
    assert WINNER_TAKE_ALL[name].of(code, 0.3).isnan().any()


@pytest.mark.parametrize("name", [name for name, winners in WINNER_TAKE_ALL.items() if winners.maps])
def test_spatial_winners_are_of_maps(name: str) -> None:
    code: Tensor = torch.rand(4, 9)
    with pytest.raises(InputError, match=r"needs maps \[B, C, ...\], not a code of shape \(4, 9\): use 'lifetime'"):
        WINNER_TAKE_ALL[name].of(code, 0.5)
