"""Classifiers: trained as a plain loop trains them, by any recipe, selected on validation images, and kept in files."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stacked import InputError, StackedAutoencoder, load_classifier
from stacked.components.dropout import dropout
from stacked.data import Splits
from stacked.data.order import Order
from stacked.evaluation.fine_tuning import FineTuning, Selected, fine_tuned
from stacked.evaluation.scores import accuracy
from stacked.model.batch_norm import norms
from stacked.model.classifier import Classifier, load_with_training, save_classifier
from stacked.model.regressor import Regressor
from stacked.model.stack import grow
from stacked.runs import run as run_module
from stacked.runs.run import Result, run
from stacked.runs.supervised_end import log_check
from stacked.runtime.rng import derive, generator, seeded
from stacked.spec import Classification, from_json
from stacked.util.serialization import to_json
from tests.helpers.runs import SPEC as SMALL
from tests.helpers.runs import same_weights
from tests.helpers.splits import toy_splits

CONFIG = Classification(labels=(20,), lrs=(1e-2,), updates=8, epochs=0.1, batch_size=16, checks=4, images=40)
SPEC = replace(SMALL, classification=CONFIG)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return toy_splits(150)


@pytest.fixture
def stack(splits: Splits) -> StackedAutoencoder:
    made = StackedAutoencoder(splits.input_shape)
    grow(made, SPEC, 2)
    return made.eval()


def tuned(stack: StackedAutoencoder, splits: Splits, **recipe: Any) -> Selected:
    """Fine-tune on 20 labels."""
    train = splits.train.inputs[:20], splits.train.labels[:20]
    return fine_tuned(stack, train, held(splits), splits.classes, replace(CONFIG, **recipe), seed=3)


def held(splits: Splits) -> tuple[Tensor, Tensor]:
    return splits.valid.inputs, splits.valid.labels


# Training


def test_the_classifier_is_that_of_a_plain_loop(stack: StackedAutoencoder, splits: Splits) -> None:
    found = tuned(stack, splits, checks=1)
    plain = copy.deepcopy(stack).train()
    with seeded(3, "head"):
        head = nn.Linear(int(np.prod(plain.latent_shape)), 4)
    params = [*plain.encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(params, lr=1e-2, fused=True)
    order = Order(20, 16, derive(3, "classifier"))
    for update in range(8):
        index = order.batch(update)
        logits = head(plain.encode(splits.train.inputs[index] / 255).flatten(1))
        loss = nn.functional.cross_entropy(logits, splits.train.labels[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert same_weights(found.classifier.encoder, plain.encoder)
    assert same_weights(found.classifier.head, head)
    assert (found.updates, found.updates_made, found.recalibrations) == (8, 8, 0)


def test_a_frozen_encoder_is_left_as_it_is_and_the_head_learns(stack: StackedAutoencoder, splits: Splits) -> None:
    found = tuned(stack, splits, encoder="frozen", checks=1)
    assert same_weights(found.classifier.encoder, stack.encoder)
    codes = stack.encode(splits.train.inputs[:20] / 255).flatten(1).detach()
    with seeded(3, "head"):
        head = nn.Linear(codes.shape[1], 4)
    optimiser, order = torch.optim.Adam(head.parameters(), lr=1e-2, fused=True), Order(20, 16, derive(3, "classifier"))
    for update in range(8):
        index = order.batch(update)
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(codes[index]), splits.train.labels[index]).backward()
        optimiser.step()
    torch.testing.assert_close(found.classifier.head.weight, head.weight)


def test_dropout_is_drawn_by_seed_and_update_and_scaled(stack: StackedAutoencoder, splits: Splits) -> None:
    train = splits.train.inputs[:16], splits.train.labels[:16]
    tuning = FineTuning(stack, train, held(splits), splits.classes, replace(CONFIG, dropout=0.5), seed=3)
    objective, x = tuning.training.objective, splits.train.inputs[:16] / 255
    code = tuning.training.stack.train().encode(x)
    dropped = dropout(code, 0.5, generator(3, "head dropout", 5))
    assert 0.2 < (dropped == 0).float().mean() < 0.95
    assert torch.equal(dropped[dropped != 0], 2 * code[dropped != 0])
    expected = nn.functional.cross_entropy(tuning.model.head(dropped.flatten(1)), train[1])
    tuning.begin(0)  # with the running statistics of before
    assert torch.equal(tuning.training.objective(x, train[1], 5), expected)
    assert objective.loss_per_example(x, train[1]).mean() != expected  # without dropout


def test_lower_stages_learn_more_slowly_by_the_factor(stack: StackedAutoencoder, splits: Splits) -> None:
    recipe = {"optimiser": "sgd", "momentum": 0.0, "updates": 1, "checks": 1}
    plain, slower = (tuned(stack, splits, rate_decay=decay, **recipe) for decay in (1.0, 4.0))
    for k, stage in enumerate(stack.stages):
        first = sum(len(below.encoder) for below in stack.stages[:k])
        weight = stage.encoder[0].weight
        change, less = (each.classifier.encoder[first].weight - weight for each in (plain, slower))
        torch.testing.assert_close(less * 4.0 ** (1 - k), change, rtol=1e-3, atol=1e-8)
    assert same_weights(plain.classifier.head, slower.classifier.head)


def test_a_learning_rate_ends_when_its_accuracy_stays_the_same(stack: StackedAutoencoder, splits: Splits) -> None:
    found = tuned(stack, splits, encoder="frozen", lrs=(1e-9, 1e-8), checks=8, patience=2)
    assert (found.updates, found.updates_made) == (1, 6)  # of each rate: the best, and two checks that are no better
    assert tuned(stack, splits, encoder="frozen", lrs=(1e-9, 1e-8), checks=8).updates_made == 16


def test_statistics_are_those_of_clean_images_at_every_check(stack: StackedAutoencoder, splits: Splits) -> None:
    found = tuned(stack, splits, corruption_level=0.5, lrs=(1e-9,), updates=9, checks=3)
    clean = tuned(stack, splits, lrs=(1e-9,), updates=1, checks=1)  # its weights are nearly the same
    assert found.recalibrations == 3
    images = splits.train.inputs[Order(20, 16, derive(3, "classifier")).batch(0)] / 255
    means = stack.stages[0].encoder[0](images).mean((0, 2, 3))
    first = norms(found.classifier.encoder)[0]
    torch.testing.assert_close(first.running_mean, means, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(norms(clean.classifier.encoder)[0].running_mean, means, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_recipes_learn(optimiser: str, stack: StackedAutoencoder, splits: Splits) -> None:
    recipe = {"head": "mlp", "head_width": 32, "dropout": 0.1, "schedule": "cosine", "warmup": 2, "clip": 1.0}
    lrs = (0.01, 0.1) if optimiser == "sgd" else (0.003, 0.01)
    found = tuned(stack, splits, optimiser=optimiser, lrs=lrs, updates=60, corruption_level=0.1, **recipe)
    assert isinstance(found.classifier.head, nn.Sequential)
    assert accuracy(found.classifier, splits.test.inputs, splits.test.labels) > 0.6


def test_schedules_and_line_searches_have_their_options(stack: StackedAutoencoder, splits: Splits) -> None:
    recipe = {"encoder": "frozen", "optimiser": "sgd", "schedule": "step", "updates": 4, "checks": 1}
    stays, stops = (tuned(stack, splits, schedule_options={"factor": f, "every": 1}, **recipe) for f in (0.99, 1e-9))
    one = tuned(stack, splits, **recipe | {"updates": 1, "schedule": "constant"})
    torch.testing.assert_close(stops.classifier.head.weight, one.classifier.head.weight)
    assert not torch.allclose(stays.classifier.head.weight, one.classifier.head.weight)
    recipe = {"encoder": "frozen", "optimiser": "lbfgs", "lrs": (1.0,), "updates": 1, "checks": 1}
    few, many = (tuned(stack, splits, lbfgs_iterations=count, **recipe).classifier for count in (1, 20))
    x, labels = splits.train.inputs[:20] / 255, splits.train.labels[:20]
    with torch.no_grad():
        assert nn.functional.cross_entropy(many(x), labels) < nn.functional.cross_entropy(few(x), labels)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"optimiser": "adamm"}, "optimiser 'adamm' is not known.*adam"),
        ({"schedule": "cos"}, "schedule 'cos' is not known"),
        ({"head": "tree"}, "head 'tree' is not known.*linear"),
        ({"encoder": "learn"}, "encoder 'learn' is not known.*learning"),
        ({"dropout": 1.0}, "dropout 1.0 is not allowed: give a fraction from 0 to below 1"),
        ({"head_width": 0}, "head_width 0 is not allowed"),
        ({"patience": 0}, "patience of the classifier 0 is not allowed"),
        ({"encoder": "frozen", "rate_decay": 2.0}, "rate_decay 2 does not fit a frozen encoder"),
        ({"corruption_level": 1.5}, "1.5"),
        ({"corruption_level": (0.1, 0.1)}, "0.1"),
        ({"warmup": -1}, "warmup -1 is not allowed"),
        (
            {"optimiser": "lbfgs", "rate_decay": 2.6},
            "rate_decay 2.6 does not fit optimiser 'lbfgs', which has one step",
        ),
        ({"schedule_options": {"decay": 0.1}}, "option 'decay' does not fit schedule 'constant', which has none"),
        ({"lbfgs_iterations": 0}, "lbfgs_iterations 0 is not allowed"),
    ],
)
def test_bad_recipes_are_refused(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **recipe)


def test_a_recipe_is_part_of_the_spec_and_its_defaults_are_not_written() -> None:
    assert "optimiser" not in json.loads(to_json(SPEC))["classification"]
    told = replace(CONFIG, optimiser="sgd", head="mlp", corruption="masking+gaussian", corruption_level=(0.1, 0.2))
    spec = replace(SPEC, classification=told)
    assert from_json(to_json(spec)) == spec
    assert spec.id != SPEC.id


# What is kept


@pytest.fixture(scope="module")
def kept(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    work = tmp_path_factory.mktemp("work")
    return work, run(replace(SPEC, classification=replace(CONFIG, labels=(20, None))), splits, work=work)


def test_the_files_hold_the_classifiers_of_the_run(kept: tuple[Path, Result], splits: Splits) -> None:
    work, result = kept
    assert list(result.classifiers) == ["20", "all"]
    for name, classifier in result.classifiers.items():
        loaded = load_classifier(work / f"classifier-{name}.safetensors")
        assert same_weights(loaded, classifier)
        assert loaded.classes == splits.classes
        assert not loaded.training
        measured = accuracy(loaded, splits.test.inputs, splits.test.labels)
        assert result.row[f"final/classifier_acc_{name}"] == measured
        _, told = load_with_training(work / f"classifier-{name}.safetensors")
        assert (told["run"], told["labels"], told["accuracy"]) == (result.row["run"], name, measured)
        assert result.row[f"final/classifier_gflop_{name}"] == told["gflop"] > 0


def test_predictions_are_those_of_the_logits(kept: tuple[Path, Result], splits: Splits) -> None:
    classifier, images = kept[1].classifiers["all"], splits.test.inputs[:30]
    with torch.no_grad():
        logits = classifier(images / 255)
    assert torch.equal(classifier.predict_proba(images), logits.softmax(1))
    assert torch.equal(classifier.predict(images.numpy()), logits.argmax(1))
    assert torch.equal(classifier.predict(images / 255), logits.argmax(1))
    assert classifier.predict_proba(images[:0]).shape == (0, 4)
    assert classifier.predict(images[:0]).shape == (0,)
    assert not classifier.training
    with pytest.raises(
        InputError, match=r"images of shape \[1, 6, 6\] cannot be classified: give images of shape \[1, 12, 12\]"
    ):
        classifier.predict(images[..., :6, :6])
    with pytest.raises(InputError, match="cannot be classified"):
        classifier.predict(images.int())
    three = images.expand(-1, 3, -1, -1)
    for call in (lambda: classifier.predict(three), lambda: classifier(three / 255)):
        with pytest.raises(
            InputError, match=r"12\] cannot be classified: give floats in 0..1 of shape \[N, 1, 12, 12\]$"
        ):
            call()
    with pytest.raises(
        InputError, match=r"uint8 .* cannot be classified by a call: .*; predict\(images\) takes uint8$"
    ):
        classifier(images)
    with pytest.raises(
        InputError, match=r"in a ndarray cannot be classified by a call: .*, or call predict\(images\)$"
    ):
        classifier(images.numpy())


def test_what_a_regressor_cannot_read_is_said(stack: StackedAutoencoder, splits: Splits) -> None:
    regressor = Regressor(stack, torch.zeros(1), torch.ones(1))
    with pytest.raises(InputError, match=r"uint8 .* cannot be predicted from by a call: give floats [^;]*$"):
        regressor(splits.test.inputs)


def test_what_is_kept_is_not_trained_again(
    kept: tuple[Path, Result], splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, result = kept
    with monkeypatch.context() as patched:
        patched.setattr(FineTuning, "train", lambda *_: pytest.fail("it is kept"))
        again = run(replace(SPEC, classification=replace(CONFIG, labels=(20, None))), splits, work=work)
    assert all(same_weights(again.classifiers[name], result.classifiers[name]) for name in ("20", "all"))
    assert {name: value for name, value in again.row.items() if "classifier" in name} == {
        name: value for name, value in result.row.items() if "classifier" in name
    }


def test_a_damaged_classifier_is_told_and_trained_again(
    kept: tuple[Path, Result], splits: Splits, tmp_path: Path
) -> None:
    work, result = kept
    for path in work.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "classifier-20.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(
        RuntimeWarning, match=r"classifier-20\.safetensors is not a classifier .*: it is fine-tuned again"
    ):
        again = run(replace(SPEC, classification=replace(CONFIG, labels=(20, None))), splits, work=tmp_path)
    assert same_weights(again.classifiers["20"], result.classifiers["20"])
    assert path.read_bytes() == (work / path.name).read_bytes()


def test_a_classifier_of_another_run_is_not_taken(kept: tuple[Path, Result], splits: Splits, tmp_path: Path) -> None:
    other = replace(SPEC, seed=1)
    name = "classifier-20.safetensors"
    (tmp_path / name).write_bytes((kept[0] / name).read_bytes())
    mine, clean = run(other, splits, work=tmp_path), run(other, splits)
    assert same_weights(mine.classifiers["20"], clean.classifiers["20"])


def test_a_classifier_of_other_data_is_not_taken(splits: Splits, tmp_path: Path) -> None:
    """An arm without training has no checkpoint that tells of the data."""
    untrained = replace(SPEC, policy="random")
    first = run(untrained, splits, work=tmp_path)
    other = replace(splits, train=replace(splits.train, inputs=255 - splits.train.inputs))
    mine, clean = run(untrained, other, work=tmp_path), run(untrained, other)
    assert same_weights(mine.classifiers["20"], clean.classifiers["20"])
    assert not same_weights(mine.classifiers["20"], first.classifiers["20"])


def copied(work: Path, folder: Path, **renamed: str) -> None:
    """Copy classifier files into a folder without checkpoints, under other names."""
    for name, new in renamed.items():
        (folder / f"classifier-{new}.safetensors").write_bytes(
            (work / f"classifier-{name.strip('_')}.safetensors").read_bytes()
        )


BOTH = replace(SPEC, classification=replace(CONFIG, labels=(20, None)))


def test_a_classifier_of_another_encoder_is_not_taken(
    kept: tuple[Path, Result], splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run on another machine can end with other weights."""
    real, count = run_module.train_phases, []

    def differently(stack: StackedAutoencoder, *given: Any, **more: Any) -> Any:
        count.append(real(stack, *given, **more))
        with torch.no_grad():
            next(stack.encoder.parameters()).mul_(0.5)

    copied(kept[0], tmp_path, _20="20", all="all")
    monkeypatch.setattr(run_module, "train_phases", differently)
    mine, clean = run(BOTH, splits, work=tmp_path), run(BOTH, splits)
    assert all(same_weights(mine.classifiers[name], clean.classifiers[name]) for name in ("20", "all"))
    assert not same_weights(mine.classifiers["20"], kept[1].classifiers["20"])


def test_a_classifier_of_an_earlier_version_is_trained_again(
    kept: tuple[Path, Result], splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file does not say which encoder it came from."""
    for name in ("20", "all"):
        classifier, told = load_with_training(kept[0] / f"classifier-{name}.safetensors")
        del told["encoder"]
        save_classifier(tmp_path / f"classifier-{name}.safetensors", classifier, SPEC.stack, told)
    trained, real = [], FineTuning.train
    monkeypatch.setattr(FineTuning, "train", lambda self, *given: trained.append(1) or real(self, *given))
    again = run(BOTH, splits, work=tmp_path)
    assert len(trained) == 2
    assert all(same_weights(again.classifiers[name], kept[1].classifiers[name]) for name in ("20", "all"))


def test_a_classifier_of_another_label_budget_is_not_taken(
    kept: tuple[Path, Result], splits: Splits, tmp_path: Path
) -> None:
    copied(kept[0], tmp_path, _20="all", all="20")
    again = run(BOTH, splits, work=tmp_path)
    assert all(same_weights(again.classifiers[name], kept[1].classifiers[name]) for name in ("20", "all"))
    assert [again.row[f"final/classifier_acc_{name}"] for name in ("20", "all")] == [
        kept[1].row[f"final/classifier_acc_{name}"] for name in ("20", "all")
    ]


def test_curves_have_names_that_mlflow_accepts(stack: StackedAutoencoder, splits: Splits) -> None:
    from mlflow.utils.validation import _validate_metric_name

    found: list[str] = []
    child = SimpleNamespace(log=lambda values, step: found.extend(values))
    for lr in (1e-5, 0.003, 1.0, 1e6, 2.5e20):
        train = splits.train.inputs[:20], splits.train.labels[:20]
        recipe = replace(CONFIG, lrs=(lr,))
        log_check(child, FineTuning(stack, train, held(splits), splits.classes, recipe, 3), 0.5)
    for name in found:
        _validate_metric_name(name)
    assert len(set(found)) == 5
    assert found[:3] == [f"classifier/accuracy/lr {lr}" for lr in ("1e-05", "0.003", "1")]


def test_a_classifier_of_a_path_that_is_none_is_refused(kept: tuple[Path, Result], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a classifier .*: give the classifier-\*\.safetensors of a run"):
        load_classifier(kept[0] / "encoder.safetensors")
    with pytest.raises(InputError, match="is not a classifier"):
        load_classifier(tmp_path / "none.safetensors")


def test_heads_of_both_kinds_are_kept(stack: StackedAutoencoder, tmp_path: Path) -> None:
    for head, width in (("linear", 0), ("mlp", 5)):
        made = Classifier(stack, ("a", "b"), head, width)
        save_classifier(tmp_path / head, made, SPEC.stack)
        assert same_weights(load_classifier(tmp_path / head), made)
