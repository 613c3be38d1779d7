"""The blocks of residual and transformer stages, against formulas and torch's own layers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stacked.stages.dense import Dense
from stacked.stages.residual import Residual
from stacked.stages.transformer import Block, Blocks, Transformer, positions
from stacked.util.errors import InputError


def test_a_residual_block_adds_to_what_it_reads() -> None:
    stage = Residual.of((3, 6, 6), 8, norm="none", activation="linear").eval()
    x = torch.rand(2, 3, 6, 6)
    body = stage.encoder[2].body
    stem = stage.encoder[0](x).relu()
    assert torch.equal(stage.encode(x), stem + body[2](body[0](stem).relu()))
    nn.init.zeros_(body[2].weight)
    nn.init.zeros_(body[2].bias)
    assert torch.equal(stage.encode(x), stem)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_a_block_is_torchs_own_pre_norm_layer(heads: int) -> None:
    theirs = nn.TransformerEncoderLayer(8, heads, 32, 0.0, F.gelu, batch_first=True, norm_first=True)
    for p in theirs.parameters():  # not the initial values, so that a swapped tensor would show
        nn.init.normal_(p, std=0.4)
    theirs.double()
    ours = Block(8, heads).double()
    names = {
        "norm1": "norm1",
        "norm2": "norm2",
        "self_attn.in_proj_": "queries_keys_values.",
        "self_attn.out_proj": "mixed",
        "linear1": "perceptron.0",
        "linear2": "perceptron.2",
    }
    state = theirs.state_dict()
    for old, new in names.items():
        state = {name.replace(old, new): value for name, value in state.items()}
    ours.load_state_dict(state)
    tokens = torch.randn(3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(ours.train()(tokens), theirs.train()(tokens), rtol=0, atol=1e-12)
    trained = ours.float()(tokens.float())
    with torch.no_grad():
        assert torch.equal(ours.eval()(tokens.float()), trained)  # no other path where nothing is learned


def test_positions_are_those_of_the_formula_on_every_grid() -> None:
    like = torch.zeros((), dtype=torch.float64)
    table = positions((3, 5), 8, like).view(3, 5, 8)
    for i, j in itertools.product(range(3), range(5)):
        row = [math.sin(i), math.sin(i / 100), math.cos(i), math.cos(i / 100)]
        column = [math.sin(j), math.sin(j / 100), math.cos(j), math.cos(j / 100)]
        torch.testing.assert_close(table[i, j], torch.tensor(row + column, dtype=torch.float64))
    assert torch.equal(positions((2, 4), 8, like).view(2, 4, 8), table[:2, :4])  # of any size, without parameters
    half = positions((1, 3000), 8, torch.zeros((), dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, positions((1, 3000), 8, torch.zeros(())).bfloat16())


def test_tokens_are_told_apart_by_their_place_alone() -> None:
    blocks = Blocks(8, 2, 1)
    same = torch.rand(1, 8, 1, 1).expand(1, 8, 3, 4)
    output = blocks(same).flatten(2)
    assert torch.unique(output[0].T, dim=0).shape[0] == 12


def test_a_transformer_refuses_a_size_that_the_patch_does_not_divide() -> None:
    stage = Transformer.of((1, 6, 6), 8, patch=3)
    for refused in (lambda: stage(torch.rand(1, 1, 6, 8)), lambda: stage.output_shape((1, 6, 8))):
        with pytest.raises(InputError, match="patch 3 does not divide 6 x 8: choose from 1, 2"):
            refused()


def test_a_patch_of_one_pixel_merges_nothing_and_vectors_have_dense_stages() -> None:
    stage = Transformer.of((2, 3, 5), 8, patch=1)
    assert stage.encode(torch.rand(2, 2, 3, 5)).shape[1:] == stage.code_shape == (8, 3, 5)
    assert stage(torch.rand(2, 2, 3, 5)).shape == (2, 2, 3, 5)
    vectors = Dense.of((10,), 4, norm="batch")
    assert vectors.encode(torch.rand(3, 10)).shape[1:] == vectors.code_shape == (4,)
    assert vectors(torch.rand(3, 10)).shape == (3, 10)


def test_attention_is_in_the_count_of_operations() -> None:
    """Per token and block: 12 d^2 multiplications in its layers, and 2 N d to attend to N tokens."""
    stage = Transformer.of((1, 8, 8), 8, patch=2).to("meta")
    with FlopCounterMode(display=False) as counter:
        stage.encode(torch.empty(1, 1, 8, 8, device="meta"))
    n, d = 16, 8
    assert counter.get_total_flops() == 2 * (n * 4 * d + n * 12 * d * d + 2 * n * n * d)
