"""A value of a field that has no meaning is refused when it is given, in a line that says what to do; its neighbour is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stacked import InputError, StackSpec
from stacked.components.penalties import PENALTIES
from stacked.spec import Classification, Optimisation, StageSpec
from tests.helpers.trainable import ADVICE, MIXED, named, of, spec

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
        "option of a residual stage 'tied' is not known; did you mean 'stride'? Choose from blocks, stride",
        lambda: of("conv-pool", tied=True),
    ),
    (
        lambda: of("transformer", tied=True),
        "option of a transformer stage 'tied' is not known: choose from patch, heads, blocks, visible_only, residual",
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
        "width 6 of a transformer stage with 4 heads is not allowed: give a multiple of 4, which both the heads and the 4 "
        "parts of the position encoding divide",
        lambda: StageSpec("transformer", 12),
    ),
    (
        lambda: StackSpec((StageSpec("dense", 16), StageSpec("conv", 4))),
        "a conv stage needs maps and cannot read the vectors of a dense stage: use stages of another kind above it",
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
        "decoder activation 'swish' is not known: choose from relu, sigmoid, tanh, scaled-tanh, softplus, "
        "saturating-linear, linear",
        lambda: of("conv", decoder="softplus"),
    ),
    (
        lambda: of("conv", init="zeros"),
        "init 'zeros' is not known: choose from torch, uniform, xavier, he, orthogonal, sparse",
        lambda: of("conv", init="sparse"),
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
        "emphasis cannot be used with corruption gaussian, which changes every element: leave one of them out",
        lambda: Optimisation(emphasis=(1.0, 0.5), corruption="block-masking"),
    ),
    (
        lambda: Optimisation(emphasis=(1.0, 0.5), corruption="masking+gaussian", corruption_level=((0.1, 0.1),)),
        "emphasis cannot be used with corruption gaussian, which changes every element: leave one of them out",
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
        lambda: Optimisation(penalties={"l1": (0.1, -0.1)}),  # type: ignore[arg-type]
        "weights (0.1, -0.1) of penalty 'l1' are not allowed: give 0 or more for each stage, not 0 for all",
        lambda: Optimisation(penalties={"l1": (0.1, 0.0)}),  # type: ignore[arg-type]
    ),
    (
        lambda: Optimisation(penalties={"l1": [0, 0]}),  # type: ignore[arg-type]
        "weights (0, 0) of penalty 'l1' are not allowed: give 0 or more for each stage, not 0 for all",
        lambda: Optimisation(penalties={"l1": [0, 1]}),  # type: ignore[arg-type]
    ),
    (
        lambda: Optimisation(lr=(0.1, 0.0)),
        "learning rate 0.0 is not allowed: give a number above 0",
        lambda: Optimisation(lr=(0.1, 0.2)),
    ),
    (
        lambda: Optimisation(lr=()),
        "lr () is not allowed: give one value, or one for each stage",
        lambda: Optimisation(lr=(0.1,)),
    ),
    (
        lambda: Optimisation(end_lr=(0.1, -1.0)),
        "end_lr -1.0 is not allowed: give a number above 0",
        lambda: Optimisation(end_lr=(0.1, 1.0)),
    ),
    (
        lambda: Optimisation(batch_size=(32, 0)),
        "batch_size 0 is not allowed: give an integer of at least 1",
        lambda: Optimisation(batch_size=(32, 1)),
    ),
    (
        lambda: Optimisation(end_batch_size=0),
        "end_batch_size 0 is not allowed: give an integer of at least 1",
        lambda: Optimisation(end_batch_size=1),
    ),
    (
        lambda: Optimisation(sparsity_target=(0.1, 1.0)),
        "sparsity_target 1.0 is not allowed: give a number between 0 and 1",
        lambda: Optimisation(sparsity_target=(0.1, 0.9)),
    ),
    *(
        (
            lambda given=given: spec(stack=MIXED, **given),
            f"2 {what} do not fit 3 stages: give one, or one for each",
            lambda given=given: spec(
                stack=MIXED, **{name: 3 * (value[0],) for name, value in given.items() if name != "penalties"}
            ),
        )
        for what, given in (
            ("learning rates", {"lr": (0.1, 0.2)}),
            ("end_lr", {"end_lr": (0.1, 0.2)}),
            ("batch sizes", {"batch_size": (8, 16)}),
            ("sparsity targets", {"sparsity_target": (0.1, 0.2)}),
            ("weights of penalty 'l1'", {"penalties": {"l1": (0.1, 0.2)}}),
        )
    ),
    *(
        (
            lambda given=given: Optimisation("lbfgs", **given),
            message,
            lambda given=given: Optimisation("sgd", **given),
        )
        for given, message in (
            (
                {"clip": 1.0},
                "clip cannot be used with optimiser 'lbfgs', whose line search needs the gradient of the loss: leave it out",
            ),
            (
                {"weight_decay": 0.1},
                "weight_decay cannot be used with optimiser 'lbfgs', whose line search sees the loss alone: use penalty "
                "'weight-decay'",
            ),
            (
                {"on_nonfinite": "skip-batch"},
                "on_nonfinite 'skip-batch' cannot be used with optimiser 'lbfgs', whose line search evaluates a batch more "
                "than once: use 'stop' or 'rollback'",
            ),
        )
    ),
    *(
        (
            lambda name=name: Optimisation(name, nesterov=True),
            f"nesterov True has no effect on optimiser {name!r}: leave it out, or use optimiser 'sgd'",
            lambda: Optimisation("sgd", nesterov=True),
        )
        for name in ("adam", "adamw", "lbfgs")
    ),
    (
        lambda: Optimisation("sgd", momentum=0.0, nesterov=True),
        "nesterov True needs a momentum above 0: give one, or leave nesterov out",
        lambda: Optimisation("sgd", momentum=1e-9, nesterov=True),
    ),
    (
        lambda: Optimisation("sgd", nesterov=1),  # type: ignore[arg-type]
        "nesterov 1 is not allowed: give True or False",
        lambda: Optimisation("sgd", nesterov=True),
    ),
    (
        lambda: Optimisation(staleness=-1),
        "staleness -1 is not allowed: give an integer of at least 0",
        lambda: Optimisation(staleness=0),
    ),
    (
        lambda: Optimisation("lbfgs", staleness=1),
        "staleness cannot be used with optimiser 'lbfgs', whose line search changes the codes of a batch: leave it out",
        lambda: Optimisation("lbfgs", staleness=0),
    ),
    (
        lambda: Optimisation(staleness=1, on_nonfinite="skip-batch"),
        "staleness 1 cannot be used with on_nonfinite 'skip-batch', because the codes of batches left out would be read later: "
        "use 'stop' or 'rollback'",
        lambda: Optimisation(staleness=1, on_nonfinite="rollback"),
    ),
    (
        lambda: Optimisation(lbfgs_iterations=0),
        "lbfgs_iterations 0 is not allowed: give an integer of at least 1",
        lambda: Optimisation(lbfgs_iterations=1),
    ),
    (
        lambda: Optimisation(winner_take_all="all"),
        "winner_take_all 'all' is not known: choose from lifetime, spatial, spatial+lifetime",
        lambda: Optimisation(winner_take_all="lifetime"),
    ),
    (
        lambda: Optimisation(penalties=(("l1", 0.1), ("l1", 0.2))),
        "penalty 'l1' is not allowed twice: give it one weight",
        lambda: Optimisation(penalties=(("l1", 0.1), ("kl", 0.2))),
    ),
    (
        lambda: Optimisation(winner_take_all_rate=0.0),
        "winner_take_all_rate 0.0 is not allowed: give a number above 0, to 1",
        lambda: Optimisation(winner_take_all_rate=1.0),
    ),
    (
        lambda: Optimisation(winner_take_all_rate=1.5),
        "winner_take_all_rate 1.5 is not allowed: give a number above 0, to 1",
        lambda: Optimisation(winner_take_all_rate=0.5),
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
    assert any(word in message.lower() for word in ADVICE)
    accepted()


def test_messages_of_other_parts_say_what_to_do_too() -> None:
    with pytest.raises(InputError, match="2 checks do not fit 1 updates: give fewer checks"):
        Classification(updates=1, checks=2)
