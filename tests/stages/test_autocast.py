"""Training inside of torch.autocast: every stage, loss and penalty follows it, and parameters keep their own precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stacked import AutoEncoder224, StackSpec
from stacked.model.stack import StackedAutoencoder, build
from stacked.runtime.rng import seeded
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.stages import kinds
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.phases import ALONE, IMAGES, JOINT, LABELS, LOCAL, SEED, STEP

TWO = Phase("stages 1-2", (1, 2), 0, 1)
PHASES = {
    "stage 1": Phase("stage 1", (1, 1), 0, 1),
    "stage 2": Phase("stage 2", (2, 2), 1, 1),
    "pixels": Phase("stage 2", (2, 2), 1, 1, target="pixels"),
    "labels": Phase("stage 2", (2, 2), 1, 1, target="labels"),
    "joint": Phase(JOINT.name, (1, 2), 0, 1),
    "local": Phase(LOCAL.name, (1, 2), 0, 1, local_loss="added"),
    "alone": Phase(ALONE.name, (1, 2), 0, 1, local_loss="alone"),
}
HOWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "masked": {"corruption_level": (0.3,)},
    "noise": {"corruption": "salt-and-pepper+gaussian", "corruption_level": ((0.2, 0.1),)},
    "l1": {"loss": "l1"},
    "bce": {"loss": ("bce", "mse")},
    "penalties": {"penalties": {"l1": 0.1, "orthogonality": 0.1, "weight-decay": 0.1}},
    "winner_take_all": {"winner_take_all": "lifetime", "winner_take_all_rate": 0.5},
}
ITS_OWN: dict[str, list[dict[str, Any]]] = {
    "dense": [{}, {"tied": True}, {"norm": "batch"}],
    "conv": [{}, {"tied": True}, {"norm": "group"}],
    "conv-pool": [{"unpool": unpool} for unpool in ("nearest", "zeros", "switches")],
}
#: What corrupts the input or is the loss of the output knows no options of a stage: the first of a kind's is enough.
OF_A_KIND = {"masked", "noise", "l1", "bce"}
CASES = [
    pytest.param(kind, options, how, id=f"{kind}-{options}-{how}")
    for kind in sorted(kinds())
    for number, options in enumerate(ITS_OWN.get(kind, [{}]))
    for how in HOWS
    if not number or how not in OF_A_KIND
]


def gradients(
    stack: StackedAutoencoder, phase: Phase, how: Optimisation, dtype: torch.dtype | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and the gradients of what learns from it by name, inside of autocast to `dtype`."""
    stack.learn_only(*phase.trainable).train()
    objective = PhaseLoss(stack, phase, how, seed=SEED, classes=4)
    images = IMAGES[:16].float() / 255
    with torch.no_grad():
        read = stack.encode(images, phase.input_depth)
    target = {"labels": LABELS[:16], "pixels": images}.get(phase.target)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        loss = objective(read, target, STEP)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in stack.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("kind", "options", "how"), CASES)
def test_every_update_can_be_made_inside_of_it(kind: str, options: dict[str, Any], how: str) -> None:
    with seeded(0, "init"):
        stack = build(StackSpec.of(kind, 8, 8, **options), tuple(IMAGES.shape[1:]))
    for name, phase in PHASES.items():
        if name == "pixels" and options.get("unpool", "nearest") != "nearest":
            continue  # such decoders need more than a code
        found = []
        for dtype in (None, torch.bfloat16):
            stack.zero_grad()
            found.append(gradients(stack, phase, Optimisation(**HOWS[how]), dtype))
        (exact, there), (loss, here) = found
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, exact, rtol=0.1, atol=0.01)
        assert here.keys() == there.keys()
        assert {grad.dtype for grad in here.values()} == {torch.float32}
        assert all(grad.isfinite().all() for grad in here.values())


def test_the_reference_stack_is_in_it_what_torchs_layers_are() -> None:
    with seeded(0, "init"):
        stack = AutoEncoder224((3, 32, 32))
    ours = nn.Sequential(*stack.encoder, *stack.decoder).train()
    plain = nn.Sequential(*map(torchs, ours)).train()
    images = torch.rand(4, 3, 32, 32)
    for dtype in (torch.bfloat16, torch.float16):
        found = []
        for model in (ours, plain):
            model.zero_grad()
            with torch.autocast("cpu", dtype):
                output = model(images)
            output.float().square().mean().backward()
            found.append([output, *(p.grad for p in model.parameters() if p.dim() == 4)])
        for mine, theirs in zip(*found, strict=True):
            assert mine is not None
            assert theirs is not None
            torch.testing.assert_close(mine, theirs)


def torchs(layer: nn.Module) -> nn.Module:
    """The layer, a convolution as torch's own with the same weights."""
    if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        return layer
    kind = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.ConvTranspose2d
    more = {} if kind is nn.Conv2d else {"output_padding": layer.output_padding}
    other = kind(layer.in_channels, layer.out_channels, 3, 2, 1, **more)
    other.load_state_dict(layer.state_dict())
    return other
