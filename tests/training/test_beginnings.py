"""Stages that a phase adds begin as copies or as the identity, and those that cannot are refused with the spec."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch

from stacked import Budget, InputError, RunSpec, StackSpec, pretrain
from stacked.cost.phase_cost import kind_of, phase_cost
from stacked.model.stack import StackedAutoencoder, build
from stacked.runtime.rng import seeded
from stacked.spec import Optimisation, StageSpec
from stacked.spec.beginnings import copied_stage
from stacked.stages import kinds
from stacked.stages.initialise import copy_weights, make_identity
from stacked.stages.stage import Stage
from stacked.training.codes import StoredInputs
from stacked.training.examples import Examples
from stacked.training.prepare import prepare_phase
from tests.helpers.phases import IMAGES
from tests.helpers.trainable import trains

SHAPE = tuple(IMAGES.shape[1:])
#: a stage that reads the images, and two that keep the shape of its code
TRUNKS: dict[str, StackSpec] = {
    **{
        f"residual, {norm}, {blocks}": StackSpec(
            (
                StageSpec("conv", 6),
                *[StageSpec("residual", 6, options=(("stride", 1), ("blocks", blocks)))] * 2,
            ),
            norm=norm,
        )
        for norm, blocks in (("batch", 1), ("group", 2), ("layer", 1), ("none", 2))
    },
    "residual, linear": StackSpec(
        (
            StageSpec("conv", 6, "linear"),
            *[StageSpec("residual", 6, "linear", (("stride", 1), ("blocks", 2)))] * 2,
        )
    ),
    "transformer": StackSpec(
        (
            StageSpec("transformer", 8, "linear", (("patch", 4),)),
            *[StageSpec("transformer", 8, "linear", (("patch", 1), ("residual", True), ("blocks", 2)))] * 2,
        )
    ),
    "visible patches": StackSpec(
        (
            StageSpec("transformer", 8, options=(("patch", 4), ("visible_only", True))),
            *[StageSpec("transformer", 8, options=(("patch", 1), ("residual", True), ("visible_only", True)))] * 2,
        )
    ),
    "dense": StackSpec.of("dense", 9, 9, 9),
    "dense, residual": StackSpec((StageSpec("dense", 9), *[StageSpec("dense", 9, options=(("residual", True),))] * 2)),
    "dense, tied": StackSpec(
        (StageSpec("dense", 9), *[StageSpec("dense", 9, options=(("residual", True), ("tied", True)))] * 2),
        norm="batch",
    ),
    "saturating": StackSpec(
        (
            StageSpec("dense", 9, "saturating-linear"),
            *[StageSpec("dense", 9, "saturating-linear", (("residual", True),))] * 2,
        )
    ),
}
RESIDUAL = [name for name in TRUNKS if name != "dense"]
#: parameters of a residual block of 6 channels, and of a transformer block of width 8
BLOCK, LAYER = 2 * (6 * 6 * 9 + 6) + 2 * 2 * 6, 12 * 8**2 + 13 * 8


def spec(policy: str, stack: StackSpec, **more: Any) -> RunSpec:
    return RunSpec(
        policy,
        stack=stack,
        budget=Budget((3.0,), 3.0, "updates"),
        optimisation=Optimisation(batch_size=16, lr=1e-2),
        **more,
    )


@cache
def begun(name: str) -> StackedAutoencoder:
    """The stack after the first two phases of progressive growth."""
    return pretrain(spec("progressive", TRUNKS[name].first(2)), IMAGES)


def grown(policy: str, name: str) -> tuple[StackedAutoencoder, StackedAutoencoder]:
    """The stack after the second phase of a policy, and ready for the third one."""
    given, before, after = spec(policy, TRUNKS[name]), copy.deepcopy(begun(name)), copy.deepcopy(begun(name))
    prepare_phase(after, given, given.phases()[2], Examples(StoredInputs(IMAGES)))
    assert (before.depth, after.depth) == (2, 3)
    return before, after


def same(one: Stage, other: Stage) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("name", RESIDUAL)
@pytest.mark.parametrize("training", [True, False])
def test_growth_by_the_identity_preserves_the_function(name: str, training: bool) -> None:
    """To the bit: what zeros are added to does not change."""
    before, after = grown("progressive-identity", name)
    x = IMAGES[:8].float() / 255
    before.learn_only(1, 2).train(training)
    after.learn_only(1, 3).train(training)
    with torch.no_grad():
        code = before.encode(x)
        assert code.abs().sum() > 0
        assert torch.equal(after.encode(x), code)
        assert torch.equal(after.reconstruct(x), before.reconstruct(x))


@pytest.mark.parametrize("name", RESIDUAL)
def test_a_stage_that_begins_as_the_identity_learns(name: str) -> None:
    """Gradients reach the ends of all of its branches, and other weights have those of a drawn stage."""
    (_, stack), (_, drawn) = (grown(policy, name) for policy in ("progressive-identity", "progressive"))
    stage, x = stack.stages[2], IMAGES[:8].float() / 255
    stack.learn_only(1, 3).train()
    (stack(x) - x).square().mean().backward()
    ends = stage.branch_ends()
    assert ends
    assert all(any(p.grad.abs().sum() > 0 for p in end.parameters() if p.grad is not None) for end in ends)
    zeroed = {id(p) for end in ends for p in end.parameters()}
    for ours, theirs in zip(stage.parameters(), drawn.stages[2].parameters(), strict=True):
        assert torch.equal(ours, torch.zeros_like(ours) if id(ours) in zeroed else theirs)


@pytest.mark.parametrize("name", TRUNKS)
def test_growth_by_copying_begins_with_the_weights_of_the_stage_below(name: str) -> None:
    before, stack = grown("progressive-copy", name)
    assert same(stack.stages[2], stack.stages[1])
    assert all(same(stack.stages[k], before.stages[k]) for k in range(2))
    _, drawn = grown("progressive", name)
    assert not same(drawn.stages[2], drawn.stages[1])


@pytest.mark.parametrize("policy", ["progressive-copy", "progressive-identity"])
def test_all_stages_learn_after_growth(policy: str) -> None:
    kept: list[StackedAutoencoder] = []
    given = spec(policy, TRUNKS["residual, batch, 1"])
    last = pretrain(given, IMAGES, after=lambda phase, stack: kept.append(copy.deepcopy(stack)))
    assert [stack.depth for stack in kept] == [1, 2, 3]
    assert not any(same(last.stages[k], kept[1].stages[k]) for k in range(2))
    assert not same(last.stages[2], last.stages[1])


def test_the_first_two_stages_are_those_of_progressive_growth() -> None:
    stack = StackSpec.of("conv", 4, 6)
    ours, theirs = (pretrain(spec(policy, stack), IMAGES) for policy in ("progressive-copy", "progressive"))
    assert all(same(*stages) for stages in zip(ours.stages, theirs.stages, strict=True))


def test_blocks_are_copies_of_as_many_stages_below() -> None:
    assert [copied_stage(k, 1) for k in (3, 4, 5)] == [2, 3, 4]
    assert [copied_stage(k, 2) for k in (4, 5)] == [2, 3]
    assert [copied_stage(k, 2) for k in (3, 4)] == [2, 2]
    given = spec("progressive-copy", StackSpec.of("dense", 9, 9, 9, 9, 9), blocks=(3, 2))
    kept: list[StackedAutoencoder] = []
    pretrain(given, IMAGES, after=lambda phase, stack: kept.append(copy.deepcopy(stack)))
    stack = kept[0]
    prepare_phase(stack, given, given.phases()[1], Examples(StoredInputs(IMAGES)))
    assert same(stack.stages[3], stack.stages[1])
    assert same(stack.stages[4], stack.stages[2])


@pytest.mark.parametrize("name", ["residual, batch, 1", "transformer", "dense, tied"])
@pytest.mark.parametrize("policy", ["greedy+finetune", "simultaneous", "joint-local"])
def test_any_policy_trains_stages_that_add_to_what_they_read(name: str, policy: str) -> None:
    trains(spec(policy, TRUNKS[name]))


def test_stages_that_keep_the_shape_have_blocks_alone() -> None:
    residual, transformer = (TRUNKS[name] for name in ("residual, batch, 1", "transformer"))
    for given, block in ((residual, BLOCK), (transformer, 2 * LAYER)):
        stage = build(given, SHAPE).stages[1]
        assert stage.in_shape == stage.code_shape
        assert sum(p.numel() for p in stage.parameters()) == 2 * block


def test_how_a_stage_begins_costs_nothing() -> None:
    stack = TRUNKS["residual, batch, 1"]
    ours, theirs = (spec(policy, stack).phases()[2] for policy in ("progressive-copy", "progressive"))
    how = spec("joint", stack).optimisation
    assert ours != theirs
    assert kind_of(ours, how) == kind_of(theirs, how)
    assert phase_cost(spec("joint", stack), SHAPE, ours, 64) == phase_cost(spec("joint", stack), SHAPE, theirs, 64)


REFUSED: list[tuple[str, StackSpec, str]] = [
    (
        "progressive-copy",
        StackSpec.of("conv", 4, 6, 8),
        r"phase 'stages 1-3' begins stage 3 as a copy of stage 2, and they differ: stage 2 is a conv stage from 4 to 6, .* "
        r"and stage 3 is a conv stage from 6 to 8, .*: give both the same kind, activations and "
        "options, and stages 1 to 3 the same width, or use policy 'progressive'$",
    ),
    (
        "progressive-copy+finetune",
        StackSpec((StageSpec("conv", 4), StageSpec("conv", 4), StageSpec("conv-pool", 4))),
        "stage 2 is a conv stage from 4 to 4, .* and stage 3 is a conv-pool stage from 4 to 4",
    ),
    ("progressive-copy", StackSpec.of("dense", 4, 4, 3), "stage 3 is a dense stage from 4 to 3"),
    (
        "progressive-copy",
        StackSpec((StageSpec("conv", 4), StageSpec("dense", 4), StageSpec("dense", 4))),
        "stage 3 as a copy of stage 2, a dense stage that reads maps: use dense stages alone",
    ),
    (
        "progressive-identity",
        StackSpec.of("conv", 4, 4, 4),
        "phase 'stages 1-3' begins stage 3 as the identity, and this conv stage does not add what it reads to its code: use a ",
    ),
    (
        "progressive-identity",
        StackSpec((*TRUNKS["dense, residual"].stages[:2], StageSpec("dense", 9, "sigmoid", (("residual", True),)))),
        "its activation sigmoid changes the values of the relu activation below: choose the activation from relu, linear$",
    ),
    (
        "progressive-identity",
        StackSpec(
            (*TRUNKS["transformer"].stages[:2], StageSpec("transformer", 8, "relu", (("patch", 1), ("residual", True))))
        ),
        "its activation relu changes the values of the linear activation below: choose the activation from linear$",
    ),
]


@pytest.mark.parametrize(("policy", "stack", "says"), REFUSED)
def test_what_cannot_begin_so_is_refused_with_its_spec(policy: str, stack: StackSpec, says: str) -> None:
    with pytest.raises(InputError, match=says):
        spec(policy, stack)
    assert spec("progressive", stack)


def test_stages_that_cannot_add_what_they_read_are_refused() -> None:
    residual, transformer = kinds()["residual"], kinds()["transformer"]
    with pytest.raises(
        InputError, match=r"width 8 with stride 1 cannot add the 6 channels .*: give it width 6, or stride 2"
    ):
        StackSpec((StageSpec("conv", 6), StageSpec("residual", 8, options=(("stride", 1),))))
    with pytest.raises(
        InputError, match=r"width 8 cannot add the 4 channels .*: give it width 4, or leave residual out"
    ):
        StackSpec((StageSpec("conv", 4), StageSpec("transformer", 8, options=(("patch", 1), ("residual", True)))))
    with pytest.raises(InputError, match=r"width 8 with stride 1 cannot add the 3 channels"):
        residual.of((3, 6, 6), 8, stride=1)
    with pytest.raises(InputError, match=r"patch 2 of a residual transformer stage is not allowed.*: give patch 1"):
        transformer.of((8, 6, 6), 8, residual=True)
    with pytest.raises(InputError, match=r"stride 3 of a residual stage is not allowed: give 1 or 2"):
        residual.of((8, 6, 6), 8, stride=3)


def test_weights_of_other_shapes_are_not_copied() -> None:
    dense = kinds()["dense"]
    with pytest.raises(
        InputError, match=r"reads \(5,\) cannot begin as a copy of a dense stage that reads \(4,\): encoder"
    ):
        copy_weights(dense.of((5,), 4), dense.of((4,), 4))


def test_only_the_ends_of_branches_become_zero() -> None:
    with seeded(0, "init"):
        stage, twin = (kinds()["residual"].of((4, 5, 5), 4, stride=1) for _ in range(2))
    twin.load_state_dict(stage.state_dict())
    make_identity(stage)
    changed = {name for name, value in stage.state_dict().items() if not torch.equal(value, twin.state_dict()[name])}
    assert changed == {"encoder.0.body.4.weight", "decoder.0.body.4.weight"}
