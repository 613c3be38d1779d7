"""What cannot be trained is refused when a spec is made, in a line that says what to do; its neighbour is accepted, and runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stacked import Classification, InputError, RunSpec, StackSpec
from stacked.spec import StageSpec
from tests.helpers.trainable import ADVICE, CONV, DENSE, LINEAR, MIXED, SIGMOID, named, of, spec, trains

VISIBLE = StackSpec.of("transformer", 8, 8, visible_only=True)
#: the second stage leaves out what the first one does
TOKENS = StackSpec(
    tuple(StageSpec("transformer", 8, options=(("patch", patch), ("visible_only", True))) for patch in (2, 1))
)
HIDDEN_ONLY = {"objectives": {"image": 1.0}, "objective_options": {"image.hidden_only": True}}
MASKED_TOKENS: dict[str, Any] = {
    "policy": "simultaneous",
    "stack": TOKENS,
    "corruption": "patch-masking",
    "corruption_patch": 2,
    "corruption_level": (0.5, 0.0),
}
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
        "phase 'stage 1' ends when it has converged, and the spec does not say when that is: give a patience, or use policy "
        "'greedy'",
        {"policy": "converge+finetune", "patience": 1},
    ),
    (
        {"policy": "greedy-pixels", "corruption_level": 0.2, "emphasis": (1.0, 0.5)},
        "emphasis cannot be used in phase 'stage 2', whose target is not the clean version of its corrupted input: leave it "
        "out, or use another policy",
        {"policy": "joint-local", "corruption_level": 0.2, "emphasis": (1.0, 0.5)},
    ),
    (
        {"corruption_level": (0.2, 0.0), "emphasis": (1.0, 0.0)},
        "emphasis (1.0, 0.0) leaves phase 'stage 2' nothing to learn, because the input of stage 2 is not corrupted there: "
        "give a corruption level above 0 at that depth, or a second weight above 0",
        {"corruption_level": (0.2, 0.0), "emphasis": (1.0, 0.1)},
    ),
    (
        {"policy": "simultaneous", "corruption_level": (0.2, 0.0), "emphasis": (1.0, 0.0)},
        "emphasis (1.0, 0.0) leaves phase 'simultaneous' nothing to learn, because the input of stage 2 is not corrupted "
        "there: give a corruption level above 0 at that depth, or a second weight above 0",
        {"policy": "joint", "corruption_level": (0.2, 0.0), "emphasis": (1.0, 0.0)},
    ),
    (  # the block that reads clean codes restores nothing
        {
            "policy": "local-simultaneous",
            "corruption_level": (0.2, 0.0),
            "emphasis": (1.0, 0.0),
            "objectives": {"input": (1.0, 1.0), "labels": (0.0, 1.0)},
        },
        "emphasis (1.0, 0.0) leaves phase 'simultaneous' nothing to learn, because the input of stage 2 is not corrupted "
        "there: give a corruption level above 0 at that depth, or a second weight above 0",
        {
            "policy": "local-simultaneous",
            "corruption_level": (0.2, 0.0),
            "emphasis": (1.0, 0.0),
            "objectives": {"input": (1.0, 0.0), "labels": (0.0, 1.0)},
        },
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
        "linear_decoder cannot leave out the activation sigmoid in phase 'stage 1': give that stage the decoder activation "
        "linear or relu",
        {"stack": LINEAR, "linear_decoder": True},
    ),
    (
        {"winner_take_all": "lifetime", "patience": 2},
        "patience watches the loss of the full code, which winner_take_all does not train: leave one of them out",
        {"winner_take_all": "lifetime"},
    ),
    (
        {"policy": "supervised", "winner_take_all": "lifetime"},
        "winner_take_all 'lifetime' has no effect where only classes are learned: leave it out, or use a policy that "
        "reconstructs",
        {"policy": "supervised+finetune", "winner_take_all": "lifetime"},
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
            f"penalty 'contractive' cannot be used on stage 1, a {kind} stage: its closed form holds for a dense stage "
            f"without norm, not for a {kind} stage; use 'contractive-estimate'",
            {"stack": of(kind), "penalties": {"contractive-estimate": 0.1}},
        )
        for kind in ("conv", "conv-pool", "residual", "transformer")
    ),
    (
        {"stack": of("dense", norm="batch"), "penalties": {"contractive": 0.1}},
        "penalty 'contractive' cannot be used on stage 1, a dense stage: its closed form holds for a dense stage without "
        "norm, not for a stage with norm 'batch'; use 'contractive-estimate'",
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
    (  # a penalty with weight 0 for a stage is none there
        {
            "stack": StackSpec((StageSpec("dense", 6, "sigmoid"), StageSpec("dense", 4, "linear"))),
            "penalties": {"kl": (0.1, 0.2)},
        },
        "penalty 'kl' cannot be used on stage 2, a dense stage: it needs a code in (0, 1), not that of activation 'linear'; "
        "use activation 'sigmoid', or penalty 'l1'",
        {
            "stack": StackSpec((StageSpec("dense", 6, "sigmoid"), StageSpec("dense", 4, "linear"))),
            "penalties": {"kl": (0.1, 0.0)},
        },
    ),
    (
        {"stack": of("dense", norm="batch"), "batch_size": (4, 1)},
        "batch_size 1 cannot be used with norm 'batch' on stage 2, a dense stage, because a batch norm needs more than one "
        "value per unit: give 2 or more, or another norm",
        {"stack": of("dense", norm="batch"), "batch_size": (4, 2)},
    ),
    (
        {"stack": DENSE, "policy": "joint", "optimiser": "lbfgs", "lr": (0.1, 0.2)},
        "optimiser 'lbfgs' has one step length for all weights, and phase 'joint' has a learning rate for each stage: give one "
        "learning rate, and use '+finetune' instead of '+unfreeze'",
        {"stack": DENSE, "policy": "greedy", "optimiser": "lbfgs", "lr": (0.1, 0.2)},
    ),
    (
        {"stack": DENSE, "policy": "greedy+unfreeze", "optimiser": "lbfgs"},
        "optimiser 'lbfgs' has one step length for all weights, and phase 'unfreezing 2-2' has a learning rate for each stage: "
        "give one learning rate, and use '+finetune' instead of '+unfreeze'",
        {"stack": DENSE, "policy": "greedy+finetune", "optimiser": "lbfgs"},
    ),
    (
        {"stack": DENSE, "winner_take_all": "spatial"},
        "winner_take_all 'spatial' needs maps, and stage 1 is a dense stage: use 'lifetime'",
        {"stack": DENSE, "winner_take_all": "lifetime"},
    ),
    (
        {"stack": MIXED, "winner_take_all": "spatial+lifetime"},
        "winner_take_all 'spatial+lifetime' needs maps, and stage 2 is a dense stage: use 'lifetime'",
        {"stack": CONV, "winner_take_all": "spatial+lifetime"},
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
    (
        {"stack": VISIBLE, "corruption": "block-masking", "corruption_level": 0.5, "corruption_patch": 2},
        "phase 'stage 1' corrupts the input of stage 1, a transformer stage with visible_only, by 'block-masking' with "
        "corruption_patch 2: use corruption 'patch-masking', which hides the same number of blocks in every image, once, with "
        "corruption_patch 2",
        {"stack": VISIBLE, "corruption": "patch-masking", "corruption_level": 0.5, "corruption_patch": 2},
    ),
    (
        {"stack": VISIBLE, "corruption": "patch-masking", "corruption_level": 0.5, "policy": "joint"},
        "phase 'joint' corrupts the input of stage 1, a transformer stage with visible_only, by 'patch-masking' with "
        "corruption_patch 4: use corruption 'patch-masking', which hides the same number of blocks in every image, once, with "
        "corruption_patch 2",
        {"stack": VISIBLE, "corruption": "block-masking", "corruption_level": 0.0, "policy": "joint"},
    ),
    (
        {
            "stack": TOKENS,
            "corruption": "patch-masking",
            "corruption_level": 0.5,
            "corruption_patch": 2,
            "policy": "simultaneous",
        },
        "phase 'simultaneous' corrupts the input of stage 2, a transformer stage with visible_only, by 'patch-masking' with "
        "corruption_patch 2: use corruption 'patch-masking', which hides the same number of blocks in every image, once, with "
        "corruption_patch 1, or level 0 at that depth, to leave out what the stage below leaves out",
        {
            "stack": TOKENS,
            "corruption": "patch-masking",
            "corruption_level": (0.5, 0.0),
            "corruption_patch": 2,
            "policy": "simultaneous",
        },
    ),
    (
        {"stack": of("transformer", patch=1), "policy": "local", **HIDDEN_ONLY},
        "objective 'image' cannot be used on stage 1, a transformer stage, by the loss of hidden patches alone: it leaves none "
        "out; give it the option visible_only, or leave hidden_only out",
        {"stack": VISIBLE, "policy": "local", **HIDDEN_ONLY},
    ),
    (
        {"stack": VISIBLE, "policy": "local-images", "loss": ("ssim-l1", "mse"), **HIDDEN_ONLY},
        "objective 'image' cannot be used on stage 1, a transformer stage, by the loss of hidden patches alone: loss 'ssim-l1' "
        "is not one of single values; use 'mse' for the images",
        {"stack": VISIBLE, "policy": "local-images", "loss": ("ssim-l1", "mse"), "objectives": {"image": 1.0}},
    ),
    (
        {"policy": "local", "objectives": {"image": 1.0}, "objective_options": {"image.blocks": 1}, "stack": DENSE},
        "objective 'image' cannot be used on stage 1, a dense stage: its code is a vector, without positions for transformer "
        "blocks: leave blocks out",
        {"policy": "local", "objectives": {"image": 1.0}, "objective_options": {"image.blocks": 1}, "stack": CONV},
    ),
    *(
        (
            {"stack": of("conv-pool", unpool=unpool), "policy": policy},
            f"phase {phase!r} decodes a code through frozen stage 1, whose decoder also needs the positions of the maxima: "
            "use unpool='nearest' there, or another policy, such as 'greedy-images'",
            {"stack": of("conv-pool", unpool=unpool), "policy": neighbour},
        )
        for unpool in ("switches", "zeros")
        for policy, phase, neighbour in (
            ("greedy-pixels", "stage 2", "greedy-images"),
            ("greedy+unfreeze", "unfreezing 2-2", "progressive"),
        )
    ),
    (
        {"stack": of("conv-pool", unpool="switches"), "policy": "greedy-pixels"},
        "phase 'stage 2' decodes a code through frozen stage 1, whose decoder also needs the positions of the maxima: use "
        "unpool='nearest' there, or another policy, such as 'greedy-images'",
        {
            "stack": StackSpec((StageSpec("conv", 8), StageSpec("conv-pool", 8, options=(("unpool", "switches"),)))),
            "policy": "greedy-pixels",
        },
    ),
    (
        {"policy": "simultaneous", "stack": StackSpec.of("conv", 4), "staleness": 2},
        "staleness 2 has no effect in phase 'simultaneous', which trains a single block: leave it out, or use smaller blocks",
        {"policy": "simultaneous", "stack": CONV, "staleness": 2},
    ),
    (
        {**MASKED_TOKENS, "staleness": 1},
        "staleness 1 cannot be used with stage 2, which leaves out what was hidden from the stage below in the same update: "
        "leave out staleness, or visible_only",
        MASKED_TOKENS,
    ),
]


@pytest.mark.parametrize(("refused", "message", "accepted"), PAIRS, ids=named)
def test_a_combination_that_cannot_be_trained_is_refused_and_its_neighbour_is_not(
    refused: dict[str, Any], message: str, accepted: dict[str, Any]
) -> None:
    with pytest.raises(InputError) as error:
        spec(**refused)
    assert str(error.value) == message
    assert any(word in message for word in ADVICE)
    trains(spec(**accepted))


BLOCKS = Classification(corruption="block-masking", corruption_level=0.3)


@pytest.mark.parametrize("policy", ["greedy", "supervised", "random"])
def test_a_corruption_of_maps_is_refused_for_classifiers_that_read_vectors(policy: str) -> None:
    with pytest.raises(InputError) as error:
        RunSpec(policy, stack=DENSE, classification=replace(BLOCKS, encoder="frozen"))
    assert str(error.value) == (
        "corruption 'block-masking' needs maps, and phase 'classifier' corrupts the code of a dense stage: give it level 0 at "
        "that depth"
    )
    for stack, recipe in (
        (DENSE, BLOCKS),  # which corrupts the images
        (DENSE, replace(BLOCKS, encoder="frozen", labels=())),
        (DENSE, replace(BLOCKS, encoder="frozen", corruption_level=0.0)),
        (CONV, replace(BLOCKS, encoder="frozen")),
    ):
        RunSpec(policy, stack=stack, classification=recipe)
