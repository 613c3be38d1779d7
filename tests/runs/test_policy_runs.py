"""Growth policies as whole runs: they end, repeat, resume, account for themselves, and read only what they may."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from stacked import InputError, RunSpec, StackSpec
from stacked.components.schedules import learning_rate
from stacked.data.formats.split import Split, Splits
from stacked.data.labels import label_subset
from stacked.model.stack import StackedAutoencoder, build
from stacked.runs.checkpoint import load_checkpoint, phase_path
from stacked.runs.run import Result, run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.spec.growth import POLICIES
from stacked.stages.initialise import resample
from stacked.tracking.null_tracker import NullTracker
from tests.helpers.counted import prefix_flops, update_flops
from tests.helpers.policies import makes_updates, needs_patience
from tests.helpers.runs import numbers, same_weights
from tests.helpers.splits import toy_splits

#: 150 training images in batches of 32: an epoch of 4 updates, and a rest.
SPEC = RunSpec(
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget((2.0,), 3.0),
    optimisation=Optimisation(batch_size=32, corruption_level=(0.1,), lr=1e-2),
    evaluation=Evaluation(every=4, images=40, probe_every=100, probe_images=40, probe_labels=40),
    classification=Classification(labels=()),
)
#: A stage alone has 8 updates, all together have 12.
STAGE, END = 8, 12
#: With the images of `few`, half as many: an epoch of 2 updates, and a rest.
SHORT = replace(SPEC, budget=Budget((2.0,), 4.0))
#: Ends phases early where `inverted`: what is learnt makes negatives worse, and every 3 updates a look is taken.
STOPPING = replace(SPEC.optimisation, patience=2, end_patience=2, check_every=3, schedule="cosine", recalibrate=False)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return toy_splits(150)


@pytest.fixture(scope="module")
def few() -> Splits:
    return toy_splits(70)


@pytest.fixture(scope="module")
def inverted(splits: Splits) -> Splits:
    """The same, but validated on negatives."""
    return replace(splits, valid=Split(255 - splits.valid.inputs, splits.valid.labels))


class Noting(NullTracker):
    """Keeps what each phase was said to be, and the validation losses."""

    def __init__(self) -> None:
        self.phases: list[dict[str, Any]] = []
        self.valid: list[float] = []

    def phase(self, number: int, name: str, params: dict[str, Any], tags: dict[str, Any]) -> Noting:
        self.phases.append({"name": name, **params})
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.valid += [value for key, value in values.items() if key == "stage/valid_loss"]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_runs_to_its_end_and_counts_what_it_spent(policy: str, few: Splits) -> None:
    # a stage that may converge, and does not
    how = replace(SHORT.optimisation, patience=1000 if needs_patience(policy) else None)
    spec = replace(SHORT, policy=policy, optimisation=how)
    phases = spec.phases(2)
    result = run(spec, few)
    row, curve = result.row, result.curve
    assert row["updates"] == sum(phase.updates for phase in phases)
    assert row["images_seen"] == 32 * row["updates"]
    assert {"final/recon_mse", "final/probe_acc", "final/recon_mse_depth1", "final/valid_recon_mse"} <= set(row)
    for each in [row, *curve]:
        assert all(math.isfinite(value) for value in each.values() if isinstance(value, float))
    assert curve[-1]["step"] == row["updates"]
    assert result.stack.depth == 2
    assert not result.stack.training
    if not makes_updates(policy):
        assert row["gflop"] == row["peak_mb"] == row["codes_mb"] == 0
        return
    # before the weights are redrawn, and after
    again = [sum(before.updates for before in phases[:k]) for k, phase in enumerate(phases) if phase.resamples]
    assert [point["step"] for point in curve] == sorted([*range(0, row["updates"] + 1, 4), *again])
    assert curve[-1]["progress/images_seen"] == row["images_seen"]
    assert curve[-1]["progress/gflop"] == row["gflop"] > 0
    assert row["peak_mb"] > 0
    reads_codes = any(phase.input_depth and phase.updates for phase in phases)
    assert row["codes_mb"] == (4 * 70 * 4 * 6 * 6 / 1e6 if reads_codes else 0)


@pytest.mark.parametrize("policy", ["greedy-pixels+unfreeze", "greedy-images", "simultaneous", "supervised+finetune"])
def test_the_same_spec_gives_the_same_numbers(policy: str, few: Splits) -> None:
    """With estimates drawn anew in every update, too."""
    how = replace(SHORT.optimisation, penalties=(("contractive-estimate", 1e-3),))
    spec = replace(SHORT, policy=policy, optimisation=how)
    one, two, other = run(spec, few), run(spec, few), run(replace(spec, seed=1), few)
    assert numbers(one) == numbers(two)
    assert same_weights(one.stack, two.stack)
    assert one.row["final/recon_mse"] != other.row["final/recon_mse"]


@pytest.mark.parametrize("policy", ["greedy-pixels", "greedy-pixels+unfreeze", "supervised+unfreeze"])
def test_how_codes_are_kept_changes_no_number(policy: str, few: Splits) -> None:
    spec = replace(SHORT, policy=policy)
    kept, again = run(spec, few, codes="memory"), run(spec, few, codes="recompute")
    assert same_weights(kept.stack, again.stack)
    assert numbers(kept) == numbers(again)


def test_the_first_stage_is_the_same_however_the_stack_grows(few: Splits) -> None:
    shallow = replace(SHORT, stack=StackSpec.of("conv", 4))
    stacks = {
        policy: run(replace(shallow, policy=policy), few).stack
        for policy in ("greedy", "greedy-pixels", "progressive", "simultaneous")
    }
    for policy, stack in stacks.items():
        for a, b in zip(stack.parameters(), stacks["greedy"].parameters(), strict=True):
            assert torch.equal(a, b), policy
    two = run(replace(SHORT, policy="greedy-pixels"), few).stack
    assert same_weights(StackedAutoencoder((1, 12, 12), [two.stages[0]]), stacks["greedy"])


def test_resampled_weights_are_those_of_greedy_training_redrawn(few: Splits) -> None:
    greedy, resampled = (run(replace(SHORT, policy=policy), few) for policy in ("greedy", "resampled"))
    for name in ("updates", "images_seen", "gflop", "peak_mb"):
        assert greedy.row[name] == resampled.row[name]
    expected = copy.deepcopy(greedy.stack)
    resample(expected, SHORT.seed)
    assert same_weights(resampled.stack, expected)
    assert not same_weights(resampled.stack, greedy.stack)
    last, trained = resampled.curve[-1], greedy.curve[-1]
    assert (last["phase"], last["step"], last["progress/gflop"]) == (
        "resampling",
        trained["step"],
        trained["progress/gflop"],
    )
    assert last["eval/recon_mse"] != trained["eval/recon_mse"]
    assert "eval/probe_acc" in last


# Phases that end when they have converged


def test_a_stage_that_does_not_stop_is_a_greedy_one(splits: Splits) -> None:
    how = replace(SPEC.optimisation, patience=100)
    greedy = run(replace(SPEC, policy="greedy", optimisation=how), splits)
    assert same_weights(run(replace(SPEC, policy="converge", optimisation=how), splits).stack, greedy.stack)


def flops_per_update(spec: RunSpec, splits: Splits) -> list[int]:
    """What an update of each phase costs, codes at hand."""
    stack = build(spec.stack, splits.input_shape)
    return [32 * update_flops(stack, phase, spec.optimisation) for phase in spec.phases(4)]


@pytest.mark.parametrize("policy", ["converge+finetune", "converge"])
def test_what_a_converged_stage_leaves_goes_to_the_next(policy: str, inverted: Splits) -> None:
    """Its schedule, too, is that of the longer phase."""
    spec = replace(SPEC, policy=policy, optimisation=STOPPING, budget=Budget((10.0,), 5.0))
    noted = Noting()
    result = run(replace(spec, evaluation=replace(spec.evaluation, every=1)), inverted, tracker=noted)
    budget = [40, 40, 20][: len(noted.phases)]
    left, spent = 0, 0
    for phase, own, each in zip(noted.phases, budget, flops_per_update(spec, inverted), strict=True):
        more, left = divmod(left, each)
        points = [point for point in result.curve if point["phase"] == phase["name"] and "train/lr" in point]
        made = points[-1]["phase_step"]
        assert phase["updates"] == own + more
        assert made < own  # it has stopped
        assert made % 3 == 0  # where it looked
        rates = [point["train/lr"] for point in points]
        assert rates == [learning_rate(1e-2, "cosine", 0, update, own + more) for update in range(made)]
        left, spent = left + (own + more - made) * each, spent + made
    assert result.row["updates"] == spent
    assert result.row["images_seen"] == 32 * spent
    assert len(noted.valid) == spent // 3


def test_what_any_phase_leaves_goes_to_the_one_in_which_all_learn(inverted: Splits) -> None:
    """Stages of a plain greedy run may end early too, and so may an inner phase of unfreezing; their schedules differ."""
    how = replace(STOPPING, end_patience=1, end_schedule="constant")
    spec = replace(SPEC, policy="greedy+unfreeze", optimisation=how, budget=Budget((10.0,), 5.0))
    noted = Noting()
    result = run(replace(spec, evaluation=replace(spec.evaluation, every=1)), inverted, tracker=noted)
    each = flops_per_update(spec, inverted)
    points = [[p for p in result.curve if p["phase"] == phase["name"] and "train/lr" in p] for phase in noted.phases]
    made = [rates[-1]["phase_step"] for rates in points]
    assert all(steps < own for steps, own in zip(made[:3], (40, 40, 10), strict=True))
    assert [phase["updates"] for phase in noted.phases[:3]] == [40, 40, 10]
    left = sum((own - steps) * flops for own, steps, flops in zip((40, 40, 10), made[:3], each[:3], strict=True))
    assert noted.phases[3]["updates"] == 10 + left // each[3] > 10
    assert {p["train/lr"] for p in points[2] + points[3]} == {1e-2}
    assert len({p["train/lr"] for p in points[1]}) == made[1]


def test_what_follows_growth_has_a_patience_of_its_own(inverted: Splits) -> None:
    how = replace(STOPPING, end_patience=None)
    spec = replace(SPEC, policy="greedy+finetune", optimisation=how, budget=Budget((10.0,), 5.0))
    noted = Noting()
    result = run(spec, inverted, tracker=noted)
    assert noted.phases[2]["updates"] > 20
    assert result.curve[-1]["phase_step"] == noted.phases[2]["updates"]


# Going on after what is finished


class Copying(NullTracker):
    """Keeps the directory as a run that is killed right after the checkpoint of a phase leaves it, for each phase."""

    def __init__(self, work: Path, copies: Path) -> None:
        self.work, self.copies = work, copies

    def artifact(self, path: Path, folder: str) -> None:
        if path.parent == self.work:
            shutil.copytree(self.work, self.copies / path.name)


CONVERGING = replace(SPEC, policy="converge+finetune", optimisation=STOPPING, budget=Budget((10.0,), 5.0))
RESUMED = {
    "greedy-pixels+unfreeze": replace(SPEC, policy="greedy-pixels+unfreeze"),
    "converge+finetune": CONVERGING,
    "resampled+finetune": replace(SPEC, policy="resampled+finetune"),
}


@dataclass(frozen=True)
class Whole:
    """A run that was not stopped, its directory, and the directory as it was after each phase."""

    result: Result
    work: Path
    copies: Path


@pytest.fixture(scope="module")
def whole(inverted: Splits, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    @cache
    def of(policy: str) -> Whole:
        work, copies = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("copies")
        return Whole(run(RESUMED[policy], inverted, work=work, tracker=Copying(work, copies)), work, copies)

    return of


@pytest.mark.parametrize(
    ("policy", "phase"),
    [(policy, k) for policy, spec in RESUMED.items() for k in range(1, len(spec.phases(4)) + 1)],
)
def test_a_run_goes_on_after_any_phase_as_if_it_had_not_stopped(
    policy: str, phase: int, whole: Callable[[str], Whole], inverted: Splits, tmp_path: Path
) -> None:
    expected = whole(policy)
    work = expected.copies / phase_path(tmp_path, phase).name
    assert phase_path(work, phase).exists()
    assert not phase_path(work, phase + 1).exists()
    resumed = run(RESUMED[policy], inverted, work=work)
    assert numbers(resumed) == numbers(expected.result)
    assert same_weights(resumed.stack, expected.result.stack)


def test_a_checkpoint_keeps_what_is_left_over(whole: Callable[[str], Whole], inverted: Splits) -> None:
    work = whole("converge+finetune").work
    states = [load_checkpoint(phase_path(work, k), CONVERGING).state for k in (1, 2, 3)]
    each = flops_per_update(CONVERGING, inverted)
    budget = sum(updates * flops for updates, flops in zip((40, 40, 20), each, strict=True))
    encoding = 150 * prefix_flops(build(CONVERGING.stack, inverted.input_shape), 1)  # of the codes that stage 2 keeps
    assert states[2]["flop"] + states[2]["spare"] == budget + encoding
    assert all(state["spare"] > 0 for state in states)


# Learning from classes


CLASSES = replace(
    SPEC,
    policy="supervised",
    optimisation=replace(SPEC.optimisation, labels=40),
    classification=Classification(labels=(16, 40, 100, None), updates=2, checks=2, images=40),
)


def test_no_classifier_of_fewer_labels_than_its_encoder_has_seen(splits: Splits) -> None:
    def budgets(spec: RunSpec) -> set[str]:
        row = run(spec, splits).row
        assert 0 <= row["final/probe_acc"] <= 1
        return {name.removeprefix("final/classifier_acc_") for name in row if "classifier_acc_" in name}

    assert budgets(CLASSES) == {"40", "100", "all"}
    assert budgets(replace(CLASSES, policy="supervised+unfreeze")) == {"40", "100", "all"}
    assert budgets(replace(CLASSES, optimisation=SPEC.optimisation)) == {"all"}
    assert budgets(replace(CLASSES, policy="greedy")) == {"16", "40", "100", "all"}


def poisoned(splits: Splits, spare: torch.Tensor) -> Splits:
    """Noise in the place of all training images but these."""
    draw = torch.Generator().manual_seed(7)
    images = torch.randint(0, 256, splits.train.inputs.shape, dtype=torch.uint8, generator=draw)
    images[spare] = splits.train.inputs[spare]
    return replace(splits, train=Split(images, splits.train.labels))


def test_a_supervised_run_learns_from_no_image_beyond_its_labels(splits: Splits) -> None:
    bare = replace(CLASSES, classification=Classification(labels=()))
    mine = label_subset(splits.train.labels, 40, bare.seed)
    one, other, fewer = (run(bare, s) for s in (splits, poisoned(splits, mine), poisoned(splits, mine[:-1])))
    assert same_weights(one.stack, other.stack)
    assert not same_weights(one.stack, fewer.stack)
    assert one.row["images_seen"] == 2 * STAGE * 32  # as many updates as other arms, whose epochs are longer


def test_a_supervised_run_needs_classes_and_enough_labels(splits: Splits) -> None:
    parts = [Split(s.inputs, torch.full_like(s.labels, -1)) for s in (splits.train, splits.valid, splits.test)]
    many = replace(SPEC.optimisation, labels=151)
    with pytest.raises(
        InputError, match="policy 'supervised' learns classes, and bare has none: choose another policy"
    ):
        run(CLASSES, Splits("bare", *parts, ()))
    with pytest.raises(InputError, match="a budget of 151 labels does not fit 150 labelled examples"):
        run(replace(CLASSES, optimisation=many), splits)
    run(replace(SPEC, policy="greedy", optimisation=many), splits)


def test_unlabelled_images_teach_no_classes_but_reconstruction(splits: Splits) -> None:
    labels = splits.train.labels.clone()
    labels[::3] = -1
    known = (labels >= 0).nonzero().flatten()
    some = replace(splits, train=Split(splits.train.inputs, labels))
    for policy, unchanged in (("supervised", True), ("supervised+finetune", False)):
        spec = replace(SPEC, policy=policy)
        assert same_weights(run(spec, some).stack, run(spec, poisoned(some, known)).stack) == unchanged


def test_unlabelled_images_are_not_watched_for_their_classes(splits: Splits) -> None:
    labels = splits.valid.labels.clone()
    labels[::3] = -1
    known = (labels >= 0).nonzero().flatten()
    spec = replace(SPEC, policy="supervised", optimisation=STOPPING)
    some, all_known = Noting(), Noting()
    run(spec, replace(splits, valid=Split(splits.valid.inputs, labels)), tracker=some)
    run(spec, replace(splits, valid=splits.valid.take(known)), tracker=all_known)
    assert some.valid == all_known.valid != []


def test_the_validation_labels_end_a_supervised_phase(splits: Splits) -> None:
    spec = replace(SPEC, policy="supervised", optimisation=STOPPING, budget=Budget((10.0,), None))
    wrong = replace(splits, valid=Split(splits.valid.inputs, (splits.valid.labels + 1) % 4))
    right, misled = Noting(), Noting()
    one, other = run(spec, splits, tracker=right), run(spec, wrong, tracker=misled)
    assert [phase["loss"] for phase in right.phases] == ["cross-entropy", "cross-entropy"]
    assert right.valid[0] == pytest.approx(math.log(4), abs=0.5)
    assert min(right.valid) < 0.3
    assert min(misled.valid) > 1
    assert other.row["updates"] < one.row["updates"]


def test_what_follows_growth_has_a_rate_of_its_own(splits: Splits) -> None:
    """And that changes nothing before it."""
    how = replace(SPEC.optimisation, schedule="cosine")
    spec = replace(SPEC, policy="greedy+unfreeze", optimisation=how, evaluation=replace(SPEC.evaluation, every=1))
    one, slow = (run(replace(spec, optimisation=replace(how, end_lr=lr)), splits) for lr in (None, 1e-4))
    grown = 2 * STAGE + 1
    before = [[point | {"run": ""} for point in numbers(result)[1 : grown + 1]] for result in (one, slow)]
    assert before[0] == before[1]
    for result, peak in ((one, 1e-2), (slow, 1e-4)):
        half = [learning_rate(peak, "cosine", 0, update, END // 2) for update in range(END // 2)]
        assert [point["train/lr"] for point in result.curve[grown:]] == half * 2
    assert not same_weights(one.stack, slow.stack)


@pytest.mark.parametrize("tied", [False, True])
def test_decoders_do_not_change_while_classes_are_learnt(tied: bool, splits: Splits) -> None:
    """Not even by a penalty on all weights, or by weight decay; a tied weight is the encoder's, and learns."""
    how = replace(SPEC.optimisation, penalties=(("weight-decay", 0.1),), weight_decay=0.1)
    stack = StackSpec.of("dense", 8, 6, tied=tied)
    trained = run(replace(SPEC, policy="supervised", stack=stack, optimisation=how), splits).stack
    untrained = run(replace(SPEC, policy="random", stack=stack), splits).stack
    for ours, theirs in zip(trained.stages, untrained.stages, strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(ours.decoder.parameters(), theirs.decoder.parameters(), strict=True)
        )
        assert not torch.equal(ours.encoder[1].weight, theirs.encoder[1].weight)
