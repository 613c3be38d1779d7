"""What makes a comparison honest: no leakage, exact accounts, curves at the depth reached, early stopping, seeds."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stacked import RunSpec, StackSpec
from stacked.components.losses import LOSSES, bce, per_example
from stacked.data.formats.split import Split, Splits
from stacked.data.labels import label_subset
from stacked.data.order import Order
from stacked.evaluation import evaluate, probes
from stacked.evaluation.fine_tuning import FineTuning, fine_tuned
from stacked.evaluation.probes import linear_probe
from stacked.evaluation.scores import accuracy
from stacked.model.stack import StackedAutoencoder, grow
from stacked.runs import supervised_end
from stacked.runs.run import Result, run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.spec.growth import Phase
from stacked.training import pretrain
from stacked.training.codes import StoredInputs, inputs
from stacked.training.fit import Training, TrainingMetrics, fit
from studies.record.reference import write_reference
from tests.helpers.splits import toy_splits

SPEC = RunSpec(
    policy="greedy+finetune",
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget((2.0,), 2.0),
    optimisation=Optimisation(batch_size=32, corruption_level=(0.1,), lr=1e-2),
    evaluation=Evaluation(every=2, images=40, probe_every=1, probe_images=40, probe_labels=40),
    classification=Classification(labels=(16,), updates=12, checks=4, images=64),
)
#: What depends on the clock, or on who else edits the code while tests run.
PASSING = ("train_seconds", "seconds", "progress/train_seconds", "commit", "run", "spec")
#: Ends phases early: the validation loss jumps about.
WILD = Optimisation(optimiser="sgd", lr=2.0, momentum=0.0, batch_size=32, corruption_level=(0.1,))
WILD = replace(WILD, patience=1, end_patience=1)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return toy_splits(150)  # 4 batches of 32 and a rest; 75 validation images: 2 batches and a rest


@pytest.fixture(scope="module")
def bare(splits: Splits) -> Splits:
    """The same without labels, so that nothing is probed or classified."""
    parts = [Split(s.inputs, torch.full_like(s.labels, -1)) for s in (splits.train, splits.valid, splits.test)]
    return Splits("bare", *parts, ())


def noise(split: Split) -> Split:
    """As many images of noise with other labels."""
    images = torch.randint(0, 256, split.inputs.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(7))
    return Split(images, (split.labels + 1) % 4)


def lasting(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in PASSING}


def same_weights(a: StackedAutoencoder, b: StackedAutoencoder) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def part(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key.removeprefix("final/").startswith(names)}


@pytest.fixture(scope="module")
def done(splits: Splits) -> Result:
    return run(SPEC, splits)


@pytest.mark.parametrize("how", [SPEC.optimisation, WILD], ids=["plain", "patience"])
def test_the_test_set_changes_nothing_but_test_metrics(how: Optimisation, splits: Splits) -> None:
    spec = replace(SPEC, optimisation=how)
    mine, other = run(spec, splits), run(spec, replace(splits, test=noise(splits.test)))
    assert same_weights(mine.stack, other.stack)
    assert [lasting(p) for p in mine.curve] == [lasting(p) for p in other.curve]
    chosen = ("valid_", "classifier_valid_acc", "classifier_lr", "classifier_updates")
    assert len(part(mine.row, *chosen)) == 4
    assert part(mine.row, *chosen) == part(other.row, *chosen)
    assert {k: v for k, v in lasting(mine.row).items() if "/" not in k} == {
        k: v for k, v in lasting(other.row).items() if "/" not in k
    }
    assert all(mine.row[k] != other.row[k] for k in ("final/recon_mse", "final/recon_mse_depth1", "final/probe_acc"))


def test_validation_images_train_nothing_and_fit_no_probe(done: Result, splits: Splits) -> None:
    other = run(SPEC, replace(splits, valid=noise(splits.valid)))
    assert same_weights(done.stack, other.stack)
    assert len(part(done.row, "recon_", "probe_acc")) == 10
    assert part(done.row, "recon_", "probe_acc") == part(other.row, "recon_", "probe_acc")
    assert done.row["final/valid_recon_mse"] != other.row["final/valid_recon_mse"]
    assert done.row["final/classifier_valid_acc_16"] != other.row["final/classifier_valid_acc_16"]
    for mine, theirs in zip(done.curve, other.curve, strict=True):
        assert mine["eval/recon_mse"] != theirs["eval/recon_mse"]
    assert done.curve[-1]["eval/probe_acc"] > other.curve[-1]["eval/probe_acc"]


def test_probes_are_fitted_on_training_images(splits: Splits) -> None:
    """On a test set of noise a probe fitted on it would be right, one fitted on training images cannot be."""
    spec, other = replace(SPEC, policy="random"), replace(splits, test=noise(splits.test))
    result, index = run(spec, other), label_subset(splits.train.labels, 40, 0)
    for depth in range(3):
        train, test = (evaluate.codes(result.stack, i, depth) for i in (splits.train.inputs[index], other.test.inputs))
        expected = linear_probe(train, splits.train.labels[index], test, other.test.labels)
        assert result.row[f"final/probe_acc_depth{depth}"] == expected < 0.9


def test_early_stopping_goes_by_the_validation_images(bare: Splits) -> None:
    spec = replace(SPEC, policy="joint", optimisation=WILD, budget=Budget((1.0,), 40.0))
    mine, other = run(spec, bare), run(spec, replace(bare, valid=noise(bare.valid)))
    assert mine.row["updates"] != other.row["updates"] or not same_weights(mine.stack, other.stack)


def test_references_are_fitted_on_training_images(splits: Splits, tmp_path: Path) -> None:
    base = replace(SPEC, stack=StackSpec.of("dense", 5))
    write_reference(tmp_path, splits, base)
    found = json.loads((tmp_path / "reference.json").read_text())
    train, test = (s.inputs.double().flatten(1) / 255 for s in (splits.train, splits.test))
    mean = train.mean(0)
    axes = torch.linalg.svd(train - mean, full_matrices=False).Vh[:5]
    left = (test - mean) - (test - mean) @ axes.T @ axes
    assert found["pca_components"] == 5
    assert (found["train_images"], found["train_labels"]) == (len(splits.train), len(splits.train))
    assert found["pca_mse"] == pytest.approx(left.square().mean().item(), rel=1e-6)
    assert found["mean_mse"] == pytest.approx((test - mean).square().mean().item(), rel=1e-9)


@pytest.mark.parametrize("codes", ["auto", "memory", "recompute"])
@pytest.mark.parametrize(("epochs", "encoded"), [(2.0, 150), (1.0, 4 * 32)])
def test_flops_are_counted_by_hand(epochs: float, encoded: int, codes: str, bare: Splits) -> None:
    """Several epochs encode each image once for stage 2, one epoch encodes each use, however it was really done."""
    spec = replace(SPEC, policy="greedy", budget=Budget((epochs,), None))
    result = run(spec, bare, codes=codes)
    one, two = 2 * 4 * 36 * 9, 2 * 6 * 4 * 9 * 9  # multiply-adds of the two encoders' convolutions
    uses = int(epochs) * 4 * 32
    # forward and twice as much backward for encoder and decoder, but for the gradient of what a stage reads
    trained = uses * 5 * one + encoded * one + uses * 5 * two
    # an epoch of batches forward, for running statistics of clean inputs
    again = 4 * 32 * (2 * one + 2 * two + (one if encoded == uses else 0))
    assert result.row["gflop"] * 1e9 == pytest.approx(trained + again, abs=0.5)
    assert result.row["images_seen"] == 2 * uses
    assert result.row["updates"] == 2 * uses // 32


def test_seconds_are_those_of_training_alone(splits: Splits, done: Result) -> None:
    stack = StackedAutoencoder(splits.input_shape)
    grow(stack, SPEC, 1)
    images, order = StoredInputs(splits.train.inputs), Order(150, 32, 0)
    began, slept, seconds = time.perf_counter(), 0.0, []
    for point in fit(stack, Phase("stage 1", (1, 1), 0, 5), images, SPEC.optimisation, order=order, seed=0, every=1):
        seconds.append(point.seconds)
        paused = time.perf_counter()
        time.sleep(0.2)
        slept += time.perf_counter() - paused
    assert 0 < seconds[-1] <= time.perf_counter() - began - slept
    assert seconds == sorted(seconds)
    along = [point["progress/train_seconds"] for point in done.curve]
    assert along == sorted(along)
    assert along[0] == 0 < along[-1] == done.row["train_seconds"] < done.row["seconds"]


def test_curves_are_measured_through_all_stages_grown(splits: Splits) -> None:
    spec = replace(SPEC, policy="greedy")
    two, one = run(spec, splits), run(replace(spec, stack=StackSpec.of("conv", 4)), splits)
    rows = torch.arange(40) * 75 // 40
    for point, result, depth in ((two.curve[4], one, 1), (two.curve[-1], two, 2), (one.curve[-1], one, 1)):
        assert point["progress/stage"] == depth
        assert point["step"] == 8 * depth
        found = evaluate.reconstruction(result.stack, splits.valid.inputs[rows])
        assert (point["eval/recon_mse"], point["eval/fvu"]) == (found.mse, found.fvu)
        known = torch.arange(40) * 150 // 40
        train, valid = splits.train, splits.valid
        quick = probes.quick_probe(
            evaluate.codes(result.stack, train.inputs[known], depth),
            train.labels[known],
            evaluate.codes(result.stack, valid.inputs[rows], depth),
            valid.labels[rows],
        )
        assert point["eval/probe_acc"] == quick


def test_a_run_that_stops_early_has_spent_what_it_says(bare: Splits) -> None:
    spec = replace(SPEC, optimisation=WILD, budget=Budget((40.0,), 40.0), evaluation=replace(SPEC.evaluation, every=7))
    row, curve = (result := run(spec, bare)).row, result.curve
    assert row["updates"] < 3 * 40 * 4
    assert row["updates"] % 4 == 0  # whole epochs
    assert row["images_seen"] == row["updates"] * 32
    assert curve[-1]["step"] == row["updates"]
    assert curve[-1]["progress/gflop"] == row["gflop"]
    assert curve[-1]["progress/images_seen"] == row["images_seen"]
    assert [p["step"] for p in curve[:-1]] == list(range(0, row["updates"], 7))
    rows = torch.arange(40) * 75 // 40  # the last point shows the weights put back, which are those of the row
    assert curve[-1]["eval/recon_mse"] == evaluate.reconstruction(result.stack, bare.valid.inputs[rows]).mse


def trained(
    patience: int, updates: int, bare: Splits, reads: int
) -> tuple[StackedAutoencoder, list[TrainingMetrics], list[Any]]:
    """A stage trained with early stopping: the stack, its points, and at each point a copy of the stack."""
    stack = StackedAutoencoder(bare.input_shape)
    grow(stack, SPEC, reads + 1)
    phase, order = Phase("stage", (reads + 1, reads + 1), reads, updates), Order(150, 32, 0)
    stack.learn_only(*phase.trainable).eval()
    read, held = (inputs(stack, reads, StoredInputs(s.inputs), "recompute", 32) for s in (bare.train, bare.valid))
    how, points, copies = replace(WILD, patience=patience, recalibrate=False), [], []
    for point in fit(stack, phase, read, how, order=order, seed=0, every=4, valid=held):
        assert all(stage.training == (k == reads) for k, stage in enumerate(stack.stages))
        points.append(point)
        copies.append(copy.deepcopy(stack))
    return stack, points, copies


@pytest.mark.parametrize("reads", [0, 1])
def test_the_validation_loss_is_the_mean_over_all_examples_in_eval_mode(reads: int, bare: Splits) -> None:
    _, points, copies = trained(100, 12, bare, reads)
    for point, stack in list(zip(points, copies, strict=True))[:-1]:  # the last shows the best weights put back
        stack.eval()
        with torch.no_grad():
            clean = stack.encode(bare.valid.inputs.float() / 255, reads)
            error = (stack.reconstruct(clean, reads + 1, start=reads) - clean).square().mean().item()
        assert point.valid_loss == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize(("patience", "end"), [(100, 24), (3, 16)], ids=["budget", "patience"])
def test_the_best_weights_return_at_either_end(patience: int, end: int, bare: Splits) -> None:
    inverted = Split(255 - bare.train.inputs, bare.train.labels)  # what is learnt makes dark images worse
    stack, points, copies = trained(patience, 24, replace(bare, train=inverted), 0)
    losses = [point.valid_loss or 0.0 for point in points]
    assert losses.index(min(losses)) == 0
    assert points[-1].update == end
    assert points[-1].stopped == (patience == 3)
    assert same_weights(stack, copies[0])
    assert not same_weights(stack, copies[-2])


def test_each_seed_and_each_stage_has_its_own_initial_weights() -> None:
    weights = {}
    for seed in (0, 1):
        stack = StackedAutoencoder((1, 12, 12))
        grow(stack, replace(SPEC, seed=seed, stack=StackSpec.of("conv", 4, 4, 4)), 3)
        weights[seed] = [stage.encoder[0].weight for stage in stack.stages]
    assert not torch.equal(weights[0][1], weights[0][2])
    for first, second in zip(weights[0], weights[1], strict=True):
        assert not torch.equal(first, second)


def test_seeds_differ_in_order_and_labels_and_arms_share_them(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[tuple[str, int], dict[str, Any]] = {}

    def training(*words: Any, **more: Any) -> Any:
        drawn["order"] = torch.stack([more["order"].batch(update) for update in range(8)])
        drawn["seed"] = more["seed"]
        return Training(*words, **more)

    def tuning(stack: Any, train: Any, valid: Any, classes: Any, how: Any, seed: int) -> Any:
        drawn["labelled"], drawn["head"] = StoredInputs.of(train[0])(torch.arange(len(train[0]))), seed
        return FineTuning(stack, train, valid, classes, how, seed)

    monkeypatch.setattr(pretrain, "Training", training)
    monkeypatch.setattr(supervised_end, "FineTuning", tuning)
    cheap = replace(SPEC, budget=Budget((0.25,), 0.25), classification=replace(SPEC.classification, updates=4))
    for policy, seed in (("greedy", 0), ("joint", 0), ("joint", 1)):
        drawn = seen[policy, seed] = {}
        run(replace(cheap, policy=policy, seed=seed), splits)
    one, other, apart = seen.values()
    for name in ("order", "labelled"):
        assert torch.equal(one[name], other[name])
        assert not torch.equal(other[name], apart[name])
    assert [(found["seed"], found["head"]) for found in seen.values()] == [(0, 0), (0, 0), (1, 1)]


def test_bce_is_binary_cross_entropy() -> None:
    output, target = torch.tensor([[0.9, 0.2], [0.5, 0.4]]), torch.tensor([[1.0, 0.0], [0.25, 1.0]])
    expected = [F.binary_cross_entropy(o, t).item() for o, t in zip(output, target, strict=True)]
    assert per_example(bce(output.logit(), target)).tolist() == pytest.approx(expected)
    assert expected[0] == pytest.approx(-(np.log(0.9) + np.log(0.8)) / 2)
    assert (LOSSES["bce"].of, LOSSES["bce"].logits) == (bce, True)


def test_the_classifier_is_that_of_its_best_check(done: Result, splits: Splits) -> None:
    """Tested on what picks it, its accuracy is the picked one, though the last learning rate teaches nothing."""
    how = Classification(lrs=(1e-2, 1e-9), updates=30, epochs=0.5, checks=3, batch_size=32, images=64)
    train, held = ((s.inputs, s.labels) for s in (splits.train, splits.valid))
    tuned = fine_tuned(done.stack, train, held, splits.classes, how, seed=0)
    assert tuned.lr == 1e-2
    assert accuracy(tuned.classifier, *held) == tuned.valid_score > 0.5
