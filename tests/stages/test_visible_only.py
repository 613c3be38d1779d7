"""Transformer stages that encode only the patches that a corruption leaves visible, as in masked autoencoders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from stacked import InputError, RunSpec, StackSpec
from stacked.components.corruption import patch_masking
from stacked.cost.phase_cost import phase_cost
from stacked.model.stack import build
from stacked.runtime.rng import generator
from stacked.spec import Budget, Classification, Optimisation
from stacked.spec.growth import POLICIES
from stacked.stages.stage import Hidden
from stacked.stages.transformer import Transformer, positions
from tests.helpers.counted import update_flops
from tests.helpers.policies import needs_patience
from tests.helpers.trainable import spec, trains

#: 4 x 4 patches of 2 x 2 pixels
SHAPE = (3, 8, 8)
HOW: dict[str, Any] = {"corruption": "patch-masking", "corruption_level": 0.5, "corruption_patch": 2}


def made(visible_only: bool = True, **more: Any) -> Transformer:
    torch.manual_seed(1)
    return Transformer.of(SHAPE, 8, output="sigmoid", visible_only=visible_only, **more)


def hidden_half(n: int = 5, level: float = 0.5) -> tuple[Tensor, Hidden]:
    """Images, and half of their patches, others in each of them."""
    x = torch.rand(n, *SHAPE)
    found = patch_masking(x, level, generator(0, "hidden"), 2).hidden
    assert found is not None
    return x, found


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_the_code_of_visible_patches_does_not_depend_on_hidden_ones(activation: str) -> None:
    stage = made(activation=activation)
    x, hidden = hidden_half()
    pixels = hidden.blocks[:, None].repeat_interleave(2, 2).repeat_interleave(2, 3)
    code, mask = stage.encode_corrupted(x, hidden)
    for others in (torch.zeros(()), torch.rand(x.shape), torch.full((), 1e6)):
        again, _ = stage.encode_corrupted(torch.where(pixels, others, x), hidden)
        assert torch.equal(again, code)
    assert mask is not None
    assert torch.equal(mask[:, 0], hidden.blocks)
    assert (code.permute(0, 2, 3, 1)[hidden.blocks] == 0).all()
    changed = torch.where(pixels, x, 1 - x)
    assert not torch.equal(stage.encode_corrupted(changed, hidden)[0], code)


def test_the_visible_patches_attend_to_each_other_alone_at_their_own_places() -> None:
    """Each image by itself: embedded patches with their positions, of which the hidden ones are cut out by hand."""
    stage = made(blocks=2).double()
    x, hidden = hidden_half()
    x = x.double()
    code, _ = stage.encode_corrupted(x, hidden)
    patches, blocks, activation = stage.encoder
    nothing = torch.zeros(1, 8, 4, 4, dtype=torch.float64)
    for k, each in enumerate(x):
        tokens = patches(each[None]).flatten(2).transpose(1, 2) + positions((4, 4), 8, nothing)
        seen = blocks.blocks(tokens[:, ~hidden.blocks[k].flatten()])
        expected = activation(seen)[0]
        torch.testing.assert_close(code[k].permute(1, 2, 0)[~hidden.blocks[k]], expected, rtol=0, atol=1e-12)


def test_with_nothing_hidden_it_is_the_plain_stage_to_the_bit() -> None:
    stage, plain = made(), made(visible_only=False)
    own = {name: value for name, value in stage.state_dict().items() if not name.endswith("token")}
    plain.load_state_dict(
        {name.replace("decoder.1", "decoder.0").replace("decoder.2", "decoder.1"): v for name, v in own.items()}
    )
    x, _ = hidden_half()
    nothing = Hidden(torch.zeros(5, 4, 4, dtype=torch.bool), 16)
    code, mask = stage.encode_corrupted(x, nothing)
    assert torch.equal(code, plain.encode(x))
    assert torch.equal(stage.decode(code, switches=mask), plain(x))
    assert torch.equal(stage(x), plain(x))  # as evaluation reads it


def test_the_decoder_sees_the_learned_vector_in_the_place_of_hidden_patches() -> None:
    stage = made()
    x, hidden = hidden_half()
    code, mask = stage.encode_corrupted(x, hidden)
    token = stage.decoder[0].token
    filled = torch.where(hidden.blocks[:, None], token[:, None, None], code)
    assert torch.equal(stage.decode(code, switches=mask), stage.decode(filled))
    stage.decode(code, switches=mask).sum().backward()
    assert token.grad is not None
    assert token.grad.abs().sum() > 0


def test_other_corruptions_are_refused_and_a_plain_stage_takes_all() -> None:
    x, hidden = hidden_half()
    with pytest.raises(InputError, match=r"reads 4 x 4 patches.*was given none such: use corruption 'patch-masking'"):
        made().encode_corrupted(x, None)
    coarse = Hidden(torch.zeros(5, 2, 2, dtype=torch.bool), 4)
    with pytest.raises(InputError, match=r"reads 4 x 4 patches.*was given 2 x 2: .* with corruption_patch 2$"):
        made().encode_corrupted(x, coarse)
    plain = made(visible_only=False)
    assert torch.equal(plain.encode_corrupted(x, hidden)[0], plain.encode(x))
    classification = Classification(labels=(20,), corruption="masking", corruption_level=0.1)
    with pytest.raises(
        InputError, match=r"^phase 'classifier' corrupts the input of stage 1, a transformer stage with visib"
    ):
        RunSpec(stack=StackSpec.of("transformer", 8, visible_only=True), classification=classification)


def test_the_flops_of_the_encoder_are_those_of_the_visible_patches() -> None:
    """Per token 4 x 3 x d for its patch, which all have; of n visible ones and each block 12 d^2 and 2 n d."""
    stage, (x, hidden), d = made().to("meta"), hidden_half(1, 0.75), 8
    with FlopCounterMode(display=False) as counter:
        stage.encode_corrupted(x.to("meta"), Hidden(hidden.blocks.to("meta"), hidden.visible))
    n = 4
    assert hidden.visible == n
    assert counter.get_total_flops() == 2 * (16 * 12 * d + n * 12 * d * d + 2 * n * n * d)


@pytest.mark.parametrize("policy", ["greedy", "joint"])
def test_what_is_budgeted_is_what_an_update_costs_and_falls(policy: str) -> None:
    def cost(visible_only: bool, level: float) -> int:
        stack = StackSpec.of("transformer", 8, 8, visible_only=visible_only)
        how = Optimisation(**HOW | {"corruption_level": (level, 0.0)}, batch_size=4)
        made = RunSpec(policy, stack=stack, optimisation=how, budget=Budget(2, 2, "updates"))
        phase = made.phases(4)[0]
        counted = phase_cost(made, SHAPE, phase, 4)
        assert counted.update.flop == update_flops(build(stack.first(phase.depth), SHAPE), phase, how, images=4)
        return counted.update.flop

    def blocks(n: int) -> int:
        """A block on n tokens of each of 4 images, there and back."""
        return 4 * 3 * 2 * (n * 12 * 64 + 2 * n * n * 8)

    whole = cost(False, 0.75)
    assert cost(True, 0.0) == whole
    assert whole - cost(True, 0.75) == blocks(16) - blocks(4)
    assert whole - cost(True, 0.5) == blocks(16) - blocks(8)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_trains_it(policy: str) -> None:
    how = HOW | {"patience": 2 if needs_patience(policy) else None}
    what = spec(policy, StackSpec.of("transformer", 8, 8, visible_only=True), **how)
    trains(what)
    trains(
        replace(
            what,
            optimisation=replace(
                what.optimisation, corruption="patch-masking+gaussian", corruption_level=((0.5, 0.1),)
            ),
        )
    )
