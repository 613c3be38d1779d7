"""Pooling and unpooling, with and without the places of the maxima."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stacked.stages.pooled import PooledConv, first_largest, largest


def test_pooling_tells_where_its_maxima_were() -> None:
    maps = torch.tensor([[1.0, 5, 2, 2, 7], [3, 4, 2, 2, 8], [6, 6, 0, 9, 1]])[None, None]
    once = torch.tensor([[0, 1, 1, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 1, 1]], dtype=torch.bool)[None, None]
    ties = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [1, 1, 0, 1, 1]], dtype=torch.bool)[None, None]
    assert torch.equal(first_largest(maps), once)
    assert torch.equal(largest(maps), ties)


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (2, 3)])
def test_unpooling_puts_values_where_it_says(size: tuple[int, int]) -> None:
    options: dict[str, Any] = {"activation": "linear", "norm": "none", "pixels": True, "output": "linear"}
    stages = {name: PooledConv.of((2, *size), 3, unpool=name, **options) for name in ("nearest", "zeros", "switches")}
    x = torch.randn(4, 2, *size)
    for name, stage in stages.items():
        stage.load_state_dict(stages["nearest"].state_dict())
        maps = stage.encoder[0](x)
        code, switches = stage.encode_with_switches(x)
        pooled, places = F.max_pool2d(maps, 2, ceil_mode=True, return_indices=True)
        assert torch.equal(code, pooled)
        unpooled = stage.decoder[0](code, None, switches)
        if name == "nearest":
            assert switches is None
            assert torch.equal(unpooled[..., ::2, ::2], code)
            assert torch.equal(unpooled[..., 1::2, 1::2], code[..., : size[0] // 2, : size[1] // 2])
        else:  # without ties the two are the same, and what is not a maximum is erased
            assert switches is not None
            assert torch.equal(unpooled, F.max_unpool2d(pooled, places, 2, output_size=list(size)))
            assert torch.equal(unpooled, torch.where(switches, maps, torch.zeros(())))


@pytest.mark.parametrize(("unpool", "kept"), [("zeros", 4), ("switches", 1)])
def test_ties_keep_all_maxima_or_the_first(unpool: str, kept: int) -> None:
    stage = PooledConv.of((1, 4, 4), 1, norm="none", unpool=unpool)
    nn.init.zeros_(stage.get_parameter("encoder.0.weight"))
    nn.init.constant_(stage.get_parameter("encoder.0.bias"), 2.0)  # so that every window is one tie
    code, switches = stage.encode_with_switches(torch.rand(1, 1, 4, 4))
    assert switches is not None
    assert torch.equal(code, torch.full((1, 1, 2, 2), 2.0))
    assert torch.equal(switches.unfold(2, 2, 2).unfold(3, 2, 2).sum((4, 5)), torch.full((1, 1, 2, 2), kept))
    assert torch.equal(stage.decoder[0](code, None, switches)[0, 0, ::2, ::2], torch.full((2, 2), 2.0))


def test_pooling_keeps_no_state_between_encoding_and_decoding() -> None:
    stage = PooledConv.of((1, 6, 6), 4, unpool="switches").eval()
    a, b = torch.rand(2, 3, 1, 6, 6)
    code, switches = stage.encode_with_switches(a)
    expected = stage.decode(code, switches=switches)
    stage(b)
    assert torch.equal(stage.decode(code, switches=switches), expected)
    assert torch.equal(stage(a), expected)
