"""Whole phases against plain PyTorch loops, bit for bit."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked import StackedAutoencoder
from stacked.components.corruption import masking
from stacked.data.order import Order
from stacked.runtime.rng import generator, seeded
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.codes import StoredInputs, inputs
from stacked.training.fit import fit
from tests.helpers.phases import (
    ALONE,
    CLASSES_2,
    IMAGES,
    LABELS,
    MASKED,
    PIXELS_3,
    PLAIN,
    SEED,
    STAGE_2,
    TOP_TWO,
    stack_of,
    with_batch_norm,
)
from tests.helpers.runs import same_weights

# Whole phases, bit for bit


def train(
    stack: StackedAutoencoder, phase: Phase, how: Optimisation, codes: str = "recompute", **more: Any
) -> list[Any]:
    order = Order(len(IMAGES), how.batch_size, SEED)
    reads = inputs(
        stack.learn_only(*phase.trainable).eval(), phase.input_depth, StoredInputs(IMAGES), codes, order.size
    )
    targets = {"input": None, "pixels": StoredInputs(IMAGES), "labels": lambda index: LABELS[index]}[phase.target]
    return list(fit(stack, phase, reads, how, order=order, seed=SEED, targets=targets, **more))


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
    train(ours, replace(PIXELS_3, updates=12), replace(MASKED, recalibrate=False), codes)

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
    assert same_weights(ours, plain)
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
    assert same_weights(ours, plain)


def test_a_rate_decay_of_1_is_one_rate_for_all() -> None:
    runs = []
    for gradual in (True, False):
        stack = with_batch_norm()
        train(stack, replace(TOP_TWO, updates=5, layerwise_lr_decay=gradual), replace(PLAIN, rate_decay=1.0))
        runs.append(stack)
    assert same_weights(*runs)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_the_first_of_simultaneous_stages_is_the_first_greedy_one(level: float) -> None:
    """Over training, with the same corruption: what is above gives it no gradient."""
    how = replace(PLAIN, corruption_level=(level,))
    together, one = (stack_of(9, 6, 4, activation="relu") for _ in range(2))
    train(together, replace(ALONE, updates=12), how)
    train(one, Phase("stage 1", (1, 1), 0, 12), how)
    assert same_weights(together.stages[0], one.stages[0])
    assert not same_weights(together.stages[1], one.stages[1])


def test_the_second_of_simultaneous_stages_is_a_greedy_one_where_the_first_stands_still() -> None:
    together, one = (stack_of(9, 6, activation="relu") for _ in range(2))
    with torch.no_grad():
        for stack in (together, one):
            for p in stack.stages[0].parameters():
                p.zero_()  # a code of zeros, and no gradient to it through rectifiers that are off
            stack.stages[0].get_parameter("encoder.1.bias").fill_(-1.0)
    train(together, replace(ALONE, trainable=(1, 2), updates=6), PLAIN)
    train(one, replace(STAGE_2, updates=6), PLAIN)
    assert same_weights(together.stages[1], one.stages[1])


def test_a_supervised_phase_trains_its_head_and_drops_it() -> None:
    ours, plain = with_batch_norm(), with_batch_norm()
    how = replace(MASKED, weight_decay=0.01, recalibrate=False)
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
    assert same_weights(ours, plain)
    assert set(ours.state_dict()) == set(before)
    for name, value in ours.state_dict().items():  # decoders are as they were, in spite of the weight decay
        assert torch.equal(value, before[name]) != name.startswith("stages.1.encoder."), name
