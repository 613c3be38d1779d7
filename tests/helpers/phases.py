"""What the tests of phases share: small stacks, phases of each kind, and the plain autoencoder in formulas of weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stacked import StackedAutoencoder, StackSpec
from stacked.components.corruption import masking
from stacked.model.stack import build
from stacked.runtime.rng import generator, seeded
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.stages import Stage
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.splits import toy_splits

TOY = toy_splits()
IMAGES, LABELS = TOY.train.inputs, TOY.train.labels
SEED, STEP = 3, 11
PLAIN = Optimisation(batch_size=32, lr=1e-2)
MASKED = replace(PLAIN, corruption_level=(0.3,))

STAGE_2 = Phase("stage 2", (2, 2), 1, 1)
PIXELS_2 = Phase("stage 2", (2, 2), 1, 1, target="pixels")
PIXELS_3 = Phase("stage 3", (3, 3), 2, 1, target="pixels")
TOP_TWO = Phase("unfreezing 2-3", (2, 3), 1, 1, target="pixels", layerwise_lr_decay=True)
ALONE = Phase("simultaneous", (1, 3), 0, 1, local_loss="alone")
JOINT = Phase("joint", (1, 3), 0, 1)
LOCAL = Phase("joint", (1, 3), 0, 1, local_loss="added")
CLASSES_2 = Phase("stage 2", (2, 2), 1, 1, target="labels")


def stack_of(*widths: int, kind: str = "dense", **options: Any) -> StackedAutoencoder:
    with seeded(0, "init"):
        return build(StackSpec.of(kind, *widths, **options), tuple(IMAGES.shape[1:]))


def sigmoid_stack() -> StackedAutoencoder:
    """Three dense stages of sigmoids on 12 x 12 pixels, in float64."""
    return stack_of(7, 5, 4, activation="sigmoid").double()


def with_batch_norm() -> StackedAutoencoder:
    return stack_of(4, 6, 8, kind="conv")


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
    stack.learn_only(*phase.trainable).train()
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
