"""Each objective against its formula, and training by objectives against what it must equal."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stacked import Budget, InputError, RunSpec, StackSpec, pretrain, train_seeds
from stacked.cost.phase_cost import phase_cost
from stacked.data.formats.split import Split, Splits
from stacked.objectives import objectives
from stacked.objectives.objective import EncodedBatch, Objective, ObjectiveSettings, ObjectiveTargets
from stacked.runs.run import run
from stacked.runs.stage_parameters import stage_parameters
from stacked.spec import Classification, Evaluation, Optimisation, from_json
from stacked.spec.growth import POLICIES, Phase, Updates
from stacked.training.codes import StoredInputs
from stacked.training.early_stopping import ValidationLoss
from stacked.training.fit import parameter_groups
from stacked.training.phase_loss import PhaseLoss
from stacked.util.errors import Interrupted
from stacked.util.serialization import to_json
from studies.report.answer import taught_arms
from tests.helpers.phases import IMAGES, LABELS, SEED, pixels, stack_of
from tests.helpers.runs import numbers, same_weights
from tests.helpers.splits import toy_splits

STACK = StackSpec.of("conv", 4, 6)
HOW = Optimisation(batch_size=32, lr=1e-2, corruption_level=0.1)
SPEC = RunSpec(
    "local",
    stack=STACK,
    budget=Budget(6, 6, "updates"),
    optimisation=HOW,
    evaluation=Evaluation(every=3, images=40, probe_every=100, probe_images=40, probe_labels=40),
    classification=Classification(labels=()),
)
TAUGHT = replace(SPEC, optimisation=replace(HOW, objectives={"image": 1.0, "labels": 0.5}))
BUDGET = Updates((10, 20, 30), 40)


def with_objectives(policy: str = "local", stack: StackSpec = STACK, **how: Any) -> RunSpec:
    return replace(SPEC, policy=policy, stack=stack, optimisation=replace(HOW, **how))


def made(name: str, *code: int, **options: Any) -> Objective:
    torch.manual_seed(0)
    return objectives()[name](ObjectiveSettings(code, (1, 12, 12), 4), **options).double()


def batch(code: Tensor) -> EncodedBatch:
    n = len(code)
    return EncodedBatch((code,), ObjectiveTargets(pixels(n), LABELS[:n]), lambda: code.sum())


def codes(*shape: int) -> Tensor:
    return torch.rand(8, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


# Formulas


def test_an_image_is_decoded_from_a_vector_by_a_linear_layer() -> None:
    objective, code = made("image", 7), codes(7)
    layer: Any = objective.decoder[0]  # type: ignore[index]
    expected = torch.sigmoid(code @ layer.weight.T + layer.bias).view(8, 1, 12, 12)
    torch.testing.assert_close(objective(batch(code)), (expected - pixels()).square().mean(), rtol=1e-12, atol=0)


def test_an_image_is_decoded_from_maps_by_two_convolutions_at_its_size() -> None:
    objective, code = made("image", 5, 3, 3, width=4), codes(5, 3, 3)
    _, first, _, last = objective.decoder  # type: ignore[misc]
    assert (first.out_channels, last.out_channels) == (4, 1)
    large = code.repeat_interleave(4, 2).repeat_interleave(4, 3)
    hidden = F.conv2d(large, first.weight, first.bias, padding=1).relu()
    expected = torch.sigmoid(F.conv2d(hidden, last.weight, last.bias, padding=1))
    torch.testing.assert_close(objective(batch(code)), (expected - pixels()).square().mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("image", "code"), [((1, 12, 12), (5, 3, 3)), ((2, 16), (5, 4)), ((16,), (5, 8))], ids=str)
def test_an_image_is_decoded_by_transformer_blocks_from_tokens_at_their_places(
    image: tuple[int, ...], code: tuple[int, ...]
) -> None:
    """Also of signals and vectors. Each position gives its own patch, and what was left out is a learned vector."""
    torch.manual_seed(0)
    settings = ObjectiveSettings(code, image, output="linear")
    made: Any = objectives()["image"](settings, width=8, blocks=2, hidden_only=True).double()
    given, target = codes(*code), torch.rand(8, *image, dtype=torch.float64)
    left_out = torch.zeros(8, 1, *code[1:], dtype=torch.bool)
    left_out[:, :, -1] = True
    given = torch.where(left_out, 0.0, given)
    tokens = torch.einsum("ic,bc...->bi...", made.embedding.weight.flatten(1), given)
    tokens = tokens + made.embedding.bias.view(-1, *[1] * len(code[1:]))
    tokens = torch.where(left_out, made.mask_token.token.view(-1, *[1] * len(code[1:])), tokens)
    expected = made.decoder[1:](made.decoder[0](tokens))
    assert expected.shape == target.shape
    torch.testing.assert_close(made.restored(given, left_out), expected, rtol=1e-12, atol=0)
    patch = image[-1] // code[-1]
    hidden = left_out[:, 0] if len(image) == 1 else left_out
    for axis in range(1 if len(image) == 1 else 2, hidden.dim()):
        hidden = hidden.repeat_interleave(patch, axis)
    squared = (expected - target).square()[hidden.expand_as(target)].view(8, -1).mean(1)
    batch = EncodedBatch((given,), ObjectiveTargets(target), lambda: given.sum(), left_out)
    torch.testing.assert_close(made.per_example(batch), squared, rtol=1e-12, atol=0)
    torch.testing.assert_close(made(batch), squared.mean(), rtol=1e-12, atol=0)
    whole = (made.restored(given) - target).square().mean()
    torch.testing.assert_close(made(replace(batch, left_out=None)), whole, rtol=1e-12, atol=0)


def test_a_map_whose_positions_do_not_divide_an_image_has_no_patches() -> None:
    for code in ((5, 5, 5), (5, 3, 4), (5, 9)):
        with pytest.raises(
            InputError, match=r"cannot decode codes of .* positions to 12 x 12, .*: choose images of such"
        ):
            made("image", *code, blocks=1)


def test_the_loss_of_an_image_is_that_of_pixels_in_the_spec() -> None:
    settings = ObjectiveSettings((7,), (1, 12, 12), 4, "bce")
    objective, code = objectives()["image"](settings).double(), codes(7)
    layer: Any = objective.decoder[0]  # type: ignore[index]
    logits = (code @ layer.weight.T + layer.bias).view(8, 1, 12, 12)
    expected = F.binary_cross_entropy_with_logits(logits, pixels())
    torch.testing.assert_close(objective(batch(code)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_labels_are_predicted_through_hidden_layers(layers: int) -> None:
    objective, code = made("labels", 7, layers=layers), codes(7)
    hidden: Any = objective.hidden
    assert len(hidden) == 2 * layers
    values = code
    for layer in hidden[::2]:
        values = (values @ layer.weight.T + layer.bias).relu()
    linear: Any = objective.linear
    expected = F.cross_entropy(values @ linear.weight.T + linear.bias, LABELS[:8])
    torch.testing.assert_close(objective(batch(code)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("pooled", [False, True])
def test_labels_are_predicted_from_maps(pooled: bool) -> None:
    objective, code = made("labels", 5, 3, 3, layers=1, pooled=pooled), codes(5, 3, 3)
    conv: Any = objective.hidden[0]  # type: ignore[index]
    maps = F.conv2d(code, conv.weight, conv.bias, padding=1).relu()
    linear: Any = objective.linear
    values = maps.mean((2, 3)) if pooled else maps.flatten(1)
    expected = F.cross_entropy(values @ linear.weight.T + linear.bias, LABELS[:8])
    torch.testing.assert_close(objective(batch(code)), expected, rtol=1e-12, atol=0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()


@pytest.mark.parametrize("shape", [(7,), (5, 3, 3), (5, 1, 1)], ids=str)
def test_similarities_of_codes_are_compared_with_those_of_labels(shape: tuple[int, ...]) -> None:
    """The formula of the paper, entry by entry."""
    objective, code = made("similarity", *shape), codes(*shape)
    layer: Any = objective.layer
    if shape == (7,):
        features = code @ layer.weight.T + layer.bias
    else:
        maps = F.conv2d(code, layer.weight, layer.bias, padding=1).flatten(2)
        features = maps.std(2) if shape == (5, 3, 3) else maps[:, :, 0]
    known = F.one_hot(LABELS[:8], 4).double()
    entries = [
        (cosine(features[i], features[j]) - cosine(known[i], known[j])).square() for i in range(8) for j in range(8)
    ]
    torch.testing.assert_close(objective(batch(code)), torch.stack(entries).mean(), rtol=1e-6, atol=0)


def test_a_phase_adds_its_objectives_by_their_weights() -> None:
    stack, x = stack_of(7, 5), pixels().float()
    known = ObjectiveTargets(x, LABELS[:8])
    phase = POLICIES["end-to-end"](2, Updates(None, 1))[0]

    def loss(**weights: float) -> Tensor:
        how = Optimisation(objectives=weights)
        return PhaseLoss(stack, phase, how, seed=SEED, classes=4)(x, known, 0)

    both = loss(image=2.0, labels=0.5)
    torch.testing.assert_close(both, 2 * loss(image=1.0) + 0.5 * loss(labels=1.0))


# What training by objectives must equal


@pytest.mark.parametrize(
    ("policy", "same"),
    [
        ("local", "greedy"),
        ("local-images", "greedy-images"),
        ("local-simultaneous", "simultaneous"),
        ("end-to-end", "joint"),
    ],
)
@pytest.mark.parametrize("given", [{}, {"input": 1.0}], ids=["none", "input"])
def test_the_objective_input_is_what_was_there_before(policy: str, same: str, given: dict[str, float]) -> None:
    """To the bit, with dropout, a constraint on the code and weighted elements; blocks, too."""
    more = {"dropout": 0.1, "winner_take_all": "lifetime", "emphasis": (1.0, 0.5)}
    short = replace(SPEC, budget=Budget(3, 3, "updates"))
    ours = replace(short, policy=policy, optimisation=replace(HOW, objectives=given, **more))
    plain = replace(short, policy=same, optimisation=replace(HOW, **more))
    assert same_weights(pretrain(ours, IMAGES), pretrain(plain, IMAGES))
    assert same_weights(pretrain(replace(ours, blocks=2), IMAGES), pretrain(replace(plain, blocks=2), IMAGES))
    for mine, theirs in zip(ours.phases(), plain.phases(), strict=True):
        a, b = (phase_cost(one, (1, 12, 12), of, 256) for one, of in ((ours, mine), (plain, theirs)))
        assert a.flops == b.flops
        assert a.recalibrations == b.recalibrations


def test_labels_alone_are_supervised_training_up_to_the_draw_of_the_head() -> None:
    stack, x = stack_of(7, 5), pixels().float()
    local, supervised = (POLICIES[name](2, Updates((1, 1), None))[0] for name in ("local", "supervised"))
    ours = PhaseLoss(stack, local, Optimisation(objectives={"labels": 1.0}), seed=SEED, classes=4)
    theirs = PhaseLoss(stack, supervised, Optimisation(), seed=SEED, classes=4)
    for mine, head in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.data.copy_(head.data)
    assert torch.equal(ours(x, ObjectiveTargets(None, LABELS[:8]), 0), theirs(x, LABELS[:8], 0))


def test_the_first_update_of_simultaneous_blocks_is_the_local_one() -> None:
    """The block that reads the images has the same gradient alone and beside others, with objectives of its own."""
    how = replace(HOW, objectives={"image": 1.0, "similarity": 0.5}, corruption_level=(0.0,))
    known = ObjectiveTargets(pixels().float(), LABELS[:8])
    found = []
    for policy in ("local", "local-simultaneous"):
        stack = stack_of(7, 5).train()
        for phase in POLICIES[policy](2, Updates((1, 1), None)):
            stack.learn_only(*phase.trainable).train()
            with torch.no_grad():
                read = stack.encode(known.images, phase.input_depth)
            PhaseLoss(stack, phase, how, seed=SEED, classes=4)(read, known, 0).backward()
        found.append([p.grad for stage in stack.stages for p in stage.encoder.parameters() if p.grad is not None])
    assert len(found[0]) == 4
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


def test_parameters_of_an_objective_have_the_learning_rate_of_their_block() -> None:
    stack, how = stack_of(7, 5), replace(HOW, lr=(0.1, 0.2), objectives={"image": 1.0})
    phase = POLICIES["local-simultaneous"](2, Updates((1, 1), None))[0]
    objective = PhaseLoss(stack.learn_only(1, 2), phase, how)
    groups = parameter_groups(stack, phase, how, objective.auxiliary())
    assert [group["peak"] for group in groups] == [0.1, 0.2]
    widths = [{p.shape[1] for p in group["params"] if p.dim() == 2 and p.shape[0] == 144} for group in groups]
    assert widths == [{7}, {5}]  # the decoder of an image reads the code of its own block


# Runs


@pytest.mark.parametrize("policy", ["local", "local-images", "local-simultaneous", "end-to-end", "local+finetune"])
def test_runs_train_by_objectives_and_resume(policy: str, tmp_path: Path) -> None:
    splits, spec = toy_splits(150), replace(TAUGHT, policy=policy, budget=Budget(4, 4, "updates"))
    whole = run(spec, splits)
    assert whole.row["updates"] == sum(phase.updates for phase in spec.phases())
    assert all(math.isfinite(value) for value in whole.row.values() if isinstance(value, float))
    calls: list[int] = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) == 3

    with pytest.raises(Interrupted):
        run(spec, splits, work=tmp_path, checkpoint_every=2, stop=stop)
    resumed = run(spec, splits, work=tmp_path)
    assert numbers(resumed) == numbers(whole)
    assert same_weights(resumed.stack, whole.stack)


def test_a_run_with_labels_reads_no_image_without_one() -> None:
    splits = toy_splits(150)
    labels = splits.train.labels.clone()
    labels[::3] = -1
    some = replace(splits, train=Split(splits.train.inputs, labels))
    noise = splits.train.inputs.clone()
    noise[::3] = 255 - noise[::3]
    other = replace(splits, train=Split(noise, labels))
    taught = replace(TAUGHT, budget=Budget(3, 3, "updates"))
    assert same_weights(run(taught, some).stack, run(taught, other).stack)
    free = replace(taught, optimisation=replace(HOW, objectives={"image": 1.0}))
    assert not same_weights(run(free, some).stack, run(free, other).stack)


def test_early_stopping_watches_the_objectives() -> None:
    splits = toy_splits(150)
    inverted = replace(splits, valid=Split(255 - splits.valid.inputs, splits.valid.labels))
    stopping = replace(TAUGHT.optimisation, patience=1, check_every=1)
    spec = replace(TAUGHT, optimisation=stopping, budget=Budget(60, None, "updates"))
    assert run(spec, inverted).row["updates"] < 120


def test_validation_examples_in_the_order_of_their_classes_are_compared_with_other_classes() -> None:
    """Codes of 0 have similarity 0, and one-hot labels of four classes 1 within and -1/3 between classes."""
    labels, phase = torch.arange(128) // 32, Phase("stage 1", (1, 1), 0, 1, target="objectives")
    stack = stack_of(4, kind="conv").eval()
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.zero_()
    objective = PhaseLoss(stack, phase, replace(HOW, objectives={"similarity": 1.0}), classes=4)
    validation = ValidationLoss(
        objective, StoredInputs(IMAGES[:128]), lambda index: ObjectiveTargets(labels=labels[index]), 32
    )
    found = validation.compute()
    assert found == validation.compute()
    assert found == pytest.approx(1 / 4 + 3 / 4 / 9, abs=0.05)  # 1 in batches of one class


def test_decoders_that_nothing_trains_stay_as_they_were() -> None:
    spec = with_objectives(objectives={"image": 1.0}, optimiser="adamw", weight_decay=0.1)
    before, after = (pretrain(replace(spec, budget=Budget(n, None, "updates")), IMAGES) for n in (1, 6))
    for one, other in zip(before.stages, after.stages, strict=True):
        assert same_weights(one.decoder, other.decoder)
        assert not same_weights(one.encoder, other.encoder)


def test_phases_are_described_by_their_objectives() -> None:
    assert stage_parameters(TAUGHT.phases()[0], TAUGHT.optimisation)["loss"] == "image+labels"


def test_arms_that_learn_labels_are_told_apart() -> None:
    """By their objectives: a policy alone does not say so."""
    arms = {"a": TAUGHT, "b": SPEC, "c": replace(TAUGHT, policy="joint"), "d": replace(SPEC, policy="supervised")}
    rows = pd.DataFrame({"arm": list(arms), "spec": [to_json(spec) for spec in arms.values()]})
    assert taught_arms(rows) == {"a", "d"}
    assert taught_arms(pd.DataFrame({"arm": ["local", "supervised+finetune"]})) == {"supervised+finetune"}


# Specs


def test_similarities_need_two_features() -> None:
    """The only feature of a code is 0 after centring, and nothing would be learned."""
    taught = {"objectives": {"similarity": 1.0}}
    for kind in ("conv", "dense"):
        spec = with_objectives(stack=StackSpec.of(kind, 3, 1), **taught)
        with pytest.raises(
            InputError, match=r"a code of shape \[1.*\] has one feature, .*: give .* a width of 2 or more"
        ):
            run(spec, toy_splits(64))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"objectives": {"imagee": 1.0}}, r"objective 'imagee' is not known; did you mean 'image'\? Choose from .*image"),
        ({"objectives": {"image": 0}}, "weight of objective 'image' 0 is not allowed"),
        ({"objectives": {"image": (0, 0)}}, r"weights \(0, 0\) of objective 'image' are not allowed"),
        ({"objectives": {"image": (1, 2, 3)}}, "3 weights of objective 'image' do not fit 2 stages"),
        ({"objectives": {"image": (1, 0)}}, "phase 'stage 2' has no objective at stage 2: give one of them"),
        ({"objective_options": {"labels.layers": 1}}, "objective option 'labels.layers' belongs to no objective of"),
        ({"objectives": {"labels": 1}, "objective_options": {"labels.depth": 1}}, "option of objective 'labels' 'depth'"),
        ({"objectives": {"labels": 1}, "objective_options": {"labels.layers": -1}}, "layers of objective 'labels' -1"),
        ({"objectives": {"labels": 1}, "objective_options": {"labels.pooled": 1}}, "give true or false"),
        ({"objectives": {"image": 1}, "objective_options": {"image.width": 0}}, "width of objective 'image' 0"),
        ({"objectives": {"image": 1}, "objective_options": {"image.blocks": -1}}, "blocks of objective 'image' -1"),
        (
            {"objectives": {"image": 1}, "objective_options": {"image.blocks": 1, "image.width": 10}},
            "width 10 of objective 'image' with transformer blocks is not allowed: give a multiple of 4",
        ),
        ({"objectives": {"labels": 1}, "emphasis": (1, 0.5)}, "emphasis .* has no effect"),
        ({"objectives": {"image": 1}, "loss": ("bce", "mse"), "winner_take_all": "lifetime"}, "winner_take_all .* no effect"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_objectives_that_cannot_be_are_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_objectives(**how)


def test_an_average_over_positions_needs_positions() -> None:
    pooled = {"objectives": {"labels": 1.0}, "objective_options": {"labels.pooled": True}}
    assert with_objectives(**pooled)
    with pytest.raises(
        InputError, match=r"objective 'labels' cannot be used on stage 1, a dense stage: .*leave pooled out"
    ):
        with_objectives(stack=StackSpec.of("dense", 7, 5), **pooled)


def test_the_loss_of_an_image_must_fit_the_output() -> None:
    linear = StackSpec.of("conv", 4, 6, output="linear")
    with pytest.raises(InputError, match="loss 'bce' cannot be used"):
        with_objectives(stack=linear, objectives={"image": 1.0}, loss=("bce", "mse"))
    assert with_objectives(stack=linear, objectives={"labels": 1.0}, loss=("bce", "mse"))


def test_specs_of_objectives_are_stored_and_older_ones_keep_their_ids() -> None:
    options = {"labels.layers": 2, "labels.pooled": True}
    spec = with_objectives(objectives={"labels": 0.5, "image": (1.0, 0.5)}, objective_options=options)
    assert from_json(to_json(spec)) == spec
    assert spec.optimisation.objectives_of(2) == [("image", 0.5), ("labels", 0.5)]
    assert "objective" not in to_json(SPEC)


def test_what_cannot_be_trained_with_labels_says_so() -> None:
    with pytest.raises(InputError, match=r"policy 'local' learns classes: train it with stacked\.run"):
        pretrain(TAUGHT, IMAGES)
    parts = [Split(IMAGES[:40], torch.full((40,), -1)) for _ in range(3)]
    with pytest.raises(InputError, match="policy 'local' learns classes, and bare has none: choose other objectives"):
        run(TAUGHT, Splits("bare", *parts, ()))
    with pytest.raises(
        InputError, match="policy 'supervised' learns classes, and bare has none: choose another policy"
    ):
        run(replace(TAUGHT, policy="supervised"), Splits("bare", *parts, ()))
    dense = with_objectives(stack=StackSpec.of("dense", 7, 5), objectives={"image": 1.0})
    with pytest.raises(InputError, match="policy 'local' trains by objectives, which are not batched"):
        train_seeds(dense, [0, 1], toy_splits(64))


# Cost


def test_local_objectives_take_less_memory_than_the_same_at_the_end() -> None:
    """Where maps stay large: the activations of one block are kept at a time, and the decoder of an image has few channels.

    Training all blocks at once takes more than one after another, because all of them have gradients and optimiser states.
    """
    stack, how = StackSpec.of("conv", 24, 24, 24, 24, stride=1), replace(HOW, objectives={"image": 1.0, "labels": 0.5})

    def peak(policy: str) -> int:
        spec = replace(SPEC, policy=policy, stack=stack, optimisation=how)
        return max(phase_cost(spec, (1, 16, 16), phase, 256, 4).peak_bytes for phase in spec.phases())

    assert peak("local") < 0.7 * peak("end-to-end")
    assert peak("local") < peak("local-simultaneous") < 0.9 * peak("end-to-end")
