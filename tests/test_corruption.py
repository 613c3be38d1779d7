"""Corruptions are pure, exact in their rate, and never rescale."""

from __future__ import annotations

import math

import pytest
import torch

from stacked.corruption import CORRUPTIONS, chosen, masking, salt_and_pepper
from stacked.rng import generator


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_leaves_its_input_as_it_was_and_repeats_itself(name: str) -> None:
    """A peer corrupts in place, and so corrupts the target."""
    x = torch.rand(16, 3, 8, 8)
    before = x.clone()
    corrupt = CORRUPTIONS[name][0]
    once, again = (corrupt(x, 0.3, generator(5, "corruption", 7)) for _ in range(2))
    other = corrupt(x, 0.3, generator(5, "corruption", 8))
    assert torch.equal(x, before)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert not torch.equal(once, x)


def test_masking_zeroes_and_never_rescales() -> None:
    x = torch.rand(64, 784) + 1
    y = masking(x, 0.25, generator(0, "m"))
    assert torch.equal(y[y != 0], x[y != 0])


@pytest.mark.parametrize("level", [0.0, 0.001, 0.1, 0.2, 0.25, 0.5, 0.999, 1.0])
def test_the_rate_is_exact_in_expectation(level: float) -> None:
    """4 million elements: a rate off by 1/4 of the byte's resolution would be seen at five standard errors."""
    hit = chosen(torch.empty(5000, 800), level, generator(1, "rate"))
    # rows share their threshold, which varies by at most 1/256
    error = math.sqrt(level * (1 - level) / hit.numel() + (0.25 / 256**2) / len(hit))
    assert abs(hit.double().mean().item() - level) <= 5 * error
    assert error < 3e-4


def test_elements_are_independent() -> None:
    hit = chosen(torch.empty(20000, 16), 0.3, generator(2, "pairs")).double()
    covariance = torch.cov(hit.T)
    off = covariance - torch.diag(covariance.diag())
    assert off.abs().max() < 5 * 0.21 / math.sqrt(20000)


def test_salt_and_pepper_sets_extremes_by_a_fair_coin() -> None:
    x = torch.rand(1000, 500) * 0.8 + 0.1
    y = salt_and_pepper(x, 0.4, generator(3, "sp"))
    hit = y != x
    assert set(y[hit].unique().tolist()) == {x.min().item(), x.max().item()}
    assert abs(hit.double().mean() - 0.4) < 0.01
    assert abs((y[hit] == x.max()).double().mean() - 0.5) < 0.01


def test_gaussian_has_the_stated_deviation() -> None:
    x = torch.rand(1000, 500)
    noise = CORRUPTIONS["gaussian"][0](x, 0.7, generator(4, "g")) - x
    assert abs(noise.std().item() - 0.7) < 0.01
    assert abs(noise.mean().item()) < 0.01
