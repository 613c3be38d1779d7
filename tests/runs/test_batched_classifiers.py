"""Classifiers of several seeds fine-tuned together: each as alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stacked import Classification, InputError, RunSpec, StackedAutoencoder, StackSpec
from stacked.evaluation.fine_tuning import fine_tuned
from stacked.model.classifier import Classifier
from stacked.model.stack import grow
from stacked.runs.batched_classifiers import fine_tune_seeds
from stacked.util.errors import Diverged

SEEDS = (0, 3, 4)
N, FEATURES = 70, 12
SGD = {"optimiser": "sgd", "momentum": 0.0, "lrs": (0.3,), "schedule": "inverse", "schedule_options": {"decay": 0.01}}
RECIPE = Classification(labels=(None,), lrs=(1e-2,), updates=12, epochs=0.1, batch_size=16, checks=3)
IMAGES = torch.rand(N, FEATURES, generator=torch.Generator().manual_seed(0))
TRAIN = IMAGES, (IMAGES[:, 0] > 0.5).long() + (IMAGES[:, 1] > 0.5).long()


def stacks(spec: StackSpec, shape: tuple[int, ...] = (FEATURES,)) -> list[StackedAutoencoder]:
    made = [StackedAutoencoder(shape) for _ in SEEDS]
    for seed, stack in zip(SEEDS, made, strict=True):
        grow(stack, RunSpec(seed=seed, stack=spec), spec.depth)
    return made


@pytest.mark.parametrize(
    ("stack", "recipe"),
    [
        ({"activation": "sigmoid", "tied": True}, SGD),
        ({}, {"corruption_level": 0.2, "clip": 0.05, "schedule": "cosine", "warmup": 3, "weight_decay": 0.01}),
        ({}, {"head": "mlp", "head_width": 7, "encoder": "frozen"}),
        ({}, {"rate_decay": 2.0}),
        # whose statistics are those of training although classifiers are in eval mode after a check
        ({"norm": "batch"}, {**SGD, "corruption_level": 0.2}),
        ({"norm": "batch"}, SGD),
    ],
)
def test_each_classifier_ends_as_the_one_that_is_fine_tuned_alone(
    stack: dict[str, Any], recipe: dict[str, Any]
) -> None:
    ours, config = stacks(StackSpec.of("dense", 9, 6, **stack)), replace(RECIPE, **recipe)
    theirs = copy.deepcopy(ours)
    updates, outputs = [], list[list[Tensor]]()

    def after_check(update: int, classifiers: Sequence[Classifier]) -> None:
        updates.append(update)
        outputs.append([each.eval().predict_proba(IMAGES) for each in classifiers])

    found = fine_tune_seeds(ours, TRAIN, "abc", config, SEEDS, after_check)
    assert updates == [0, 4, 8, 12]
    for k, (seed, before, alone, classifier) in enumerate(zip(SEEDS, ours, theirs, found, strict=True)):
        for name, value in alone.state_dict().items():
            assert torch.equal(before.state_dict()[name], value), name  # the stack is not changed
        expected = fine_tuned(alone, TRAIN, None, "abc", config, seed).classifier
        assert not classifier.training
        assert expected.state_dict().keys() == classifier.state_dict().keys()
        for name, value in expected.state_dict().items():
            torch.testing.assert_close(classifier.state_dict()[name], value, rtol=1e-4, atol=1e-5)
        assert torch.equal(outputs[-1][k], classifier.predict_proba(IMAGES))
        shorter = fine_tuned(alone, TRAIN, None, "abc", replace(config, updates=8, checks=2), seed).classifier
        if config.schedule != "cosine":  # the only one here that depends on the length
            torch.testing.assert_close(outputs[2][k], shorter.predict_proba(IMAGES), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(outputs[0][0], outputs[3][0])
    assert not torch.allclose(outputs[3][0], outputs[3][1])


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"patience": 2}, "early stopping ends each seed at a different update: leave patience out"),
        ({"dropout": 0.2}, "dropout draws random numbers inside a forward pass: leave it out"),
        ({"optimiser": "lbfgs", "lrs": (1.0,)}, "choose another optimiser than 'lbfgs'"),
        ({"lrs": (0.1, 0.2)}, "2 learning rates cannot be compared without validation data: give one"),
    ],
)
def test_recipes_that_cannot_be_batched_are_refused(recipe: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        fine_tune_seeds(stacks(StackSpec.of("dense", 5)), TRAIN, "abc", replace(RECIPE, **recipe), SEEDS)


def test_stacks_labels_and_seeds_that_cannot_be_batched_are_refused() -> None:
    dense = stacks(StackSpec.of("dense", 5))
    with pytest.raises(InputError, match="conv stage cannot be trained as one model"):
        fine_tune_seeds(stacks(StackSpec.of("conv", 4), (1, 8, 8)), TRAIN, "abc", RECIPE, SEEDS)
    with pytest.raises(InputError, match="labels of floats are numbers to predict"):
        fine_tune_seeds(dense, (IMAGES, IMAGES[:, :1]), "abc", RECIPE, SEEDS)
    with pytest.raises(InputError, match="give distinct seeds"):
        fine_tune_seeds(dense, TRAIN, "abc", RECIPE, (1, 1, 2))
    with pytest.raises(InputError, match="3 stacks do not fit 2 seeds: give a seed for each stack"):
        fine_tune_seeds(dense, TRAIN, "abc", RECIPE, (1, 2))


def test_the_seed_that_diverged_is_named() -> None:
    wild = replace(RECIPE, optimiser="sgd", lrs=(1e30,))
    with pytest.raises(Diverged, match="seed 0 became"):
        fine_tune_seeds(stacks(StackSpec.of("dense", 5, activation="linear")), TRAIN, "abc", wild, SEEDS)
