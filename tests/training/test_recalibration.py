"""After corrupted training the running statistics of batch norms are those of clean inputs, by default."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stacked import InputError, RunSpec, StackedAutoencoder, StackSpec, data
from stacked.data.formats.split import Split
from stacked.data.order import Order
from stacked.evaluation import evaluate
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.spec.growth import Phase
from stacked.training.codes import StoredInputs, inputs
from stacked.training.fit import Training
from stacked.training.pretrain import pretrain
from stacked.training.recalibration import MOST, trained_norms
from tests.helpers.phases import IMAGES, PLAIN, stack_of
from tests.helpers.splits import toy_splits

MASKED = replace(PLAIN, corruption_level=(0.3,))
AS_TRAINED = replace(MASKED, recalibrate=False)
ORDER = Order(len(IMAGES), 32, 3)
EPOCH = 8
SPEC = RunSpec(
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget((2.0,), 2.0),
    optimisation=MASKED,
    evaluation=Evaluation(every=5, images=40, probe_every=100, probe_images=40, probe_labels=40),
    classification=Classification(labels=()),
)


def norms(module: nn.Module) -> list[Any]:
    return [each for each in module.modules() if isinstance(each, (nn.BatchNorm1d, nn.BatchNorm2d))]


def trained(how: Optimisation, phase: Phase, **more: Any) -> Training:
    stack = stack_of(4, 6, kind="conv").learn_only(*phase.trainable).eval()
    reads = inputs(stack, phase.input_depth, StoredInputs(IMAGES), "recompute", 32)
    targets = {"pixels": StoredInputs(IMAGES), "labels": lambda index: index % 4}.get(phase.target)
    training = Training(stack, phase, reads, how, order=ORDER, seed=3, targets=targets, classes=4, **more)
    list(training.train())
    return training


def one_after_the_other(stack: StackedAutoencoder, x: Tensor) -> None:
    for stage in stack.stages:
        code = stage.encode(x)
        stage.decode(code)
        x = code


def second_to_pixels(stack: StackedAutoencoder, x: Tensor) -> None:
    stack.decode(stack.stages[1].encode(stack.encode(x, 1)), 2)


#: a phase, and the way of clean images through what it has trained
WAYS: dict[str, tuple[Phase, Callable[[StackedAutoencoder, Tensor], object]]] = {
    "stage 1": (Phase("stage 1", (1, 1), 0, 12), lambda stack, x: stack.stages[0](x)),
    "stage 2": (Phase("stage 2", (2, 2), 1, 12), lambda stack, x: stack.stages[1](stack.encode(x, 1))),
    "pixels": (Phase("stage 2", (2, 2), 1, 12, target="pixels"), second_to_pixels),
    "labels": (Phase("stage 2", (2, 2), 1, 12, target="labels"), lambda stack, x: stack.encode(x)),
    "joint": (Phase("joint", (1, 2), 0, 12), lambda stack, x: stack(x)),
    "joint-local": (Phase("joint", (1, 2), 0, 12, local_loss="added"), lambda stack, x: stack(x)),
    "simultaneous": (Phase("simultaneous", (1, 2), 0, 12, local_loss="alone"), one_after_the_other),
}


def statistics(
    stack: StackedAutoencoder, batches: int, way: Callable[[StackedAutoencoder, Tensor], object]
) -> dict[str, tuple[Tensor, Tensor]]:
    """By name of each norm in training mode that is passed: mean and variance of what it is given, means over the batches."""
    twin = copy.deepcopy(stack)
    given: dict[str, list[Tensor]] = {}
    for name, norm in twin.named_modules():
        if norm in norms(twin) and norm.training:
            norm.register_forward_pre_hook(lambda _, x, name=name: given.setdefault(name, []).append(x[0]))  # type: ignore[misc]
    with torch.no_grad():
        for k in range(batches):
            way(twin, StoredInputs(IMAGES)(ORDER.batch(k)))
    rows = {name: [x.transpose(0, 1).flatten(1) for x in seen] for name, seen in given.items()}
    return {
        name: (torch.stack([x.mean(1) for x in seen]).mean(0), torch.stack([x.var(1) for x in seen]).mean(0))
        for name, seen in rows.items()
    }


@pytest.mark.parametrize("name", WAYS)
def test_the_statistics_are_those_of_clean_inputs_and_the_weights_as_trained(name: str) -> None:
    phase, way = WAYS[name]
    ours, plain = trained(MASKED, phase).stack, trained(AS_TRAINED, phase).stack
    assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), plain.parameters(), strict=True))
    expected = statistics(plain, EPOCH, way)
    assert expected
    for (here, norm), other in zip(ours.named_modules(), plain.modules(), strict=True):
        if norm not in norms(ours):
            continue
        assert norm.momentum == 0.1
        if here in expected:
            mean, variance = expected[here]
            torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)
            assert norm.num_batches_tracked == EPOCH
            assert not torch.equal(norm.running_mean, other.running_mean)
        else:  # what is frozen, or only stands beside
            assert all(torch.equal(a, b) for a, b in zip(norm.buffers(), other.buffers(), strict=True))


@pytest.mark.parametrize("name", WAYS)
def test_every_batch_of_an_update_counts_once(name: str) -> None:
    """A stage that also encodes clean images for the next one, or restores its own input beside, counts the others alone."""
    phase, way = WAYS[name]
    stack = trained(AS_TRAINED, phase).stack
    passed = statistics(stack, 1, way)
    for here, norm in stack.named_modules():
        if norm in norms(stack):
            assert norm.num_batches_tracked == (phase.updates if here in passed else 0)


def test_a_stage_counts_the_same_whether_another_stands_above_it() -> None:
    """Of the first stage corrupted images are seen in both phases, the same ones."""
    alone, below = (trained(AS_TRAINED, WAYS[name][0]).stack.stages[0] for name in ("stage 1", "simultaneous"))
    for name, value in alone.state_dict().items():
        assert torch.equal(value, below.state_dict()[name]), name


def test_norms_of_decoders_that_restore_nothing_are_left_out() -> None:
    stack, phase = stack_of(4, 6, kind="conv"), Phase("blocks", (1, 2), 0, 12, "objectives", local_loss="alone")
    mixed = replace(MASKED, objectives={"input": (1.0, 0.0), "labels": (0.0, 1.0)})
    assert trained_norms(stack, phase, mixed) == [*norms(stack.stages[0]), *norms(stack.stages[1].encoder)]


def test_how_many_batches_there_are() -> None:
    """As many as updates, at most those of an epoch, and 100."""
    assert trained(MASKED, Phase("stage 1", (1, 1), 0, 3)).recalibrated == 3
    assert trained(MASKED, Phase("stage 1", (1, 1), 0, 12)).recalibrated == EPOCH
    few = Training(
        stack_of(4, kind="conv"),
        Phase("stage 1", (1, 1), 0, MOST + 20),
        StoredInputs(IMAGES),
        replace(MASKED, batch_size=2),
        order=Order(len(IMAGES), 2, 0),
        seed=0,
    )
    list(few.train())
    assert few.recalibrated == MOST == 100


def test_simultaneous_stages_read_corrupted_inputs_at_every_depth() -> None:
    deeper = Optimisation(corruption_level=(0.0, 0.3))
    [together] = replace(SPEC, policy="simultaneous").phases(1)
    [joint] = replace(SPEC, policy="joint").phases(1)
    assert deeper.corrupts(together)
    assert not deeper.corrupts(joint)


@pytest.mark.parametrize(
    ("how", "stack"),
    [
        (replace(MASKED, corruption_level=(0.0,)), {}),
        (replace(MASKED, corruption_level=(0.0, 0.3)), {}),
        (replace(MASKED, recalibrate=False), {}),
        (MASKED, {"norm": "group"}),
        (MASKED, {"norm": "none"}),
    ],
    ids=["clean", "clean here", "not wanted", "group norm", "no norm"],
)
def test_it_costs_and_changes_nothing_where_there_is_nothing_to_do(how: Optimisation, stack: dict[str, Any]) -> None:
    found = []
    for wanted in (how.recalibrate, False):
        training = Training(
            stack_of(4, 6, kind="conv", **stack),
            Phase("stage 1", (1, 1), 0, 9),
            StoredInputs(IMAGES),
            replace(how, recalibrate=wanted),
            order=ORDER,
            seed=0,
        )
        list(training.train())
        assert training.recalibrated == 0
        found.append(training.stack.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_a_phase_that_ends_early_ends_with_it_too() -> None:
    """On the weights that are put back; the last point already shows it."""
    phase = replace(WAYS["joint"][0], updates=40)
    held = StoredInputs(255 - IMAGES)  # on which every update makes it worse
    how = replace(MASKED, patience=2, check_every=2, lr=0.1)
    training = trained(how, phase, valid=held)
    assert training.stopping is not None
    assert training.stopping.over
    assert training.update < 40
    best = {
        name: value for name, value in training.stopping.state.items() if "running" not in name and "num_" not in name
    }
    now = training.stack.state_dict()
    assert all(torch.equal(now[name], value) for name, value in best.items())
    for name, (mean, variance) in statistics(training.stack, EPOCH, WAYS["joint"][1]).items():
        torch.testing.assert_close(now[f"{name}.running_mean"], mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(now[f"{name}.running_var"], variance, rtol=1e-4, atol=1e-5)


def test_the_last_point_of_a_phase_shows_what_the_next_one_reads() -> None:
    splits = toy_splits()
    result = run(replace(SPEC, policy="greedy"), splits)
    shown = splits.valid.inputs[torch.arange(40) * len(splits.valid) // 40]
    assert result.curve[-1]["eval/recon_mse"] == evaluate.reconstruction(result.stack, shown).mse


@pytest.mark.parametrize("policy", ["greedy", "joint", "simultaneous"])
def test_its_flops_are_counted(policy: str) -> None:
    """Per batch a forward pass of encoder and decoder, and of the frozen stage below where its codes are computed anew."""
    splits = toy_splits()
    bare = replace(
        splits,
        classes=(),
        **{
            name: Split(part.inputs, torch.full_like(part.labels, -1))
            for name, part in (("train", splits.train), ("valid", splits.valid), ("test", splits.test))
        },
    )
    one, two = (
        2 * 4 * 36 * 9,
        2 * 6 * 4 * 9 * 9,
    )  # multiply-adds of the two encoders' convolutions, and of their decoders'
    for epochs in (1.0, 2.0):
        spec = replace(SPEC, policy=policy, budget=Budget((epochs,), epochs))
        flop = [round(1e9 * run(replace(spec, optimisation=how), bare).row["gflop"]) for how in (MASKED, AS_TRAINED)]
        below = one if policy == "greedy" and epochs == 1 else 0
        assert flop[0] - flop[1] == EPOCH * 32 * (2 * one + 2 * two + below)


def test_clean_images_are_restored_better() -> None:
    digits = data.load("digits", limit=1200)
    images, found = digits.train.inputs, {}
    for policy, recalibrate in itertools.product(("greedy", "joint"), (True, False)):
        how = Optimisation(batch_size=64, lr=1e-2, corruption_level=(0.3,), recalibrate=recalibrate)
        spec = RunSpec(policy, stack=StackSpec.of("conv", 8, 8), budget=Budget((4.0,), 8.0), optimisation=how)
        stack = pretrain(spec, StoredInputs(images), digits.input_shape)
        found[policy, recalibrate] = evaluate.reconstruction(stack, digits.test.inputs).mse
    assert found["greedy", True] < 0.97 * found["greedy", False]
    assert found["joint", True] < 0.97 * found["joint", False]


def test_a_switch_is_true_or_false() -> None:
    with pytest.raises(InputError, match="recalibrate 1 is not allowed: give True or False"):
        Optimisation(recalibrate=1)  # type: ignore[arg-type]
