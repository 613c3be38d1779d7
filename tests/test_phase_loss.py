"""What a phase minimises: every kind of phase against a plain PyTorch loop, in value, gradient, and bit for bit over training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import toy_splits
from sklearn.decomposition import PCA
from torch import Tensor, nn

from stacked import StackedAutoencoder, StackSpec
from stacked.codes import Images, inputs
from stacked.corruption import gaussian, masking
from stacked.data.stream import Order
from stacked.fit import fit
from stacked.growth import POLICIES, Phase, Updates
from stacked.penalties import PENALTIES
from stacked.phase_loss import PhaseLoss
from stacked.rng import generator, seeded
from stacked.spec import Optimisation
from stacked.stack import build
from stacked.stages import Stage
from stacked.winners import lifetime

TOY = toy_splits()
IMAGES, LABELS = TOY.train.images, TOY.train.labels
SEED, STEP = 3, 11
PLAIN = Optimisation(batch_size=32, lr=1e-2)
MASKED = replace(PLAIN, corruption_level=(0.3,))

STAGE_2 = Phase("stage 2", (2, 2), 1, 1)
PIXELS_2 = Phase("stage 2", (2, 2), 1, 1, target="pixels")
PIXELS_3 = Phase("stage 3", (3, 3), 2, 1, target="pixels")
TOP_TWO = Phase("unfreezing 2-3", (2, 3), 1, 1, target="pixels", gradual=True)
ALONE = Phase("simultaneous", (1, 3), 0, 1, local="alone")
JOINT = Phase("joint", (1, 3), 0, 1)
LOCAL = Phase("joint", (1, 3), 0, 1, local="added")
CLASSES_2 = Phase("stage 2", (2, 2), 1, 1, target="labels")


def stack_of(*widths: int, kind: str = "dense", **options: Any) -> StackedAutoencoder:
    with seeded(0, "init"):
        return build(StackSpec.of(kind, *widths, **options), tuple(IMAGES.shape[1:]))


def sigmoid_stack() -> StackedAutoencoder:
    """Three dense stages of sigmoids on 12 x 12 pixels, in float64."""
    return stack_of(7, 5, 4, activation="sigmoid").double()


@pytest.fixture
def stack() -> StackedAutoencoder:
    return sigmoid_stack()


def pixels(n: int = 8) -> Tensor:
    return IMAGES[:n].double() / 255


# The plain autoencoder, in formulas of weights


def encoded(stage: Stage, x: Tensor) -> Tensor:
    layer: Any = stage.encoder[1]
    return torch.sigmoid(F.linear(x.flatten(1), layer.weight, layer.bias))


def decoded(stage: Stage, code: Tensor) -> Tensor:
    layer: Any = stage.decoder[0]
    return torch.sigmoid(F.linear(code, layer.weight, layer.bias)).view(-1, *stage.in_shape)


def codes_of(stack: StackedAutoencoder, x: Tensor) -> list[Tensor]:
    """[x, code 1, code 2, ...], without gradients."""
    found = [x]
    with torch.no_grad():
        for stage in stack.stages:
            found.append(encoded(stage, found[-1]))
    return found


def error(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean()


def noisy(x: Tensor, *place: int, level: float = 0.3) -> Tensor:
    return masking(x, level, generator(SEED, "corruption", STEP, *place)).x


def assert_is(
    stack: StackedAutoencoder,
    phase: Phase,
    how: Optimisation,
    clean: Tensor,
    plain: Callable[[Any], Tensor],
    reached: tuple[str, ...],
    target: Tensor | None = None,
) -> None:
    """The phase's loss is `plain` of the stages, and so is its gradient, which reaches parameters of these names alone."""
    twin = copy.deepcopy(stack).requires_grad_(True)
    stack.learn_only(*phase.learn).train()
    loss = PhaseLoss(stack, phase, how, seed=SEED)(clean, target, STEP)
    loss.backward()
    expected = plain(twin.stages)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    names = [name for name, _ in twin.named_parameters() if name.startswith(reached)]
    grads = dict(zip(names, torch.autograd.grad(expected, [twin.get_parameter(name) for name in names]), strict=True))
    for name, parameter in stack.named_parameters():
        if name not in grads:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
        torch.testing.assert_close(parameter.grad, grads[name], rtol=1e-10, atol=1e-16)


# One update of each kind of phase


@pytest.mark.parametrize(("how", "see"), [(PLAIN, lambda x: x), (MASKED, noisy)], ids=["clean", "masked"])
def test_greedy_reconstructs_the_clean_code_it_reads(
    how: Optimisation, see: Callable[[Tensor], Tensor], stack: StackedAutoencoder
) -> None:
    code = codes_of(stack, pixels())[1]
    assert_is(
        stack,
        STAGE_2,
        how,
        code,
        lambda stages: error(decoded(stages[1], encoded(stages[1], see(code))), code),
        ("stages.1.",),
    )


@pytest.mark.parametrize(("how", "see"), [(PLAIN, lambda x: x), (MASKED, noisy)], ids=["clean", "masked"])
def test_pixels_are_reconstructed_through_the_frozen_decoders(
    how: Optimisation, see: Callable[[Tensor], Tensor], stack: StackedAutoencoder
) -> None:
    """The target is another tensor than what is read, and the gradient reaches stage 3 alone."""
    code, target = codes_of(stack, pixels())[2], torch.rand(8, 1, 12, 12, dtype=torch.float64)

    def plain(stages: Any) -> Tensor:
        x = encoded(stages[2], see(code))
        for k in (2, 1, 0):
            x = decoded(stages[k], x)
        return error(x, target)

    assert_is(stack, PIXELS_3, how, code, plain, ("stages.2.",), target)


def test_the_first_stage_reconstructs_pixels_whichever_target_is_named(stack: StackedAutoencoder) -> None:
    x = pixels()
    losses = [
        PhaseLoss(stack, Phase("stage 1", (1, 1), 0, 1, target), MASKED)(x, given, STEP)
        for target, given in (("input", None), ("pixels", x))
    ]
    assert torch.equal(*losses)


@pytest.mark.parametrize("phase", [JOINT, Phase("stages 1-3", (1, 3), 0, 1)], ids=["joint", "progressive"])
def test_joint_and_progressive_reconstruct_clean_pixels_through_all_stages(
    phase: Phase, stack: StackedAutoencoder
) -> None:
    x = pixels()

    def plain(stages: Any) -> Tensor:
        code = noisy(x)
        for stage in stages:
            code = encoded(stage, code)
        for stage in reversed(stages):
            code = decoded(stage, code)
        return error(code, x)

    assert_is(stack, phase, MASKED, x, plain, ("stages.",))


def test_a_progressive_stack_knows_nothing_of_the_stages_to_come(stack: StackedAutoencoder) -> None:
    x = pixels()

    def plain(stages: Any) -> Tensor:
        return error(decoded(stages[0], decoded(stages[1], encoded(stages[1], encoded(stages[0], x)))), x)

    assert_is(stack, Phase("stages 1-2", (1, 2), 0, 1), PLAIN, x, plain, ("stages.0.", "stages.1."))


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_simultaneous_stages_learn_each_alone_on_the_clean_code_below(level: float, stack: StackedAutoencoder) -> None:
    """The gradient of each is that of training it alone; nothing comes from above. Corruption stops at the stage it hits."""
    x = pixels()
    clean = codes_of(stack, x)
    seen = [clean[0], clean[1], clean[2]]
    if level:
        seen = [noisy(clean[0]), noisy(clean[1], 2), noisy(clean[2], 3)]

    def plain(stages: Any) -> Tensor:
        return torch.stack([error(decoded(s, encoded(s, seen[k])), clean[k]) for k, s in enumerate(stages)]).sum()

    assert_is(stack, ALONE, replace(PLAIN, corruption_level=(level,)), x, plain, ("stages.",))
    for k in (1, 2, 3):
        one = sigmoid_stack().learn_only(k, k)
        error(decoded(one.stages[k - 1], encoded(one.stages[k - 1], seen[k - 1])), clean[k - 1]).backward()
        for mine, theirs in zip(stack.stages[k - 1].parameters(), one.stages[k - 1].parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_joint_local_adds_the_weighted_losses_of_all_stages(level: float, stack: StackedAutoencoder) -> None:
    """Each stage restores what it reads now, which is held still as a target; for the first that is the clean image."""
    how = replace(PLAIN, corruption_level=(level,), local_weight=0.7)
    x = pixels()

    def plain(stages: Any) -> Tensor:
        def see(code: Tensor, *place: int) -> Tensor:
            return noisy(code, *place) if level else code

        codes = [see(x)]
        for stage in stages:
            codes.append(encoded(stage, codes[-1]))
        output = codes[-1]
        for stage in reversed(stages):
            output = decoded(stage, output)
        total = error(output, x) + 0.7 * error(decoded(stages[0], encoded(stages[0], see(x))), x)
        for k in (2, 3):
            read = codes[k - 1]
            total = total + 0.7 * error(decoded(stages[k - 1], encoded(stages[k - 1], see(read, k))), read.detach())
        return total

    assert_is(stack, LOCAL, how, x, plain, ("stages.",))


def test_joint_local_without_weight_is_joint(stack: StackedAutoencoder) -> None:
    losses = [
        PhaseLoss(stack, phase, how)(pixels(), None, STEP)
        for phase, how in ((JOINT, PLAIN), (LOCAL, replace(PLAIN, local_weight=1e-300)))
    ]
    assert torch.equal(*losses)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_local_losses_leave_the_running_statistics_to_the_way_to_the_pixels(level: float) -> None:
    """Batch norms of decoders see a code and its reconstruction: in use they are to serve one of them, not the mean of both."""
    how = replace(PLAIN, corruption_level=(level, 0.3, 0.3))
    joint, local = with_batch_norm().train(), with_batch_norm().train()
    x = IMAGES[:32].float() / 255
    for each, phase in ((joint, JOINT), (local, LOCAL)):
        PhaseLoss(each, phase, how, seed=SEED)(x, None, STEP)
    fresh = dict(with_batch_norm().named_buffers())
    for (name, buffer), other in zip(joint.named_buffers(), local.buffers(), strict=True):
        assert torch.equal(buffer, other), name
        assert not torch.equal(buffer, fresh[name]), name
    assert {norm.momentum for norm in local.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}


@pytest.mark.parametrize("tied", [False, True])
def test_supervised_phases_learn_classes_by_a_head_of_their_own(tied: bool) -> None:
    stack = stack_of(7, 5, activation="sigmoid", tied=tied).double()
    code = codes_of(stack, pixels())[1]
    stack.learn_only(2, 2).train()
    before = torch.random.get_rng_state()
    objective = PhaseLoss(stack, CLASSES_2, MASKED, seed=SEED, classes=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    with seeded(SEED, "auxiliary head", 2):
        head = nn.Linear(5, 4)
    assert [name for name, _ in objective.named_parameters()] == ["head.weight", "head.bias"]
    assert objective.head is not None
    assert torch.equal(objective.head.weight, head.weight)

    objective.double()(code, LABELS[:8], STEP).backward()
    twin = copy.deepcopy(stack).stages[1]
    layer: Any = twin.encoder[1]
    F.cross_entropy(head.double()(encoded(twin, noisy(code))), LABELS[:8]).backward()
    for name, parameter in stack.named_parameters():
        reached = name.startswith("stages.1.encoder")
        assert (parameter.grad is not None) == reached, name  # no decoder learns, nor what is below
    for mine, theirs in [
        (stack.get_parameter("stages.1.encoder.1.weight"), layer.weight),
        (stack.get_parameter("stages.1.encoder.1.bias"), layer.bias),
        (objective.head.weight, head.weight),
        (objective.head.bias, head.bias),
    ]:
        assert mine.grad is not None
        assert mine.grad.any()
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=0)


# Whole phases, bit for bit


def with_batch_norm() -> StackedAutoencoder:
    return stack_of(4, 6, 8, kind="conv")


def train(
    stack: StackedAutoencoder, phase: Phase, how: Optimisation, codes: str = "recompute", **more: Any
) -> list[Any]:
    order = Order(len(IMAGES), how.batch_size, SEED)
    reads = inputs(stack.learn_only(*phase.learn).eval(), phase.reads, Images(IMAGES), codes, order.size)
    targets = {"input": None, "pixels": Images(IMAGES), "labels": lambda index: LABELS[index]}[phase.target]
    return list(fit(stack, phase, reads, how, order=order, seed=SEED, targets=targets, **more))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def batches(updates: int) -> Iterator[tuple[int, Tensor]]:
    """The first updates' numbers and indices, by hand."""
    for update in range(updates):
        permutation = torch.randperm(256, generator=generator(SEED, "order", update // 8))
        yield update, permutation[update % 8 * 32 :][:32]


@pytest.mark.parametrize("codes", ["recompute", "memory"])
def test_a_phase_on_pixels_equals_a_plain_loop_and_leaves_what_is_frozen(codes: str) -> None:
    """It reads the code of frozen stages, kept or not, and its targets are the images of the same indices."""
    ours, plain = with_batch_norm(), with_batch_norm()
    before = copy.deepcopy(ours.state_dict())
    train(ours, replace(PIXELS_3, updates=12), MASKED, codes)

    below, stage = [s.eval() for s in plain.stages[:2]], plain.stages[2].train()
    optimiser = torch.optim.Adam(stage.parameters(), lr=1e-2, fused=True)
    for update, index in batches(12):
        images = IMAGES[index].float() / 255
        with torch.no_grad():
            code = below[1].encoder(below[0].encoder(images))
        seen = masking(code, 0.3, generator(SEED, "corruption", update)).x
        output = below[0].decoder(below[1].decoder(stage.decoder(stage.encoder(seen))))
        loss = (output - images).square().flatten(1).mean(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert same(ours, plain)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(("stages.0.", "stages.1.")), name


def test_unfreezing_is_adam_with_a_rate_a_stage() -> None:
    """Pixels through the frozen decoder below, and the learning rate 2.6 times lower a stage down (Howard & Ruder 2018)."""
    how = replace(PLAIN, schedule="cosine", clip=0.05, weight_decay=0.01)
    ours, plain = with_batch_norm(), with_batch_norm()
    train(ours, replace(TOP_TWO, updates=12), how)

    frozen, middle, top = plain.stages
    frozen.freeze()
    optimiser = torch.optim.Adam(
        [{"params": middle.parameters()}, {"params": top.parameters()}], weight_decay=0.01, fused=True
    )
    for update, index in batches(12):
        images = IMAGES[index].float() / 255
        with torch.no_grad():
            code = frozen.encoder(images)
        code = top.encoder(middle.encoder(code))
        loss = (frozen.decoder(middle.decoder(top.decoder(code))) - images).square().flatten(1).mean(1).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*middle.parameters(), *top.parameters()], 0.05)
        lr = 1e-2 * 0.5 * (1 + math.cos(math.pi * update / 12))
        for group, factor in zip(optimiser.param_groups, (2.6**-1, 1.0), strict=True):
            group["lr"] = lr * factor
        optimiser.step()
    assert same(ours, plain)


def test_a_rate_decay_of_1_is_one_rate_for_all() -> None:
    runs = []
    for gradual in (True, False):
        stack = with_batch_norm()
        train(stack, replace(TOP_TWO, updates=5, gradual=gradual), replace(PLAIN, rate_decay=1.0))
        runs.append(stack)
    assert same(*runs)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_the_first_of_simultaneous_stages_is_the_first_greedy_one(level: float) -> None:
    """Over training, with the same corruption: what is above gives it no gradient."""
    how = replace(PLAIN, corruption_level=(level,))
    together, one = (stack_of(9, 6, 4, activation="relu") for _ in range(2))
    train(together, replace(ALONE, updates=12), how)
    train(one, Phase("stage 1", (1, 1), 0, 12), how)
    assert same(together.stages[0], one.stages[0])
    assert not same(together.stages[1], one.stages[1])


def test_the_second_of_simultaneous_stages_is_a_greedy_one_where_the_first_stands_still() -> None:
    together, one = (stack_of(9, 6, activation="relu") for _ in range(2))
    with torch.no_grad():
        for stack in (together, one):
            for p in stack.stages[0].parameters():
                p.zero_()  # a code of zeros, and no gradient to it through rectifiers that are off
            stack.stages[0].get_parameter("encoder.1.bias").fill_(-1.0)
    train(together, replace(ALONE, learn=(1, 2), updates=6), PLAIN)
    train(one, replace(STAGE_2, updates=6), PLAIN)
    assert same(together.stages[1], one.stages[1])


def test_a_supervised_phase_trains_its_head_and_drops_it() -> None:
    ours, plain = with_batch_norm(), with_batch_norm()
    how = replace(MASKED, weight_decay=0.01)
    before = copy.deepcopy(ours.state_dict())
    train(ours, replace(CLASSES_2, updates=12), how, classes=4)

    first, stage = plain.stages[0].eval(), plain.stages[1].train()
    with seeded(SEED, "auxiliary head", 2):
        head = nn.Linear(6 * 3 * 3, 4)
    optimiser = torch.optim.Adam([*stage.encoder.parameters(), *head.parameters()], 1e-2, weight_decay=0.01, fused=True)
    for update, index in batches(12):
        with torch.no_grad():
            code = first.encoder(IMAGES[index].float() / 255)
        seen = masking(code, 0.3, generator(SEED, "corruption", update)).x
        loss = F.cross_entropy(head(stage.encoder(seen).flatten(1)), LABELS[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert same(ours, plain)
    assert set(ours.state_dict()) == set(before)
    for name, value in ours.state_dict().items():  # decoders are as they were, in spite of the weight decay
        assert torch.equal(value, before[name]) != name.startswith("stages.1.encoder."), name


# What is added to the reconstruction


def test_emphasis_weights_what_was_hit(stack: StackedAutoencoder) -> None:
    x = pixels()
    hit = masking(x, 0.3, generator(SEED, "corruption", STEP)).hit
    assert hit is not None

    def plain(stages: Any) -> Tensor:
        squared = (decoded(stages[0], encoded(stages[0], noisy(x))) - x).square()
        return (1.5 * squared[hit].sum() + 0.25 * squared[~hit].sum()) / x.numel()

    assert_is(stack, Phase("1", (1, 1), 0, 1), replace(MASKED, emphasis=(1.5, 0.25)), x, plain, ("stages.0.",))


def test_equal_emphasis_scales_the_loss_and_1_is_none(stack: StackedAutoencoder) -> None:
    for phase in (JOINT, ALONE, LOCAL):
        one, half, none = (
            PhaseLoss(stack, phase, replace(MASKED, emphasis=emphasis))(pixels(), None, STEP)
            for emphasis in ((1.0, 1.0), (0.5, 0.5), None)
        )
        assert torch.equal(one, none)
        assert torch.equal(half, 0.5 * none)


def relu_stack(linear: bool) -> StackedAutoencoder:
    """The same weights, with the rectifier of the second decoder or without."""
    spec = StackSpec.of("dense", 7, 5, activation="relu")
    if linear:
        spec = replace(spec, stages=(spec.stages[0], replace(spec.stages[1], decoder="linear")))
    with seeded(0, "init"):
        return build(spec, (1, 12, 12)).double()


def test_a_linear_decoder_compares_before_the_activation_and_leaves_the_stack_as_it_is() -> None:
    how = replace(PLAIN, linear_decoder=True)
    stack, reference = relu_stack(False), relu_stack(True)
    code = codes_with_relu(stack, pixels())
    before = stack.stages[1](code)
    linear = PhaseLoss(stack, STAGE_2, how)(code, None, STEP)
    assert torch.equal(linear, PhaseLoss(reference, STAGE_2, PLAIN)(code, None, STEP))
    assert not torch.equal(linear, PhaseLoss(stack, STAGE_2, PLAIN)(code, None, STEP))
    assert torch.equal(stack.stages[1](code), before)
    assert isinstance(stack.stages[1].decoder[-1], nn.ReLU)
    assert torch.equal(stack.stages[1](code), reference.stages[1](code).relu())


def codes_with_relu(stack: StackedAutoencoder, x: Tensor) -> Tensor:
    with torch.no_grad():
        return stack.encode(x, 1)


@pytest.mark.parametrize(
    ("phase", "linear"),
    [
        (Phase("stage 1", (1, 1), 0, 1), True),
        (Phase("stage 1", (1, 1), 0, 1, target="pixels"), True),
        (replace(ALONE, learn=(1, 2)), True),
        (replace(LOCAL, learn=(1, 2)), False),
        (Phase("joint", (1, 2), 0, 1), False),
        (PIXELS_2, False),
        (Phase("stage 2, from pixels", (2, 2), 0, 1), False),
        (CLASSES_2, False),
    ],
    ids=lambda value: f"{value.name}-{value.target}-{value.local}" if isinstance(value, Phase) else str(value),
)
def test_linear_decoders_are_for_stages_that_learn_on_what_they_read(phase: Phase, linear: bool) -> None:
    assert phase.single == linear
    if phase.target == "labels":
        return
    stack = relu_stack(False)
    read = pixels() if phase.reads == 0 else codes_with_relu(stack, pixels())
    target = pixels() if phase.target == "pixels" else None
    plain, through = (
        PhaseLoss(stack, phase, h)(read, target, STEP) for h in (PLAIN, replace(PLAIN, linear_decoder=True))
    )
    assert torch.equal(plain, through) != linear


def test_early_stopping_watches_through_the_linear_decoder_too() -> None:
    stack, how = relu_stack(False), replace(PLAIN, linear_decoder=True)
    code = codes_with_relu(stack, pixels())
    watched = PhaseLoss(stack, STAGE_2, how).of_examples(code, None)
    torch.testing.assert_close(watched.mean(), PhaseLoss(stack, STAGE_2, how)(code, None, STEP), rtol=1e-14, atol=0)


def test_cross_entropy_from_logits_is_that_of_the_probabilities(stack: StackedAutoencoder) -> None:
    x = pixels()

    def plain(stages: Any) -> Tensor:
        output = x
        for stage in stages:
            output = encoded(stage, output)
        for stage in reversed(stages):
            output = decoded(stage, output)
        return F.binary_cross_entropy(output, x)

    assert_is(stack, JOINT, replace(PLAIN, loss=("bce",)), x, plain, ("stages.",))


def test_each_depth_has_its_own_loss(stack: StackedAutoencoder) -> None:
    how, code = replace(PLAIN, loss=("mse", "l1", "bce")), codes_of(stack, pixels())[1]
    assert_is(
        stack,
        STAGE_2,
        how,
        code,
        lambda stages: (decoded(stages[1], encoded(stages[1], code)) - code).abs().mean(),
        ("stages.1.",),
    )


def penalised(stages: Any, reads: list[Tensor], codes: list[Tensor], at: list[int], how: Optimisation) -> Tensor:
    """The weighted sum of all penalties of these stages, from their definitions."""
    total = torch.zeros((), dtype=torch.float64)
    for k in at:
        for name, weight in how.penalties:
            drawn = generator(SEED, name, STEP, k)
            total = total + weight * PENALTIES[name].of(stages[k - 1], reads[k - 1], codes[k - 1], drawn)
    return total


TERMS = {"l1": 0.1, "kl": 0.2, "orthogonality": 0.3, "weight-decay": 0.01}
GRADIENT = {"contractive-estimate": 0.05}


@pytest.mark.parametrize("terms", [TERMS, {"contractive": 0.02}, GRADIENT, TERMS | GRADIENT], ids=lambda t: "+".join(t))
@pytest.mark.parametrize(
    ("phase", "at"),
    [
        (STAGE_2, [2]),
        (TOP_TWO, [2, 3]),
        (JOINT, [1, 2, 3]),
        (LOCAL, [1, 2, 3]),
        (Phase("stage 2, from pixels", (2, 2), 0, 1), [2]),
    ],
)
def test_penalties_are_added_on_every_learning_stage(
    phase: Phase, at: list[int], terms: dict[str, float], stack: StackedAutoencoder
) -> None:
    """Of the codes of what was seen, corrupted as it is."""
    plain, how = MASKED, replace(MASKED, penalties=tuple(terms.items()))
    stack.learn_only(*phase.learn).train()
    x = codes_of(stack, pixels())[phase.reads]
    target = pixels() if phase.target == "pixels" else None
    twin = copy.deepcopy(stack).requires_grad_(True)
    loss = PhaseLoss(stack, phase, how, seed=SEED)(x, target, STEP)
    loss.backward()

    bare = PhaseLoss(twin, phase, plain, seed=SEED)(x, target, STEP)
    reads, code = [torch.empty(0)] * phase.reads, noisy(x).requires_grad_()
    codes = list(reads)
    for stage in twin.stages[phase.reads : phase.depth]:
        reads.append(code)
        code = encoded(stage, code)
        codes.append(code)
    expected = bare + penalised(twin.stages, reads, codes, at, how)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    expected.backward()
    for (name, mine), theirs in zip(stack.named_parameters(), twin.parameters(), strict=True):
        if mine.requires_grad:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-14, msg=name)
        else:
            assert mine.grad is None


def test_penalties_of_simultaneous_stages_stay_with_their_stage(stack: StackedAutoencoder) -> None:
    how = replace(PLAIN, penalties=(("l1", 0.5), ("contractive-estimate", 0.1)))
    x = pixels()

    def plain(stages: Any) -> Tensor:
        clean = codes_of(stack, x)[:3]
        reads = [code.clone().requires_grad_() for code in clean]
        codes = [encoded(stage, code) for stage, code in zip(stages, reads, strict=True)]
        errors = [error(decoded(s, code), c) for s, code, c in zip(stages, codes, clean, strict=True)]
        return torch.stack(errors).sum() + penalised(stages, reads, codes, [1, 2, 3], how)

    assert_is(stack, ALONE, how, x, plain, ("stages.",))


@pytest.mark.parametrize("phase", [STAGE_2, Phase("2-3", (2, 3), 1, 1), replace(JOINT, learn=(1, 2))])
def test_decoders_see_the_winners_of_the_deepest_code_alone(phase: Phase, stack: StackedAutoencoder) -> None:
    how = replace(PLAIN, winners="lifetime", winners_rate=0.3)
    x = codes_of(stack, pixels())[phase.reads]
    first, last = phase.reads, phase.depth

    def plain(stages: Any) -> Tensor:
        code = x
        for stage in stages[first:last]:
            code = encoded(stage, code)
        kept = lifetime(code, 0.3)
        assert ((kept != 0).sum(0) == 3).all()  # 0.3 * 8, rounded up
        for stage in reversed(stages[first:last]):
            kept = decoded(stage, kept)
        return error(kept, x)

    reached = tuple(f"stages.{k}." for k in range(first, last))
    assert_is(stack, phase, how, x, plain, reached)


@pytest.mark.parametrize("phase", [ALONE, LOCAL])
def test_winners_are_of_every_code_that_is_trained_on_its_own_input_or_the_deepest(
    phase: Phase, stack: StackedAutoencoder
) -> None:
    how = replace(PLAIN, winners="lifetime", winners_rate=0.3)
    x = pixels()

    def plain(stages: Any) -> Tensor:
        codes = [x]
        for stage in stages:
            codes.append(encoded(stage, codes[-1].detach() if phase is ALONE else codes[-1]))
        top = lifetime(codes[3], 0.3)
        below = [lifetime(code, 0.3) if phase is ALONE else code for code in codes[1:3]]
        total = torch.zeros((), dtype=torch.float64)
        for k, code in ((1, below[0]), (2, below[1]), (3, top)):
            total = total + error(decoded(stages[k - 1], code), codes[k - 1].detach())
        if phase is LOCAL:
            output = top
            for stage in reversed(stages):
                output = decoded(stage, output)
            total = total + error(output, x)
        return total

    assert_is(stack, phase, how, x, plain, ("stages.",))


def test_winners_are_for_training_alone(stack: StackedAutoencoder) -> None:
    """Codes, reconstructions and what early stopping watches are those of the whole code."""
    x = pixels()
    how = replace(PLAIN, winners="lifetime", winners_rate=0.3)
    before = stack.encode(x), stack(x)
    with_winners, without = (PhaseLoss(stack, JOINT, h) for h in (how, PLAIN))
    assert not torch.equal(with_winners(x, None, STEP), without(x, None, STEP))
    assert torch.equal(with_winners.of_examples(x, None), without.of_examples(x, None))
    assert torch.equal(stack.encode(x), before[0])
    assert torch.equal(stack(x), before[1])


# What arms share


@contextmanager
def seen_by(stage: Stage) -> Iterator[list[Tensor]]:
    """What its encoder was given."""
    seen: list[Tensor] = []
    hook = stage.encoder[0].register_forward_pre_hook(lambda _, words: seen.append(words[0].detach().clone()))
    yield seen
    hook.remove()


@pytest.mark.parametrize("name", ["masking", "masking+gaussian"])
def test_whatever_the_policy_the_same_update_is_corrupted_alike(name: str, stack: StackedAutoencoder) -> None:
    level: Any = 0.3 if name == "masking" else (0.3, 0.1)
    how, x = replace(PLAIN, corruption=name, corruption_level=(level,)), pixels()
    readers = [
        phase
        for policy in ("greedy", "greedy-pixels", "progressive", "simultaneous", "supervised", "joint", "joint-local")
        for phase in POLICIES[policy](3, Updates((1, 1, 1), 1))
        if phase.reads == 0
    ]
    assert len(readers) == 9
    found = []
    for phase in readers:
        objective = PhaseLoss(stack, phase, how, seed=SEED, classes=4).double()
        target = {"input": None, "pixels": x, "labels": LABELS[:8]}[phase.target]
        with seen_by(stack.stages[0]) as seen:
            objective(x, target, STEP)
            first = seen[0]
            objective(x, target, STEP + 1)
        assert not torch.equal(seen[-1], first)
        found.append(first)
    expected = noisy(x)
    if name == "masking+gaussian":
        drawn = generator(SEED, "corruption", STEP)
        expected = gaussian(masking(x, 0.3, drawn).x, 0.1, drawn).x
    for one in found:
        assert torch.equal(one, expected)
    assert not torch.equal(expected, x)


def test_each_depth_of_simultaneous_training_draws_its_own_corruption() -> None:
    """Were it one draw, equal shapes would be masked alike."""
    stack = stack_of(9, 9, 9, activation="sigmoid").double()
    with seen_by(stack.stages[1]) as second, seen_by(stack.stages[2]) as third:
        PhaseLoss(stack, ALONE, MASKED, seed=SEED)(pixels(32), None, STEP)
    masks = second[0] == 0, third[0] == 0
    assert all(0.2 < mask.double().mean() < 0.4 for mask in masks)
    assert not torch.equal(*masks)


# What early stopping watches


WATCHED = [STAGE_2, PIXELS_2, PIXELS_3, TOP_TWO, ALONE, JOINT, CLASSES_2, Phase("1", (1, 1), 0, 1)]


@pytest.mark.parametrize("loss", ["mse", "bce", "l1"])
@pytest.mark.parametrize("phase", WATCHED, ids=lambda p: f"{p.name}-{p.target}-{p.local}")
def test_the_watched_loss_is_the_trained_one_without_all_that_is_for_training(
    phase: Phase, loss: str, stack: StackedAutoencoder
) -> None:
    stack.learn_only(*phase.learn)
    clean = codes_of(stack, pixels())[phase.reads]
    target = {"input": None, "pixels": pixels(), "labels": LABELS[:8]}[phase.target]
    emphasis = (1.0, 0.5) if phase.restores == phase.reads else None
    plain, busy = (
        PhaseLoss(stack, phase, how, seed=SEED, classes=4).double()
        for how in (
            replace(PLAIN, loss=(loss,)),
            replace(MASKED, loss=(loss,), penalties=(("l1", 1.0),), winners="lifetime", emphasis=emphasis),
        )
    )
    each = plain.of_examples(clean, target)
    assert each.shape == (8,)
    torch.testing.assert_close(each.mean(), plain(clean, target, STEP), rtol=1e-12, atol=0)
    assert torch.equal(busy.of_examples(clean, target), each)
    assert not torch.equal(busy(clean, target, STEP), plain(clean, target, STEP))
    one = plain.of_examples(clean[2:3], None if target is None else target[2:3])
    torch.testing.assert_close(one, each[2:3], rtol=1e-12, atol=0)


def test_local_losses_that_are_added_are_not_watched(stack: StackedAutoencoder) -> None:
    watched = [PhaseLoss(stack, phase, PLAIN).of_examples(pixels(), None) for phase in (LOCAL, JOINT)]
    assert torch.equal(*watched)


# The exact linear targets, by policy


@pytest.fixture(scope="module")
def linear_data() -> tuple[Tensor, dict[int, float]]:
    """200 centred examples of 12 values, and PCA's error by components."""
    g = np.random.default_rng(0)
    x = g.normal(size=(200, 12)) @ np.diag(np.linspace(2, 0.4, 12)) @ np.linalg.qr(g.normal(size=(12, 12)))[0]
    x -= x.mean(0)
    errors = {}
    for k in (3, 6):
        pca = PCA(k).fit(x)
        errors[k] = float(np.square(pca.inverse_transform(pca.transform(x)) - x).mean())
    return torch.from_numpy(x), errors


def minimised(policy: str, tied: bool, seed: int, x: Tensor) -> tuple[StackedAutoencoder, list[float]]:
    """Two linear stages, 12-6-3, each phase of the policy at its optimum (float64, full batch, L-BFGS), and the losses there."""
    with seeded(seed, "init"):
        spec = StackSpec.of("dense", 6, 3, activation="linear", output="linear", tied=tied)
        stack = build(spec, (12,)).double()
    optima = []
    for phase in POLICIES[policy](2, Updates((1, 1), 1)):
        stack.learn_only(*phase.learn)
        with torch.no_grad():
            reads = stack.encode(x, phase.reads)
        objective = PhaseLoss(stack, phase, PLAIN)
        optimiser = torch.optim.LBFGS(
            [p for p in stack.parameters() if p.requires_grad],
            max_iter=5000,
            max_eval=20000,
            tolerance_grad=1e-14,
            tolerance_change=1e-18,
            history_size=50,
            line_search_fn="strong_wolfe",
        )

        def closure(optimiser: Any = optimiser, objective: Any = objective, reads: Tensor = reads) -> Tensor:
            optimiser.zero_grad()
            loss = objective(reads, x if objective.phase.target == "pixels" else None, 0)
            loss.backward()
            return loss

        for _ in range(3):
            optimiser.step(closure)
        optima.append(closure().item())
    return stack, optima


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("policy", ["greedy-pixels", "progressive", "joint"])
def test_linear_stages_that_restore_pixels_are_pca(
    policy: str, tied: bool, seed: int, linear_data: tuple[Tensor, dict[int, float]]
) -> None:
    """Pixel targets undo what makes greedy stages worse than PCA where they are untied.

    At its optimum stage 1 encodes A U^T x and decodes U A^-1 z, U the first six axes and A any invertible matrix. Through that
    decoder stage 2 gives U A^-1 D E A U^T x, and A^-1 (D E) A is any matrix of rank 3 where D and E are free: the error is that
    of PCA(3), whatever A is. A tied stage 1 has an orthogonal A, and there E^T E is the projection that is needed.
    """
    x, pca = linear_data
    stack, optima = minimised(policy, tied, seed, x)
    if policy != "joint":
        assert optima[0] == pytest.approx(pca[6], abs=1e-10)
    assert optima[-1] == pytest.approx(pca[3], abs=1e-10)
    assert (stack(x) - x).square().mean().item() == pytest.approx(pca[3], abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_linear_greedy_stages_are_pca_where_tied_and_worse_where_not(
    seed: int, linear_data: tuple[Tensor, dict[int, float]]
) -> None:
    x, pca = linear_data
    tied, untied = ((minimised("greedy", t, seed, x)[0](x) - x).square().mean().item() for t in (True, False))
    assert tied == pytest.approx(pca[3], abs=1e-10)
    assert untied > pca[3] * 1.005
