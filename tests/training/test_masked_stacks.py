"""Stacks of transformer stages that leave out, at every depth, the patches that a corruption hides from the first one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked import Budget, RunSpec, StackSpec
from stacked.components.corruption import Corrupted, patch_masking
from stacked.cost.phase_cost import phase_cost
from stacked.model.stack import StackedAutoencoder, build
from stacked.objectives.objective import ObjectiveTargets
from stacked.runtime.rng import generator, seeded
from stacked.spec import Optimisation, StageSpec
from stacked.spec.growth import POLICIES, Phase
from stacked.stages.transformer import positions
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.counted import update_flops
from tests.helpers.policies import needs_equal_stages, needs_patience
from tests.helpers.trainable import trains

#: 4 x 4 patches of 2 x 2 pixels, of which 12 are hidden
SHAPE, GRID, WIDTH, SEED, STEP = (3, 8, 8), (4, 4), 8, 3, 11
HOW = Optimisation(batch_size=4, corruption="patch-masking", corruption_level=(0.75, 0.0, 0.0), corruption_patch=2)
IMAGE: dict[str, Any] = {
    "objectives": {"image": 1.0},
    "objective_options": {"image.width": 8, "image.blocks": 1, "image.hidden_only": True},
}
ALL = Phase("joint", (1, 3), 0, 1)
TOP = Phase("stage 3", (3, 3), 0, 1)
ALONE = Phase("simultaneous", (1, 3), 0, 1, local_loss="alone")
IN_BLOCKS = replace(ALONE, blocks=(2, 1))


def stack_spec(depth: int = 3, visible_only: bool = True) -> StackSpec:
    """Patches of 2 x 2 pixels are tokens of the first stage, and of those above each position is one."""
    own = [{"patch": 2 if k == 1 else 1, "visible_only": visible_only} for k in range(1, depth + 1)]
    return StackSpec(tuple(StageSpec("transformer", WIDTH, options=tuple(each.items())) for each in own))


def made(visible_only: bool = True) -> StackedAutoencoder:
    with seeded(1, "init"):
        return build(stack_spec(visible_only=visible_only), SHAPE).double().train()


def images(n: int = 4) -> Tensor:
    return torch.rand(n, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def masked(x: Tensor) -> Corrupted:
    """As the corruption of update `STEP` masks them."""
    return patch_masking(x, 0.75, generator(SEED, "corruption", STEP), 2)


def tokens_of(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


def through(block: Any, tokens: Tensor) -> Tensor:
    """A block of a transformer by torch's own layer, with the same weights."""
    plain = nn.TransformerEncoderLayer(
        WIDTH, block.heads, 4 * WIDTH, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
    ).double()
    own = {
        "self_attn.in_proj": block.queries_keys_values,
        "self_attn.out_proj": block.mixed,
        "linear1": block.perceptron[0],
        "linear2": block.perceptron[2],
        "norm1": block.norm1,
        "norm2": block.norm2,
    }
    weights = {
        f"{name}{'_' if name.endswith('in_proj') else '.'}{kind}": getattr(layer, kind)
        for name, layer in own.items()
        for kind in ("weight", "bias")
    }
    found: Tensor = torch.func.functional_call(plain, weights, (tokens,))
    return found


def transformed(blocks: Any, tokens: Tensor, places: Tensor) -> Tensor:
    """What `Blocks` are, on tokens [B, n, width] at these places."""
    tokens = tokens + positions(GRID, WIDTH, tokens)[places]
    for block in blocks.blocks[:-1]:
        tokens = through(block, tokens)
    norm = blocks.blocks[-1]
    return F.layer_norm(tokens, (WIDTH,), norm.weight, norm.bias)


def encoded(stages: Any, x: Tensor, blocks: Tensor) -> list[Tensor]:
    """The codes [1, visible, width] of the visible patches of one image, by plain products: hidden ones are cut out first."""
    shown = (~blocks.flatten()).nonzero().flatten()
    embedding = stages[0].encoder[0]
    patches = F.unfold(x[None], 2, stride=2).transpose(1, 2)[:, shown]
    tokens = F.linear(patches, embedding.weight.flatten(1), embedding.bias)
    found = []
    for k, stage in enumerate(stages):
        if k:
            layer = stage.encoder[0]
            tokens = F.linear(tokens, layer.weight.flatten(1), layer.bias)
        tokens = transformed(stage.encoder[1], tokens, shown).relu()
        found.append(tokens)
    return found


def filled(code: Tensor, blocks: Tensor, token: Tensor) -> Tensor:
    """The tokens [1, 16, width] of all patches, with the vector `token` for each hidden one."""
    rows = iter(code[0])
    return torch.stack([token if hidden else next(rows) for hidden in blocks.flatten().tolist()])[None]


def decoded(stage: Any, tokens: Tensor, output: Any) -> Tensor:
    """Maps that a decoder gives for the tokens of all patches."""
    layer = stage.decoder[2]
    tokens = transformed(stage.decoder[1], tokens, torch.arange(16))
    rows = F.linear(tokens, layer.weight.flatten(1).T, layer.bias.repeat_interleave(layer.weight[0, 0].numel()))
    patch = layer.kernel_size[0]
    maps: Tensor = F.fold(rows.transpose(1, 2), tuple(patch * n for n in GRID), patch, stride=patch)
    return output(maps)


def same_gradients(stack: StackedAutoencoder, loss: Tensor, expected: Tensor) -> None:
    """Both losses and their gradients are equal, which reach the same parameters."""
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    learned = {name: p for name, p in stack.named_parameters() if p.requires_grad}
    found, wanted = (
        torch.autograd.grad(each, list(learned.values()), allow_unused=True, materialize_grads=True)
        for each in (loss, expected)
    )
    for name, mine, theirs in zip(learned, found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-14, msg=name)
    assert sum(bool(grad.any()) for grad in found) > 20


def test_joint_training_is_that_of_a_masked_autoencoder_in_plain_torch() -> None:
    """Visible patches alone pass the three encoders; the deepest decoder alone has a vector for hidden ones."""
    stack, x = made(), images()
    noisy = masked(x)
    assert noisy.hidden is not None
    restored = []
    for image, blocks in zip(x, noisy.hidden.blocks, strict=True):
        code = encoded(stack.stages, image, blocks)[-1]
        tokens = filled(code, blocks, stack.stages[2].decoder[0].token)
        for k in (2, 1):
            tokens = tokens_of(decoded(stack.stages[k], tokens, torch.relu))
        restored.append(decoded(stack.stages[0], tokens, torch.sigmoid))
    loss = PhaseLoss(stack, ALL, HOW, seed=SEED)(x, None, STEP)
    same_gradients(stack, loss, (torch.cat(restored) - x).square().mean())


@pytest.mark.parametrize("phase", [ALONE, IN_BLOCKS], ids=["stages", "blocks"])
def test_blocks_read_what_the_block_below_left_visible_and_restore_its_whole_code(phase: Phase) -> None:
    stack, x = made(), images()
    noisy = masked(x)
    assert noisy.hidden is not None
    with torch.no_grad():
        whole = [x, *(stack.encode(x, depth) for depth in (1, 2))]
    expected = torch.zeros((), dtype=torch.float64)
    for first, last in phase.ranges:
        for k, blocks in enumerate(noisy.hidden.blocks):
            codes = encoded(stack.stages, x[k], blocks)
            code = codes[0]
            for stage in range(2, last + 1):  # again, cut at the bottom of the block
                below = codes[stage - 2].detach() if stage == first else code
                layer = stack.stages[stage - 1].encoder[0]
                shown = (~blocks.flatten()).nonzero().flatten()
                code = transformed(
                    stack.stages[stage - 1].encoder[1], F.linear(below, layer.weight.flatten(1), layer.bias), shown
                ).relu()
            tokens = filled(code, blocks, stack.stages[last - 1].decoder[0].token)
            for stage in range(last, first, -1):
                tokens = tokens_of(decoded(stack.stages[stage - 1], tokens, torch.relu))
            maps = decoded(stack.stages[first - 1], tokens, torch.sigmoid if first == 1 else torch.relu)
            expected = expected + (maps[0] - whole[first - 1][k]).square().mean() / len(x)
    same_gradients(stack, PhaseLoss(stack, phase, HOW, seed=SEED)(x, None, STEP), expected)


@pytest.mark.parametrize("phase", [ALONE, IN_BLOCKS], ids=["stages", "blocks"])
def test_each_block_restores_the_hidden_pixels_by_a_decoder_of_its_own(phase: Phase) -> None:
    """Block-wise masked image modelling: the loss of the hidden patches alone, with a vector for each of them."""
    stack, x, how = made(), images(), replace(HOW, **IMAGE)
    phase = replace(phase, target="objectives")
    objective = PhaseLoss(stack, phase, how, seed=SEED).double()
    noisy = masked(x)
    assert noisy.hidden is not None
    assert noisy.hit is not None
    assert objective.objectives is not None
    expected = torch.zeros((), dtype=torch.float64)
    for _, last in phase.ranges:
        ((image, _),) = objective.objectives.of(last)
        own: Any = image
        for k, blocks in enumerate(noisy.hidden.blocks):
            code = encoded(stack.stages, x[k], blocks)[last - 1].detach()
            tokens = F.linear(code, own.embedding.weight.flatten(1), own.embedding.bias)
            tokens = transformed(own.decoder[0], filled(tokens, blocks, own.mask_token.token), torch.arange(16))
            layer = own.decoder[1]
            rows = F.linear(tokens, layer.weight.flatten(1).T, layer.bias.repeat_interleave(4))
            restored = F.fold(rows.transpose(1, 2), SHAPE[1:], 2, stride=2).sigmoid()[0]
            hidden = noisy.hit[k].expand(3, -1, -1)
            expected = expected + (restored - x[k])[hidden].square().mean() / len(x)
    loss = objective(x, ObjectiveTargets(x), STEP)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in objective.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stack.encoder.parameters())


def test_where_nothing_is_hidden_all_pixels_count() -> None:
    """A small level rounds to no patch of 16, of which a mean over hidden pixels would be NaN."""
    stack, x, how = made(), images(), replace(HOW, **IMAGE, corruption_level=(0.02, 0.0, 0.0))
    phase = replace(ALONE, target="objectives")
    objective = PhaseLoss(stack, phase, how, seed=SEED).double()
    loss = objective(x, ObjectiveTargets(x), STEP)
    torch.testing.assert_close(loss, objective.loss_per_example(x, ObjectiveTargets(x)).mean(), rtol=1e-12, atol=0)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stack.encoder.parameters())


def test_dropout_inside_a_block_does_not_reach_the_block_above() -> None:
    def gradients(rate: float) -> list[Tensor]:
        stack, how = made(), replace(HOW, dropout=(rate, 0.0, 0.0))
        PhaseLoss(stack, IN_BLOCKS, how, seed=SEED)(images(), None, STEP).backward()
        assert all(p.grad is not None for p in stack.parameters())
        return [p.grad for stage in stack.stages[1:] for p in stage.parameters() if p.grad is not None]

    with_it, without = gradients(0.5), gradients(0.0)
    above = len(with_it) // 2
    assert all(map(torch.equal, with_it[above:], without[above:]))
    assert not all(map(torch.equal, with_it[:above], without[:above]))


@pytest.mark.parametrize("phase", [ALL, TOP], ids=["joint", "frozen below"])
def test_no_code_depends_on_hidden_pixels(phase: Phase) -> None:
    """The gradient of the codes at every depth is exactly 0 there, and the code of a hidden patch is 0."""
    stack, x = made().learn_only(*phase.trainable), images().requires_grad_()
    noisy = masked(x.detach())
    assert noisy.hidden is not None
    # the pixels themselves, and not zeros in their place
    codes, masks = PhaseLoss(stack, phase, HOW, seed=SEED).encode(noisy._replace(x=x), 1, 3, STEP)
    assert [k for k, _, _ in codes] == [1, 2, 3]
    for k, _, code in codes:
        (gradient,) = torch.autograd.grad((code * torch.randn_like(code)).sum(), x, retain_graph=True)
        assert noisy.hit is not None
        hit = noisy.hit.expand_as(x)
        assert not gradient[hit].any()
        assert gradient[~hit].all()
        assert not code.permute(0, 2, 3, 1)[noisy.hidden.blocks].any()
        mask = masks[k]
        assert mask is not None
        assert torch.equal(mask[:, 0], noisy.hidden.blocks)


def test_the_loss_depends_on_hidden_pixels_as_its_target_alone() -> None:
    """Other hidden pixels change the target of the images and no gradient's input: their difference is that of the target."""
    stack, x = made(), images()
    noisy = masked(x)
    assert noisy.hit is not None
    changed = torch.where(noisy.hit, 1 - x, x)
    objective = PhaseLoss(stack, ALL, HOW, seed=SEED)
    codes = [objective.encode(masked(each), 1, 3, STEP)[0][-1][2] for each in (x, changed)]
    assert torch.equal(*codes)


def test_an_image_that_is_not_corrupted_is_encoded_whole() -> None:
    stack, plain, x = made(), made(visible_only=False), images()
    own = {name: value for name, value in stack.state_dict().items() if not name.endswith("token")}
    plain.load_state_dict(
        {name.replace("decoder.1", "decoder.0").replace("decoder.2", "decoder.1"): v for name, v in own.items()}
    )
    how = replace(HOW, corruption_level=(0.0,))
    for phase in (ALL, TOP, ALONE, IN_BLOCKS):
        stack.learn_only(*phase.trainable)
        plain.learn_only(*phase.trainable)
        mine, theirs = (PhaseLoss(each, phase, how, seed=SEED) for each in (stack, plain))
        assert torch.equal(mine(x, None, STEP), theirs(x, None, STEP))
        assert torch.equal(mine.loss_per_example(x, None), theirs.loss_per_example(x, None))
    assert torch.equal(stack(x), plain(x))
    assert all(torch.equal(stack.encode(x, depth), plain.encode(x, depth)) for depth in range(4))


def test_larger_patches_above_merge_the_hidden_ones_with_their_zeros() -> None:
    """They cannot follow a stage whose tokens are smaller; what is hidden stays unseen."""
    with seeded(1, "init"):
        stack = build(StackSpec.of("transformer", WIDTH, WIDTH, visible_only=True), SHAPE).double().train()
    x = images()
    codes, masks = PhaseLoss(stack, replace(ALL, trainable=(1, 2)), HOW, seed=SEED).encode(masked(x), 1, 2, STEP)
    assert masks[2] is None
    assert torch.equal(codes[1][2], stack.stages[1].encode(codes[0][2]))


LOCAL = replace(ALONE, target="objectives")


@pytest.mark.parametrize(
    "phase",
    [ALL, TOP, LOCAL, replace(LOCAL, blocks=(2, 1)), replace(ALL, target="objectives")],
    ids=["joint", "frozen-below", "local", "blocks", "end-to-end"],
)
def test_work_falls_with_the_share_that_is_hidden(phase: Phase) -> None:
    """By the blocks of every encoder on the tokens that are left out."""

    def cost(level: float) -> int:
        how = replace(HOW, corruption_level=(level, 0.0, 0.0), **IMAGE)
        return update_flops(build(stack_spec(), SHAPE), phase, how, images=4)

    def block(n: int) -> int:
        """A block on n tokens of each of 4 images."""
        return 4 * 2 * (n * 12 * WIDTH**2 + 2 * n * n * WIDTH)

    # there, and back in stages that learn
    times = 3 + 2 * (phase.trainable[1] - phase.trainable[0] + 1)
    whole = cost(0.0)
    assert whole - cost(0.75) == times * (block(16) - block(4))
    assert whole - cost(0.5) == times * (block(16) - block(8))


def test_what_is_budgeted_is_what_an_update_costs() -> None:
    phase, how = replace(LOCAL, trainable=(1, 2)), replace(HOW, corruption_level=(0.75, 0.0), **IMAGE)
    spec = RunSpec("local-simultaneous", stack=stack_spec(2), optimisation=how, budget=Budget(1, unit="updates"))
    assert phase_cost(spec, SHAPE, phase, 4).update.flop == update_flops(build(spec.stack, SHAPE), phase, how, images=4)


@pytest.mark.parametrize("policy", [name for name in POLICIES if not needs_equal_stages(name)])
def test_every_policy_trains_them(policy: str) -> None:
    how = replace(HOW, patience=2 if needs_patience(policy) else None, **IMAGE)
    trains(RunSpec(policy, stack=stack_spec(), optimisation=replace(how, objectives={"image": 1.0, "input": 0.5})))
