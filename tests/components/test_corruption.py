"""Corruptions are pure, exact in their rate, say what they hit, and never rescale."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stacked.components.corruption import (
    CORRUPTIONS,
    block_masking,
    chosen,
    corrupt,
    gaussian,
    masking,
    parts,
    patch_masking,
    salt_and_pepper,
)
from stacked.runtime.rng import generator
from stacked.util.errors import InputError


def of_one(name: str, x: Tensor, level: float, index: int = 7) -> Tensor:
    return corrupt(name, x, (level,), generator(5, "corruption", index), 4).x


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_leaves_its_input_as_it_was_and_repeats_itself(name: str) -> None:
    """A peer corrupts in place, and so corrupts the target."""
    x = torch.rand(16, 3, 8, 8)
    before = x.clone()
    once, again, other = of_one(name, x, 0.3), of_one(name, x, 0.3), of_one(name, x, 0.3, index=8)
    assert torch.equal(x, before)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert not torch.equal(once, x)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_was_not_hit_is_as_it_was(name: str) -> None:
    """And never rescaled. Kinds that choose hit some; the others say None."""
    x = torch.rand(64, 3, 8, 8) + 1
    y, hit, _ = corrupt(name, x, (0.25,), generator(0, "m"), 4)
    assert (hit is not None) == CORRUPTIONS[name].chooses
    if hit is not None:
        hit = hit.expand_as(x)
        assert hit.any()
        assert torch.equal(y[~hit], x[~hit])
        assert (y[hit] != x[hit]).double().mean() > 0.99  # the smallest and the largest of the batch may stay


@pytest.mark.parametrize("level", [0.1, 0.25, 1.0])
def test_masking_is_the_product_with_what_was_not_chosen_bit_for_bit(level: float) -> None:
    """Alone and by its name."""
    x = torch.randn(32, 50)
    hit = chosen(x, level, generator(3, "golden"))
    for y in (masking(x, level, generator(3, "golden")), corrupt("masking", x, (level,), generator(3, "golden"), 4)):
        assert torch.equal(y.x, x * ~hit)
        assert y.hit is not None
        assert torch.equal(y.hit, hit)


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


@pytest.mark.parametrize("level", [0.001, 0.1, 0.5, 0.75, 1.0])
def test_each_block_falls_with_the_stated_probability(level: float) -> None:
    """Binomial, at five standard deviations: over all blocks, at each place of the grid (cut ones too), and in pairs."""
    batch = 4000
    blocks = block_masking(torch.ones(batch, 1, 7, 5), level, generator(1, "blocks"), 3).x[:, 0, ::3, ::3] == 0
    assert blocks.shape == (batch, 3, 2)
    spread = math.sqrt(level * (1 - level))
    assert abs(blocks.double().mean().item() - level) <= 5 * spread / math.sqrt(batch * 6)
    assert (blocks.double().mean(0) - level).abs().max() <= 5 * spread / math.sqrt(batch)
    covariance = torch.cov(blocks.flatten(1).double().T)
    assert (covariance - torch.diag(covariance.diag())).abs().max() <= 5 * spread**2 / math.sqrt(batch)


@pytest.mark.parametrize("patch", [1, 2, 3, 4, 9])
def test_blocks_are_whole_shared_by_the_channels_and_cut_at_the_edge(patch: int) -> None:
    x = torch.rand(50, 3, 7, 5) + 1
    y, hit, _ = block_masking(x, 0.4, generator(1, "blocks"), patch)
    assert hit is not None
    assert hit.shape == (50, 1, 7, 5)
    assert torch.equal(y, torch.where(hit, 0, x))
    for i in range(0, 7, patch):
        for j in range(0, 5, patch):
            block = hit[:, 0, i : i + patch, j : j + patch].flatten(1)
            assert torch.equal(block.all(1), block.any(1))
            assert block.any()
            assert not block.all()


@pytest.mark.parametrize("sides", [(20,), (12, 8), (8, 4, 12)])
def test_blocks_of_every_rank_are_whole(sides: tuple[int, ...]) -> None:
    """Signals, maps and volumes: a block is masked everywhere or nowhere, in all channels, at the expected rate."""
    x = torch.rand(400, 2, *sides) + 1
    corrupted = block_masking(x, 0.3, generator(0, "b"), 4)
    y, hit = corrupted.x, corrupted.hit
    assert hit is not None
    assert hit.shape == (400, 1, *sides)
    assert torch.equal(y, x * ~hit)
    blocks = hit[:, 0]
    for axis in range(1, len(sides) + 1):
        blocks = blocks.unflatten(axis, (-1, 4)).movedim(axis + 1, -1)
    blocks = blocks.flatten(1 + len(sides)).float().mean(-1)
    assert set(blocks.unique().tolist()) == {0.0, 1.0}
    assert abs(float(blocks.mean()) - 0.3) < 5 * (0.3 * 0.7 / blocks.numel()) ** 0.5


@pytest.mark.parametrize("level", [0.001, 0.2, 0.5, 0.75, 1.0])
def test_patch_masking_hides_as_many_blocks_in_every_map_and_each_equally_often(level: float) -> None:
    """Of 3 x 2 blocks; the frequency of each block and of each pair at five standard deviations."""
    batch, x = 4000, torch.rand(4000, 2, 7, 5) + 1
    y, hit, hidden = patch_masking(x, level, generator(1, "patches"), 3)
    assert hit is not None
    assert hidden is not None
    count = min(round(6 * level), 5)
    assert hidden.visible == 6 - count
    assert hidden.blocks.shape == (batch, 3, 2)
    assert (hidden.blocks.sum((1, 2)) == count).all()
    assert torch.equal(hidden.blocks, hit[:, 0, ::3, ::3])
    assert torch.equal(
        hit[:, 0, 1:3, 4], hidden.blocks[:, 0, 1:].expand(-1, 2)
    )  # blocks are whole, the last ones are cut
    assert torch.equal(y, torch.where(hit, 0, x))
    each = hidden.blocks.flatten(1).double()
    rate = count / 6
    assert (each.mean(0) - rate).abs().max() <= 5 * math.sqrt(rate * (1 - rate) / batch)
    pairs, both = each.T @ each / batch, count * (count - 1) / 30
    off = pairs[~torch.eye(6, dtype=torch.bool)] - both
    assert off.abs().max() <= 5 * math.sqrt(both * (1 - both) / batch)


def test_a_composition_hides_the_blocks_of_the_one_part_that_hides_as_many_everywhere() -> None:
    x = torch.rand(16, 3, 8, 8)
    alone = patch_masking(x, 0.5, generator(9, "both"), 4)
    with_noise = corrupt("patch-masking+gaussian", x, (0.5, 0.1), generator(9, "both"), 4)
    assert alone.hidden is not None
    assert with_noise.hidden is not None
    assert torch.equal(with_noise.hidden.blocks, alone.hidden.blocks)
    for name in ("patch-masking+patch-masking", "block-masking+masking"):
        assert corrupt(name, x, (0.5, 0.5), generator(9, "both"), 4).hidden is None


def test_blocks_are_of_maps() -> None:
    with pytest.raises(InputError, match=r"needs maps \[B, C, ...\], not values of shape \(4, 9\): use 'masking'"):
        block_masking(torch.rand(4, 9), 0.5, generator(0, "b"), 3)


@pytest.mark.parametrize("patch", [8, 10**9, 2**62])
def test_a_block_larger_than_the_map_is_all_of_it(patch: int) -> None:
    """And takes no more memory than the map, however large a spec says it is."""
    x = torch.rand(16, 2, 5, 7) + 1
    y, hit, _ = block_masking(x, 0.5, generator(0, "b"), patch)
    assert torch.equal(y, block_masking(x, 0.5, generator(0, "b"), 7).x)
    assert hit is not None
    assert {each.float().mean().item() for each in hit} == {0.0, 1.0}


def test_salt_and_pepper_sets_extremes_by_a_fair_coin() -> None:
    x = torch.rand(1000, 500) * 0.8 + 0.1
    y, hit, _ = salt_and_pepper(x, 0.4, generator(3, "sp"))
    assert hit is not None
    assert set(y[hit].unique().tolist()) == {x.min().item(), x.max().item()}
    assert torch.equal(hit, chosen(x, 0.4, generator(3, "sp")))
    assert abs((y[hit] == x.max()).double().mean() - 0.5) < 0.01


def test_gaussian_has_the_stated_deviation() -> None:
    x = torch.rand(1000, 500)
    noise = gaussian(x, 0.7, generator(4, "g")).x - x
    assert abs(noise.std().item() - 0.7) < 0.01
    assert abs(noise.mean().item()) < 0.01


def test_what_is_hit_was_drawn_whether_or_not_it_changed() -> None:
    x = torch.zeros(16, 1, 8, 8)
    for name in ("masking", "salt-and-pepper", "block-masking", "patch-masking"):
        y, hit, _ = corrupt(name, x, (0.5,), generator(6, "zeros"), 2)
        _, same, _ = corrupt(name, torch.rand(16, 1, 8, 8), (0.5,), generator(6, "zeros"), 2)
        assert torch.equal(y, x)
        assert hit is not None
        assert same is not None
        assert torch.equal(hit, same)
        assert hit.any()


def test_a_composition_is_its_parts_in_turn_with_one_generator() -> None:
    x, random = torch.rand(16, 3, 8, 8), generator(9, "both")
    one = block_masking(x, 0.3, random, 4)
    two = salt_and_pepper(one.x, 0.1, random)
    y, hit, _ = corrupt("block-masking+salt-and-pepper", x, (0.3, 0.1), generator(9, "both"), 4)
    assert one.hit is not None
    assert two.hit is not None
    assert hit is not None
    assert torch.equal(y, two.x)
    assert torch.equal(hit, one.hit | two.hit)
    assert not torch.equal(y, corrupt("salt-and-pepper+block-masking", x, (0.1, 0.3), generator(9, "both"), 4).x)

    noisy, all_hit, _ = corrupt("salt-and-pepper+gaussian", x, (0.1, 0.5), generator(9, "both"), 4)
    random = generator(9, "both")
    assert torch.equal(noisy, gaussian(salt_and_pepper(x, 0.1, random).x, 0.5, random).x)
    assert all_hit is None


def test_a_part_of_level_0_draws_nothing() -> None:
    x, random = torch.rand(16, 40), generator(9, "both")
    expected = masking(x, 0.2, generator(9, "both"))
    for name, levels in [("gaussian+masking", (0.0, 0.2)), ("masking+salt-and-pepper", (0.2, 0.0))]:
        y, hit, _ = corrupt(name, x, levels, generator(9, "both"), 4)
        assert torch.equal(y, expected.x)
        assert hit is not None
        assert expected.hit is not None
        assert torch.equal(hit, expected.hit)
    before = random.get_state()
    y, hit, _ = corrupt("masking+gaussian", x, (0.0, 0.0), random, 4)
    assert y is x
    assert hit is not None
    assert not hit.expand_as(x).any()
    assert torch.equal(random.get_state(), before)


def test_what_is_not_known_is_told_with_the_choices() -> None:
    assert parts("masking+gaussian") == ["masking", "gaussian"]
    with pytest.raises(InputError) as error:
        parts("gaussian+mask")
    assert (
        str(error.value)
        == f"corruption 'mask' is not known; did you mean 'masking'? Choose from {', '.join(CORRUPTIONS)}"
    )
    for wrong in ("", "masking+", "masking gaussian"):
        with pytest.raises(InputError, match="is not known"):
            parts(wrong)
    with pytest.raises(InputError, match="needs 2 levels, one for each part, not 1"):
        corrupt("masking+gaussian", torch.rand(2, 2), (0.1,), generator(0, "m"), 4)
