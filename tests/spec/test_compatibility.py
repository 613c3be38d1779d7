"""What cannot be trained is refused when a spec is made, in a line that says what to do; its neighbour is accepted, and runs."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from stacked import InputError, RunSpec, StackSpec
from stacked.components.corruption import CORRUPTIONS
from stacked.components.objectives import LOSSES
from stacked.components.penalties import PENALTIES
from stacked.components.winner_take_all import WINNERS
from stacked.model.stack import build
from stacked.spec import Classification, Optimisation, StageSpec
from stacked.spec.growth import POLICIES
from stacked.stages import kinds
from stacked.stages.activations import ACTIVATIONS
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.policies import makes_updates
from tests.helpers.splits import toy_splits

#: words of an error message that say what to do
ADVICE = ("give ", "use ", "choose from ", "leave ")

CONV = StackSpec.of("conv", 4, 6)
DENSE = StackSpec.of("dense", 6, 4)
SIGMOID = StackSpec.of("dense", 6, 4, activation="sigmoid")
MIXED = StackSpec((StageSpec("conv", 4), StageSpec("dense", 6), StageSpec("dense", 4)))


def of(kind: str, **more: Any) -> StackSpec:
    return StackSpec.of(kind, 8, 8, **more)


#: rectified codes, and a decoder of the pixels without an activation
LINEAR = of("dense", output="linear")


def spec(policy: str = "greedy", stack: StackSpec = CONV, **how: Any) -> RunSpec:
    return RunSpec(policy, stack=stack, optimisation=Optimisation(**how))


#: (what is refused, the message, what is accepted): the two differ in as little as they can
PAIRS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"policy": "joint", "stack": of("conv", output="linear"), "loss": "bce"},
        "loss 'bce' cannot be used in phase 'joint', which reconstructs by a linear decoder: use 'mse' there, or the decoder "
        "activation sigmoid",
        {"policy": "joint", "stack": of("conv", output="sigmoid"), "loss": "bce"},
    ),
    (
        {"policy": "joint", "stack": of("dense", output="relu"), "loss": "bce"},
        "loss 'bce' cannot be used in phase 'joint', which reconstructs by a relu decoder: use 'mse' there, or the decoder "
        "activation sigmoid",
        {"policy": "joint", "stack": of("dense", output="relu", decoder="sigmoid"), "loss": "bce"},
    ),
    (  # a sigmoid decoder does not make the codes it restores probabilities
        {"stack": of("conv", decoder="sigmoid"), "loss": "bce"},
        "loss 'bce' cannot be used in phase 'stage 2', which reconstructs values of a relu activation, which leave [0, 1]: "
        "use 'mse' there, or the activation sigmoid below",
        {"stack": of("conv", decoder="sigmoid"), "loss": "bce", "policy": "greedy-pixels"},
    ),
    (
        {"stack": of("conv", activation="linear", decoder="softplus")},
        "a softplus decoder cannot restore what stage 2 reads in phase 'stage 2', values of a linear activation: choose from "
        "linear",
        {"stack": of("conv", activation="linear", decoder="softplus"), "policy": "joint"},
    ),
    (
        {"stack": of("dense", decoder="tanh"), "policy": "joint-local"},
        "a tanh decoder cannot restore what stage 2 reads in phase 'joint', values of a relu activation: choose from relu, "
        "softplus, linear",
        {"stack": of("dense", activation="sigmoid", decoder="tanh"), "policy": "joint-local"},
    ),
    (
        {"stack": of("dense", activation="tanh"), "loss": "bce"},
        "loss 'bce' cannot be used in phase 'stage 2', which reconstructs values of a tanh activation, which leave [0, 1]: "
        "use 'mse' there, or the activation sigmoid below",
        {"stack": of("dense", activation="sigmoid"), "loss": "bce"},
    ),
    (  # nor do codes in [0, 1] make the decoder's values so
        {
            "stack": StackSpec((StageSpec("dense", 6, "sigmoid"), StageSpec("dense", 4, decoder="linear"))),
            "loss": "bce",
        },
        "loss 'bce' cannot be used in phase 'stage 2', which reconstructs by a linear decoder: use 'mse' there, or the "
        "decoder activation sigmoid",
        {"stack": StackSpec((StageSpec("dense", 6, "sigmoid"), StageSpec("dense", 4))), "loss": "bce"},
    ),
    (  # local losses are asked at every depth, a joint one at the pixels alone
        {"policy": "joint-local", "stack": CONV, "loss": "bce"},
        "loss 'bce' cannot be used in phase 'joint', which reconstructs values of a relu activation, which leave [0, 1]: use "
        "'mse' there, or the activation sigmoid below",
        {"policy": "joint", "stack": CONV, "loss": "bce"},
    ),
    (
        {"policy": "simultaneous", "stack": CONV, "loss": "bce"},
        "loss 'bce' cannot be used in phase 'simultaneous', which reconstructs values of a relu activation, which leave "
        "[0, 1]: use 'mse' there, or the activation sigmoid below",
        {"policy": "simultaneous", "stack": CONV, "loss": ("bce", "mse")},
    ),
    (  # pixel targets are pixels at any depth
        {"policy": "greedy", "stack": CONV, "loss": "bce"},
        "loss 'bce' cannot be used in phase 'stage 2', which reconstructs values of a relu activation, which leave [0, 1]: "
        "use 'mse' there, or the activation sigmoid below",
        {"policy": "greedy-pixels+unfreeze", "stack": CONV, "loss": "bce"},
    ),
    (
        {"stack": CONV, "loss": ("mse", "softplus-quadratic")},
        "loss 'softplus-quadratic' cannot be used in phase 'stage 2', which reconstructs by a relu decoder: use 'mse' there, "
        "or the decoder activation softplus",
        {"stack": of("conv", decoder="softplus"), "loss": "softplus-quadratic"},
    ),
    (
        {"stack": of("conv", activation="sigmoid"), "loss": "ssim-l1"},
        "loss 'ssim-l1' cannot be used in phase 'stage 2', which reconstructs codes: it is for pixels, use 'mse' there",
        {"policy": "greedy-pixels", "stack": of("conv", activation="sigmoid"), "loss": "ssim-l1"},
    ),
    (
        {"policy": "joint", "loss": "ssim-l1", "corruption_level": 0.2, "emphasis": (1.0, 0.5)},
        "emphasis cannot weight loss 'ssim-l1' element by element: use 'mse'",
        {"policy": "joint", "loss": "l1", "corruption_level": 0.2, "emphasis": (1.0, 0.5)},
    ),
    (
        {"policy": "converge+finetune"},
        "phase 'stage 1' ends when it has converged, and nothing says when that is: give a patience, or use policy 'greedy'",
        {"policy": "converge+finetune", "patience": 1},
    ),
    (
        {"policy": "greedy-pixels", "corruption_level": 0.2, "emphasis": (1.0, 0.5)},
        "emphasis cannot be used in phase 'stage 2', which reconstructs something else than what is corrupted: leave it out, "
        "or use another policy",
        {"policy": "joint-local", "corruption_level": 0.2, "emphasis": (1.0, 0.5)},
    ),
    (
        {"corruption_level": (0.2, 0.0), "emphasis": (1.0, 0.0)},
        "emphasis (1.0, 0.0) leaves nothing to learn in phase 'stage 2', which does not corrupt what stage 2 reads: give a "
        "level above 0 there, or a second weight above 0",
        {"corruption_level": (0.2, 0.0), "emphasis": (1.0, 0.1)},
    ),
    (
        {"policy": "simultaneous", "corruption_level": (0.2, 0.0), "emphasis": (1.0, 0.0)},
        "emphasis (1.0, 0.0) leaves nothing to learn in phase 'simultaneous', which does not corrupt what stage 2 reads: give "
        "a level above 0 there, or a second weight above 0",
        {"policy": "joint", "corruption_level": (0.2, 0.0), "emphasis": (1.0, 0.0)},
    ),
    (
        {"stack": CONV, "linear_decoder": True},
        "linear_decoder is for dense stages, and stage 1 is a conv stage: leave it out, or give that stage the decoder "
        "activation linear",
        {"stack": CONV, "policy": "joint-local", "linear_decoder": True},  # no phase in which a stage learns alone
    ),
    (
        {"stack": SIGMOID, "linear_decoder": True, "loss": "bce"},
        "loss 'bce' cannot be used in phase 'stage 1', which reconstructs through a linear decoder: use 'mse' or 'l1' there",
        {"stack": LINEAR, "linear_decoder": True, "loss": ("l1", "mse")},
    ),
    (  # also where the pixels that are restored are those that are read
        {"stack": SIGMOID, "policy": "greedy-pixels", "linear_decoder": True, "loss": "bce"},
        "loss 'bce' cannot be used in phase 'stage 1', which reconstructs through a linear decoder: use 'mse' or 'l1' there",
        {"stack": LINEAR, "policy": "greedy-pixels", "linear_decoder": True},
    ),
    (
        {"stack": DENSE, "linear_decoder": True},
        "linear_decoder leaves out an activation that changes all values, sigmoid in phase 'stage 1': give that stage the "
        "decoder activation linear or relu",
        {"stack": LINEAR, "linear_decoder": True},
    ),
    (
        {"winners": "lifetime", "patience": 2},
        "patience watches the loss of the whole code, which winners do not train: leave one of them out",
        {"winners": "lifetime"},
    ),
    (
        {"policy": "supervised", "winners": "lifetime"},
        "winners 'lifetime' has no effect where only classes are learned: leave it out, or use a policy that reconstructs",
        {"policy": "supervised+finetune", "winners": "lifetime"},
    ),
    (
        {"policy": "supervised", "emphasis": (1.0, 0.5)},
        "emphasis (1.0, 0.5) has no effect where only classes are learned: leave it out, or use a policy that reconstructs",
        {"policy": "supervised+finetune", "emphasis": (1.0, 0.5)},
    ),
    (
        {"policy": "supervised", "stack": LINEAR, "linear_decoder": True},
        "linear_decoder True has no effect where only classes are learned: leave it out, or use a policy that reconstructs",
        {"policy": "greedy", "stack": LINEAR, "linear_decoder": True},
    ),
    (
        {"stack": MIXED, "policy": "simultaneous", "linear_decoder": True},
        "linear_decoder is for dense stages, and stage 1 is a conv stage: leave it out, or give that stage the decoder "
        "activation linear",
        {"stack": LINEAR, "policy": "simultaneous", "linear_decoder": True},
    ),
    *(
        (
            {"stack": of(kind), "penalties": {"contractive": 0.1}},
            f"penalty 'contractive' cannot be used on stage 1, a {kind} stage: its closed form is that of a dense stage "
            f"without norm, not of a {kind} stage; use 'contractive-estimate'",
            {"stack": of(kind), "penalties": {"contractive-estimate": 0.1}},
        )
        for kind in ("conv", "conv-pool", "residual", "transformer")
    ),
    (
        {"stack": of("dense", norm="batch"), "penalties": {"contractive": 0.1}},
        "penalty 'contractive' cannot be used on stage 1, a dense stage: its closed form is that of a dense stage without "
        "norm, not of a stage with norm 'batch'; use 'contractive-estimate'",
        {"stack": of("dense", norm="none"), "penalties": {"contractive": 0.1}},
    ),
    (
        {"stack": DENSE, "penalties": {"kl": 0.1}},
        "penalty 'kl' cannot be used on stage 1, a dense stage: it needs a code in (0, 1), not that of activation 'relu'; use "
        "activation 'sigmoid', or penalty 'l1'",
        {"stack": SIGMOID, "penalties": {"kl": 0.1}},
    ),
    (
        {
            "stack": StackSpec((StageSpec("dense", 6, "sigmoid"), StageSpec("dense", 4, "linear"))),
            "penalties": {"kl": 0.1},
        },
        "penalty 'kl' cannot be used on stage 2, a dense stage: it needs a code in (0, 1), not that of activation 'linear'; "
        "use activation 'sigmoid', or penalty 'l1'",
        {
            "stack": StackSpec((StageSpec("dense", 6, "sigmoid"), StageSpec("dense", 4, "linear"))),
            "penalties": {"l1": 0.1},
        },
    ),
    (
        {"stack": DENSE, "winners": "spatial"},
        "winners 'spatial' need maps, and stage 1 is a dense stage: use 'lifetime'",
        {"stack": DENSE, "winners": "lifetime"},
    ),
    (
        {"stack": MIXED, "winners": "spatial+lifetime"},
        "winners 'spatial+lifetime' need maps, and stage 2 is a dense stage: use 'lifetime'",
        {"stack": CONV, "winners": "spatial+lifetime"},
    ),
    (
        {"stack": DENSE, "corruption": "block-masking", "corruption_level": 0.2},
        "corruption 'block-masking' needs maps, and phase 'stage 2' corrupts the code of a dense stage: give it level 0 at "
        "that depth",
        {"stack": DENSE, "corruption": "block-masking", "corruption_level": (0.2, 0.0)},
    ),
    (
        {"stack": MIXED, "policy": "simultaneous", "corruption": "block-masking", "corruption_level": 0.2},
        "corruption 'block-masking' needs maps, and phase 'simultaneous' corrupts the code of a dense stage: give it level 0 "
        "at that depth",
        {"stack": MIXED, "policy": "joint", "corruption": "block-masking", "corruption_level": 0.2},
    ),
    (  # of a composition the part that needs maps is asked
        {
            "stack": MIXED,
            "corruption": "masking+block-masking",
            "corruption_level": ((0.2, 0.2), (0.2, 0.2), (0.2, 0.2)),
        },
        "corruption 'block-masking' needs maps, and phase 'stage 3' corrupts the code of a dense stage: give it level 0 at "
        "that depth",
        {
            "stack": MIXED,
            "corruption": "masking+block-masking",
            "corruption_level": ((0.2, 0.2), (0.2, 0.2), (0.2, 0.0)),
        },
    ),
    *(
        (
            {"stack": of("conv-pool", unpool=unpool), "policy": policy},
            f"phase {phase!r} decodes through frozen stage 1 from its code alone, which does not say where the maxima were: "
            "use unpool='nearest' there, or another policy",
            {"stack": of("conv-pool", unpool=unpool), "policy": neighbour},
        )
        for unpool in ("switches", "zeros")
        for policy, phase, neighbour in (
            ("greedy-pixels", "stage 2", "greedy+finetune"),
            ("greedy+unfreeze", "unfreezing 2-2", "progressive"),
        )
    ),
    (
        {"stack": of("conv-pool", unpool="switches"), "policy": "greedy-pixels"},
        "phase 'stage 2' decodes through frozen stage 1 from its code alone, which does not say where the maxima were: use "
        "unpool='nearest' there, or another policy",
        {
            "stack": StackSpec((StageSpec("conv", 8), StageSpec("conv-pool", 8, options=(("unpool", "switches"),)))),
            "policy": "greedy-pixels",
        },
    ),
]


def named(pair: Any) -> str:
    return pair[:60] if isinstance(pair, str) else ""


@pytest.mark.parametrize(("refused", "message", "accepted"), PAIRS, ids=named)
def test_a_combination_that_cannot_be_trained_is_refused_and_its_neighbour_is_not(
    refused: dict[str, Any], message: str, accepted: dict[str, Any]
) -> None:
    with pytest.raises(InputError) as error:
        spec(**refused)
    assert str(error.value) == message
    assert any(word in message for word in ADVICE)
    trains(spec(**accepted))


FIELDS: list[tuple[Any, str, Any]] = [
    (
        lambda: of("transformer", norm="batch"),
        "norm of a transformer stage 'batch' is not known: choose from layer",
        lambda: of("transformer", norm="layer"),
    ),
    (
        lambda: replace(MIXED, norm="instance"),
        "norm of a conv stage 'instance' is not known: choose from batch, group, layer, none",
        lambda: replace(MIXED, norm="group"),
    ),
    (
        lambda: of("residual", tied=True),
        "option of a residual stage 'tied' is not known: choose from blocks",
        lambda: of("conv-pool", tied=True),
    ),
    (
        lambda: of("transformer", tied=True),
        "option of a transformer stage 'tied' is not known: choose from patch, heads, blocks",
        lambda: of("transformer", heads=2),
    ),
    (  # what no image makes right is refused before there are any
        lambda: of("conv", kernel=4),
        "kernel 4 of a conv stage is not allowed: give an odd integer of at least 3",
        lambda: of("conv", kernel=5),
    ),
    (
        lambda: of("conv-pool", unpool="bogus"),
        "unpool of a conv-pool stage 'bogus' is not known: choose from nearest, zeros, switches",
        lambda: of("conv-pool", unpool="zeros"),
    ),
    (
        lambda: of("residual", blocks=0),
        "blocks of a residual stage 0 is not allowed: give an integer of at least 1",
        lambda: of("residual", blocks=1),
    ),
    (
        lambda: StageSpec("transformer", 6),
        "width 6 of a transformer stage with 4 heads is not allowed: give a multiple of 4, which the heads and the 4 parts of "
        "a position divide",
        lambda: StageSpec("transformer", 12),
    ),
    (
        lambda: StackSpec((StageSpec("dense", 16), StageSpec("conv", 4))),
        "a conv stage cannot read the vectors of a dense stage: use stages of another kind above it",
        lambda: StackSpec((StageSpec("conv", 4), StageSpec("dense", 16))),
    ),
    (
        lambda: of("dense", tied="no"),
        "tied 'no' of a dense stage is not allowed: give true or false",
        lambda: of("dense", tied=False),
    ),
    (
        lambda: of("conv", kernel=True),
        "kernel True of a conv stage is not allowed: give a whole number",
        lambda: of("conv", kernel=5),
    ),
    (
        lambda: of("conv", decoder="swish"),
        "decoder activation 'swish' is not known: choose from relu, sigmoid, tanh, softplus, linear",
        lambda: of("conv", decoder="softplus"),
    ),
    (
        lambda: of("conv", init="zeros"),
        "init 'zeros' is not known: choose from torch, uniform, xavier, he, orthogonal",
        lambda: of("conv", init="he"),
    ),
    (
        lambda: Optimisation(patience=0),
        "patience 0 is not allowed: give an integer of at least 1",
        lambda: Optimisation(patience=1),
    ),
    (
        lambda: Optimisation(check_every=0),
        "check_every 0 is not allowed: give an integer of at least 1",
        lambda: Optimisation(check_every=1),
    ),
    (
        lambda: Optimisation(labels=0),
        "labels 0 is not allowed: give an integer of at least 1",
        lambda: Optimisation(labels=10),
    ),
    (
        lambda: Optimisation(corruption_patch=0),
        "corruption_patch 0 is not allowed: give an integer of at least 1",
        lambda: Optimisation(corruption_patch=1),
    ),
    *(
        (
            lambda name=name: Optimisation(**{name: 0.0}),
            f"{name} 0.0 is not allowed: give a number above 0",
            lambda name=name: Optimisation(**{name: 1e-9}),
        )
        for name in ("clip", "local_weight", "rate_decay", "end_lr")
    ),
    (
        lambda: Optimisation(emphasis=(0.0, 0.0)),
        "emphasis (0.0, 0.0) is not allowed: give two weights of 0 or more, not both 0",
        lambda: Optimisation(emphasis=(0.0, 1.0)),
    ),
    (
        lambda: Optimisation(emphasis=(1.0, -0.5)),
        "emphasis (1.0, -0.5) is not allowed: give two weights of 0 or more, not both 0",
        lambda: Optimisation(emphasis=(1.0, 0.5)),
    ),
    (
        lambda: Optimisation(emphasis=(1.0,)),  # type: ignore[arg-type]
        "emphasis (1.0,) is not allowed: give two weights of 0 or more, not both 0",
        lambda: Optimisation(emphasis=[1.0, 0.5]),  # type: ignore[arg-type]
    ),
    (
        lambda: Optimisation(emphasis=(1.0, 0.5), corruption="gaussian"),
        "emphasis cannot tell what gaussian has hit, which hits all: leave one out",
        lambda: Optimisation(emphasis=(1.0, 0.5), corruption="block-masking"),
    ),
    (
        lambda: Optimisation(emphasis=(1.0, 0.5), corruption="masking+gaussian", corruption_level=((0.1, 0.1),)),
        "emphasis cannot tell what gaussian has hit, which hits all: leave one out",
        lambda: Optimisation(emphasis=(1.0, 0.5), corruption="masking+block-masking", corruption_level=((0.1, 0.1),)),
    ),
    (
        lambda: Optimisation(corruption="masking+gaussian", corruption_level=0.1),
        "corruption level (0.1,) does not fit 'masking+gaussian': give a number for each of 2 parts",
        lambda: Optimisation(corruption="masking+gaussian", corruption_level=((0.1, 3.0),)),
    ),
    (
        lambda: Optimisation(corruption="masking+gaussian", corruption_level=((1.1, 3.0),)),
        "corruption level 1.1 of masking is not allowed: give 0 to 1",
        lambda: Optimisation(corruption="gaussian+masking", corruption_level=((1.1, 1.0),)),
    ),
    (
        lambda: Optimisation(penalties={"l2": 0.1}),  # type: ignore[arg-type]
        f"penalty 'l2' is not known: choose from {', '.join(PENALTIES)}",
        lambda: Optimisation(penalties={"l1": 0.1}),  # type: ignore[arg-type]
    ),
    (
        lambda: Optimisation(penalties={"l1": 0.0}),  # type: ignore[arg-type]
        "weight of penalty 'l1' 0.0 is not allowed: give a number above 0",
        lambda: Optimisation(penalties={}),  # type: ignore[arg-type]
    ),
    (
        lambda: Optimisation(winners="all"),
        "winners 'all' is not known: choose from lifetime, spatial, spatial+lifetime",
        lambda: Optimisation(winners="lifetime"),
    ),
    (
        lambda: Optimisation(penalties=(("l1", 0.1), ("l1", 0.2))),
        "penalty 'l1' is not allowed twice: give it one weight",
        lambda: Optimisation(penalties=(("l1", 0.1), ("kl", 0.2))),
    ),
    (
        lambda: Optimisation(winners_rate=0.0),
        "winners_rate 0.0 is not allowed: give a number above 0, to 1",
        lambda: Optimisation(winners_rate=1.0),
    ),
    (
        lambda: Optimisation(winners_rate=1.5),
        "winners_rate 1.5 is not allowed: give a number above 0, to 1",
        lambda: Optimisation(winners_rate=0.5),
    ),
    (
        lambda: spec(stack=MIXED, loss=("mse", "mse")),
        "2 losses do not fit 3 stages: give one, or one for each",
        lambda: spec(stack=MIXED, loss=("mse", "l1", "mse")),
    ),
]


@pytest.mark.parametrize(("refused", "message", "accepted"), FIELDS, ids=named)
def test_a_value_that_has_no_meaning_is_refused_and_its_neighbour_is_not(
    refused: Any, message: str, accepted: Any
) -> None:
    with pytest.raises(InputError) as error:
        refused()
    assert str(error.value) == message
    assert any(word in message for word in ADVICE)
    accepted()


TOY = toy_splits(16)
PIXELS = TOY.train.images.float() / 255


def trains(what: RunSpec) -> None:
    """One update of each of its phases: a finite loss, whose gradient is finite and reaches each stage that learns."""
    stack = build(what.stack, (1, 12, 12))
    for phase in what.phases():
        if not phase.updates:
            continue
        stack.learn_only(*phase.trainable).train().zero_grad()
        objective = PhaseLoss(stack, phase, what.optimisation, classes=4)
        with torch.no_grad():
            read = stack.encode(PIXELS, phase.input_depth)
        target = {"input": None, "pixels": PIXELS, "labels": TOY.train.labels}[phase.target]
        loss = objective(read, target, 0)
        loss.backward()
        assert loss.isfinite(), phase.name
        for k, stage in enumerate(stack.stages, start=1):
            grads = [p.grad for p in stage.parameters() if p.grad is not None]
            assert bool(grads) == (phase.trainable[0] <= k <= phase.trainable[1]), phase.name
            assert all(grad.isfinite().all() for grad in grads), phase.name
        assert objective.of_examples(read, target).isfinite().all()


def drawn(number: int) -> dict[str, Any]:
    """Any combination of what can be combined, by its number."""
    dice = random.Random(number)
    stages = tuple(
        StageSpec(
            dice.choice(sorted(kinds()) if k == 0 else ["conv", "dense", "conv-pool"]),
            8,
            dice.choice(["sigmoid", *ACTIVATIONS]),
            decoder=dice.choice([None, None, *ACTIVATIONS]),
        )
        for k in range(2)
    )
    if not kinds()[stages[0].kind].maps:  # maps cannot follow vectors
        stages = (stages[0], replace(stages[1], kind="dense"))
    composed = dice.random() < 0.2
    names = dice.choice(list(CORRUPTIONS))
    level: Any = (0.2, dice.choice([0.0, 0.1])) if composed else dice.choice([0.0, 0.3])
    return {
        "policy": dice.choice([name for name in POLICIES if makes_updates(name)]),
        "stack": StackSpec(stages, output=dice.choice(["sigmoid", "sigmoid", "linear"])),
        "loss": (dice.choice(["mse", *LOSSES]), dice.choice(["mse", *LOSSES])),
        "corruption": f"masking+{names}" if composed else names,
        "corruption_level": (level, dice.choice([level, (0.0, 0.0) if composed else 0.0])),
        "penalties": {name: 0.01 for name in PENALTIES if dice.random() < 0.1},
        "winners": dice.choice([None, None, None, *WINNERS]),
        "emphasis": dice.choice([None, None, None, None, (1.0, 0.5), (1.0, 0.0)]),
        "linear_decoder": dice.random() < 0.2,
    }


@pytest.mark.parametrize("start", range(0, 320, 40))
def test_a_spec_that_exists_can_train_and_any_other_says_what_to_do(start: int) -> None:
    """Forty drawn combinations at a time."""
    accepted, said = 0, []
    for number in range(start, start + 40):
        try:
            made = spec(**drawn(number))
        except InputError as error:
            said.append(str(error))
            continue
        accepted += 1
        trains(made)
    assert 3 <= accepted <= 35
    for message in said:
        assert "\n" not in message
        assert any(word in message for word in ADVICE), message


def test_messages_of_other_parts_say_what_to_do_too() -> None:
    with pytest.raises(InputError, match="2 checks do not fit 1 updates: give fewer checks"):
        Classification(updates=1, checks=2)
