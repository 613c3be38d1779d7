"""Whole runs: the same spec gives the same numbers, arms share what they should, phases resume."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import stacked.runs.run
from stacked import InputError, RunSpec, StackSpec, load_stack
from stacked.data.formats.split import Split, Splits
from stacked.evaluation import evaluate, probes, references
from stacked.evaluation.fine_tuning import fine_tuned
from stacked.evaluation.probes import PROBE_C, PROBE_ITERATIONS, linear_probe
from stacked.evaluation.scores import accuracy
from stacked.model.classifier import Classifier
from stacked.model.stack import StackedAutoencoder, grow
from stacked.runs.checkpoint import phase_path
from stacked.runs.curves import Curves
from stacked.runs.run import run
from stacked.runs.run_state import RunState
from stacked.runtime.environment import device_of
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.tracking.null_tracker import NullTracker
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import train_phases
from stacked.util.errors import Diverged
from tests.helpers.runs import numbers, same_weights
from tests.helpers.splits import toy_splits

#: names of the classes of `toy_splits`
CLASSES = ("0", "1", "2", "3")
SPEC = RunSpec(
    policy="greedy+finetune",
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget((2.0,), 2.0),
    optimisation=Optimisation(batch_size=32, corruption_level=(0.1,), lr=1e-2),
    evaluation=Evaluation(every=4, images=64, probe_every=2, probe_images=64, probe_labels=64),
    classification=Classification(labels=(16, None), updates=10, checks=2, images=64),
)


#: for what holds of runs of any length
SHORT = replace(
    SPEC,
    budget=Budget((4.0,), 3.0, "updates"),
    evaluation=replace(SPEC.evaluation, every=2),
    classification=replace(SPEC.classification, updates=2),
)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return toy_splits()


@pytest.fixture(scope="module")
def done(splits: Splits) -> Any:
    return run(SPEC, splits)


@pytest.fixture(scope="module")
def short(splits: Splits) -> Any:
    return run(SHORT, splits)


def test_the_same_spec_gives_the_same_numbers_and_another_seed_others(short: Any, splits: Splits) -> None:
    again, other = run(SHORT, splits), run(replace(SHORT, seed=1), splits)
    assert numbers(again) == numbers(short)
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.stack.state_dict().values(), short.stack.state_dict().values(), strict=True)
    )
    assert other.row["final/recon_mse"] != short.row["final/recon_mse"]


@pytest.mark.parametrize("codes", ["memory", "recompute"])
def test_how_codes_are_kept_changes_no_number(codes: str, short: Any, splits: Splits) -> None:
    forced = run(SHORT, splits, codes=codes)
    assert all(
        torch.equal(a, b)
        for a, b in zip(forced.stack.state_dict().values(), short.stack.state_dict().values(), strict=True)
    )
    assert {k: v for k, v in forced.row.items() if k.startswith("final/")} == {
        k: v for k, v in short.row.items() if k.startswith("final/")
    }


def test_nothing_depends_on_how_often_it_is_evaluated(short: Any, splits: Splits) -> None:
    often = run(replace(SHORT, evaluation=replace(SHORT.evaluation, every=1, probe_every=1)), splits)
    assert all(
        torch.equal(a, b)
        for a, b in zip(often.stack.state_dict().values(), short.stack.state_dict().values(), strict=True)
    )


def test_arms_share_initial_weights_data_order_and_labels(short: Any, splits: Splits) -> None:
    first = {}
    for policy in ("greedy", "joint", "random"):
        stack = StackedAutoencoder(splits.input_shape)
        grow(stack, replace(SHORT, policy=policy), 2)
        first[policy] = stack.state_dict()
    for name, value in first["greedy"].items():
        assert torch.equal(value, first["joint"][name])
        assert torch.equal(value, first["random"][name])
    greedy, finetuned = run(replace(SHORT, policy="greedy"), splits), short
    shared = [p for p in finetuned.curve if p["phase"].startswith("stage") and "train/loss" in p]
    theirs = [p for p in greedy.curve if "train/loss" in p]
    assert [p["train/loss"] for p in theirs[: len(shared)]] == [p["train/loss"] for p in shared]


def test_stages_grow_on_the_device_of_the_run(splits: Splits) -> None:
    stack = StackedAutoencoder(splits.input_shape)
    grow(stack, SPEC, 2, torch.device("meta"))
    assert {p.device.type for p in stack.parameters()} == {"meta"}


def test_what_a_run_reports(done: Any) -> None:
    row = done.row
    assert row["updates"] == 16 * 2 + 16
    assert row["images_seen"] == row["updates"] * 32
    assert row["final/recon_mse"] == row["final/recon_mse_depth2"]
    assert row["final/recon_sse"] == pytest.approx(row["final/recon_mse"] * 144)
    assert [p["step"] for p in done.curve] == list(range(0, 49, 4))
    assert [p["phase"] for p in done.curve[:2]] == ["stage 1", "stage 1"]
    assert done.curve[-1]["progress/gflop"] == row["gflop"]
    assert [p["step"] for p in done.curve if "eval/probe_acc" in p] == list(range(0, 49, 8))
    assert set(done.samples) == {"originals", "depth1", "depth2", "filters"}
    assert row["final/classifier_acc_all"] > 0.5


def test_training_beats_the_untrained_floor(done: Any, splits: Splits) -> None:
    floor = run(replace(SPEC, policy="random", evaluation=replace(SPEC.evaluation, until=48)), splits)
    assert floor.row["updates"] == floor.row["gflop"] == 0
    assert [p["step"] for p in floor.curve] == [0, 48]
    assert floor.curve[0]["eval/recon_mse"] == floor.curve[1]["eval/recon_mse"]
    assert done.row["final/recon_mse"] < 0.5 * floor.row["final/recon_mse"]


@pytest.mark.parametrize("phase", [1, 2])
def test_a_run_goes_on_after_its_last_finished_phase(phase: int, short: Any, splits: Splits, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    class Killed(NullTracker):
        """Stops the run right after the checkpoint of `phase`."""

        def artifact(self, path: Path, folder: str) -> None:
            if path == phase_path(tmp_path, phase):
                raise Stop

    with pytest.raises(Stop):
        run(SHORT, splits, work=tmp_path, tracker=Killed())
    resumed = run(SHORT, splits, work=tmp_path)
    assert numbers(resumed) == numbers(short)


def test_a_run_keeps_its_whole_stack_and_replaces_one_that_is_damaged(
    short: Any, splits: Splits, tmp_path: Path
) -> None:
    (tmp_path / "stack.safetensors").write_bytes(b"damaged")
    logged = []

    class Tracker(NullTracker):
        def artifact(self, path: Path, folder: str) -> None:
            logged.append((path.name, folder))

    mine = run(SHORT, splits, work=tmp_path, tracker=Tracker())
    loaded = load_stack(tmp_path / "stack.safetensors")
    assert same_weights(loaded, mine.stack)
    x = splits.test.inputs[:3] / 255
    with torch.no_grad():
        assert torch.equal(loaded(x), short.stack(x))
    assert loaded.spec == SHORT.stack
    assert ("stack.safetensors", "stack") in logged


def test_divergence_ends_the_run_with_its_points_kept(splits: Splits) -> None:
    points = []

    class Noting(NullTracker):
        def log(self, values: dict[str, float], step: int) -> None:
            points.append(step)

    wild = replace(SPEC, optimisation=Optimisation(optimiser="sgd", lr=1e30, batch_size=32))
    with pytest.raises(Diverged, match=r"phase 'stage \d' at update"):
        run(wild, splits, tracker=Noting())
    assert points[0] == 0


def test_what_the_data_cannot_serve_is_refused_before_training(splits: Splits) -> None:
    for labels, message in (((3,), "a budget of 3 labels"), ((10_000,), "a budget of 10000 labels")):
        with pytest.raises(InputError, match=message):
            run(replace(SPEC, classification=replace(SPEC.classification, labels=labels)), splits)
    with pytest.raises(InputError, match="images of 12 x 12 pixels are too small for 4 conv stages"):
        run(replace(SPEC, stack=StackSpec.of("conv", 2, 2, 2, 2)), splits)
    for width, message in (
        (10**12, r"weights need [\d,.]+ GiB of memory, and [\d,.]+ are free"),
        (2**62, "weights are too many"),
    ):
        with pytest.raises(InputError, match=f"the stack's {message}.*: give smaller widths"):
            run(replace(SPEC, stack=StackSpec.of("dense", width)), splits)
    for device in ("cuda:99", "cpu:99999", "meta", "hpu", "privateuseone"):
        with pytest.raises(InputError, match=f"device '{device}' cannot be used here"):
            device_of(device)
    with pytest.raises(InputError, match="device 'gpu' is not known: give cpu, cuda"):
        device_of("gpu")
    with pytest.raises(InputError, match="device None is not known"):
        device_of(None)  # type: ignore[arg-type]


def test_without_labels_a_run_measures_reconstruction_alone(splits: Splits) -> None:
    def unlabelled(split: Split) -> Split:
        return Split(split.inputs, torch.full_like(split.labels, -1))

    bare = Splits("bare", unlabelled(splits.train), unlabelled(splits.valid), unlabelled(splits.test), ())
    row = run(SHORT, bare).row
    assert "final/recon_mse" in row
    assert not any("probe" in name or "classifier" in name for name in row)


def test_errors_are_those_of_their_definitions(done: Any, splits: Splits) -> None:
    images = splits.test.inputs
    x = images.double() / 255
    with torch.no_grad():
        squared = (copy.deepcopy(done.stack).double()(x) - x).square()
    found = evaluate.reconstruction(done.stack, images)
    assert found.mse == pytest.approx(squared.mean().item(), rel=1e-5)
    assert found.sse == pytest.approx(squared.flatten(1).sum(1).mean().item(), rel=1e-5)
    assert found.fvu == pytest.approx((squared.sum() / (x - x.mean(0)).square().sum()).item(), rel=1e-5)
    assert found.psnr == pytest.approx(-10 * torch.log10(squared.mean()).item(), rel=1e-5)
    assert references.mean_reference(images, images).fvu == pytest.approx(1)
    rank = references.pca_reference(images, images, 10)
    s = torch.linalg.svdvals((x - x.mean(0)).flatten(1))
    assert rank.sse == pytest.approx((s[10:] ** 2).sum().item() / len(x), rel=1e-6)


def test_the_error_at_full_depth_is_that_of_all_stages_once_they_are_grown(done: Any) -> None:
    depths = {point["progress/stage"] for point in done.curve}
    assert depths == {1, 2}
    for point in done.curve:
        full = {name: point[name] for name in ("eval/full_depth_mse", "progress/gflop_at_full_depth") if name in point}
        expected = {
            "eval/full_depth_mse": point["eval/recon_mse"],
            "progress/gflop_at_full_depth": point["progress/gflop"],
        }
        assert full == (expected if point["progress/stage"] == 2 else {})


def test_the_probe_is_scikit_learns(done: Any, splits: Splits) -> None:
    train = evaluate.codes(done.stack, splits.train.inputs, 2)
    test = evaluate.codes(done.stack, splits.test.inputs, 2)
    scaler = StandardScaler().fit(train)
    model = LogisticRegression(C=PROBE_C, max_iter=PROBE_ITERATIONS).fit(scaler.transform(train), splits.train.labels)
    expected = model.score(scaler.transform(test), splits.test.labels)
    assert linear_probe(train, splits.train.labels, test, splits.test.labels) == pytest.approx(expected)


def test_the_classifier_leaves_the_stack_alone_and_picks_on_valid(done: Any, splits: Splits) -> None:
    before = copy.deepcopy(done.stack.state_dict())
    train, valid = ((s.inputs, s.labels) for s in (splits.train, splits.valid))
    how = Classification(lrs=(1e-9, 1e-2), updates=30, epochs=0.5, checks=3, batch_size=64, images=128)
    tuned = fine_tuned(done.stack, train, valid, CLASSES, how, seed=0)
    assert all(torch.equal(before[k], v) for k, v in done.stack.state_dict().items())
    assert tuned.lr == 1e-2
    assert tuned.updates in (10, 20, 30)
    assert tuned.updates_made == 60
    assert tuned.valid_score == accuracy(tuned.classifier, *valid)


def test_the_classifier_starts_from_the_encoder(done: Any, splits: Splits) -> None:
    model = Classifier(done.stack, CLASSES).eval()
    x = StoredInputs(splits.test.inputs)(torch.arange(8))
    with torch.no_grad():
        assert torch.equal(model.encoder(x), done.stack.encode(x))
    assert all(p.requires_grad for p in model.parameters())
    assert 0 <= accuracy(model, splits.test.inputs, splits.test.labels) <= 1


# What is not defined, and what is no number


def alike(splits: Splits, valid: int = 5, test: int = 5) -> Splits:
    """Without classes, and with validation and test images that are copies of one."""
    none = torch.full_like(splits.train.labels, -1)
    copies = splits.test.inputs[:1]
    parts = [Split(copies.repeat(n, 1, 1, 1), none[:n]) for n in (valid, test)]
    return Splits("alike", Split(splits.train.inputs, none), *parts, ())


@pytest.mark.parametrize("count", [1, 5])
def test_fvu_of_images_that_do_not_differ_is_not_defined(count: int, splits: Splits) -> None:
    logged: dict[str, float] = {}

    class Noting(NullTracker):
        def log(self, values: dict[str, float], step: int) -> None:
            logged.update(values)

    images = alike(splits, count, count)
    found = run(replace(SPEC, budget=Budget(1, 1, "updates")), images, tracker=Noting())  # type: ignore[arg-type]
    assert math.isnan(found.row["final/recon_fvu"])
    assert found.row["final/recon_mse"] > 0
    assert all("eval/recon_mse" in point and "eval/fvu" not in point for point in found.curve)
    assert "final/recon_mse" in logged
    assert not {"final/recon_fvu", "eval/fvu"} & logged.keys()
    for reference in (
        references.mean_reference(images.train.inputs, images.test.inputs),
        references.pca_reference(images.train.inputs, images.test.inputs, 3),
    ):
        assert math.isnan(reference.fvu)
        assert reference.mse > 0


def test_errors_that_are_no_numbers_stay_so() -> None:
    broken = evaluate.errors(math.nan, 1.0, 10)
    assert all(math.isnan(value) for value in (broken.mse, broken.sse, broken.fvu, broken.psnr))
    assert evaluate.errors(0.0, 1.0, 10).psnr == math.inf
    assert math.isnan(evaluate.errors(1.0, 0.0, 10).fvu)


def test_a_stack_that_restores_no_numbers_ends_the_run(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever training made of it: its error must not get into a mean over seeds."""

    def broken(*given: Any, **more: Any) -> None:
        train_phases(*given, **more)
        with torch.no_grad():
            given[0].stages[0].decoder[0].bias.fill_(float("nan"))

    monkeypatch.setattr(stacked.runs.run, "train_phases", broken)
    with pytest.raises(Diverged, match="the validation examples' reconstruction from depth 2 has an error of nan"):
        run(SHORT, splits)
    monkeypatch.undo()
    gap = Curves(SHORT, splits, RunState(), NullTracker()).measure(spoiled(splits), True)
    assert gap == {}


def spoiled(splits: Splits) -> StackedAutoencoder:
    stack = StackedAutoencoder(splits.input_shape)
    grow(stack, SPEC, 2)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.fill_(float("nan"))
    return stack


def test_of_equal_classifiers_the_first_is_chosen(done: Any, splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stacked.evaluation.fine_tuning.score", lambda *_: 0.5)
    both = ((splits.train.inputs, splits.train.labels),) * 2
    tuned = fine_tuned(
        done.stack, *both, CLASSES, Classification(lrs=(1e-3, 1e-2), updates=8, checks=4, batch_size=32), seed=0
    )
    assert (tuned.lr, tuned.updates) == (1e-3, 2)


def test_a_classifier_that_diverges_names_no_class(done: Any, splits: Splits) -> None:
    train, valid, test = ((s.inputs, s.labels) for s in (splits.train, splits.valid, splits.test))
    how = Classification(lrs=(1e38, 1e-2), updates=10, checks=5, batch_size=32, images=64)
    tuned = fine_tuned(done.stack, train, valid, CLASSES, how, seed=0)
    alone = fine_tuned(done.stack, train, valid, CLASSES, replace(how, lrs=(1e-2,)), seed=0)
    assert (tuned.lr, tuned.updates, tuned.valid_score) == (1e-2, alone.updates, alone.valid_score)
    mine, theirs = (each.classifier.state_dict() for each in (tuned, alone))
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    with pytest.raises(
        Diverged, match=r"the classifier of 256 labels became non-finite at every learning rate \(1e\+38\)"
    ):
        fine_tuned(done.stack, train, valid, CLASSES, replace(how, lrs=(1e38,)), seed=0)
    with pytest.raises(Diverged, match="outputs are not finite"):
        accuracy(Classifier(spoiled(splits), CLASSES), *test)
    with pytest.raises(Diverged, match="the codes for the probes are not finite"):
        linear_probe(torch.full((8, 2), torch.nan), torch.arange(8) % 4, torch.zeros(8, 2), torch.arange(8) % 4)
    assert math.isnan(
        probes.quick_probe(torch.full((8, 2), torch.nan), torch.arange(8), torch.zeros(8, 2), torch.arange(8))
    )


def test_fewer_probe_images_than_classes_are_refused(splits: Splits) -> None:
    with pytest.raises(InputError, match="3 probe_images are too few for 4 classes: give at least as many"):
        run(replace(SPEC, evaluation=replace(SPEC.evaluation, probe_images=3)), splits)
