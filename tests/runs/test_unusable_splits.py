"""Splits that no run can use are refused before anything is trained, in one sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from stacked import RunSpec, StackSpec
from stacked.data.formats.split import Split, Splits
from stacked.runs.batched_seeds import train_seeds
from stacked.runs.run import check, run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from tests.helpers.refused import refusal
from tests.helpers.splits import toy_splits

TOY = toy_splits(64)
SPEC = RunSpec(
    policy="joint",
    stack=StackSpec.of("dense", 4),
    budget=Budget((1,), 1, "updates"),
    optimisation=Optimisation(batch_size=16),
    evaluation=Evaluation(probe_labels=16, probe_images=16),
    classification=Classification(labels=(8,), updates=1, checks=1),
)
CALLED = {"train": "training", "valid": "validation", "test": "test"}


def with_part(name: str, part: Split, **more: Any) -> Splits:
    return replace(TOY, **{name: part}, **more)


def labelled(name: str, label: int, every: bool = False) -> Split:
    """The split with this label on one image, or on every one."""
    part: Split = getattr(TOY, name)
    labels = torch.full_like(part.labels, label) if every else part.labels.clone()
    labels[3] = label
    return Split(part.inputs, labels)


def refused(splits: Splits) -> str:
    said = refusal(lambda: check(SPEC, splits))[1]
    assert said == refusal(lambda: run(SPEC, splits))[1] == refusal(lambda: train_seeds(SPEC, [0], splits))[1]
    return said


@pytest.mark.parametrize("name", CALLED)
@pytest.mark.parametrize("classes", [TOY.classes, ()])
def test_a_split_without_images_is_refused(name: str, classes: tuple[str, ...]) -> None:
    empty = getattr(TOY, name).take(torch.arange(0))
    assert refused(with_part(name, empty, classes=classes)) == f"toy has no {CALLED[name]} examples: give at least one"


@pytest.mark.parametrize("shape", [(1, 13, 12), (3, 12, 12), (1, 1, 1)])
@pytest.mark.parametrize("name", CALLED)
def test_images_of_two_shapes_are_refused(name: str, shape: tuple[int, int, int]) -> None:
    part: Split = getattr(TOY, name)
    said = refused(with_part(name, Split(torch.zeros(len(part), *shape, dtype=torch.uint8), part.labels)))
    what, found, train = (CALLED[name], list(shape), [1, 12, 12])
    if name == "train":
        what, found, train = "validation", train, found
    assert said == f"{what} examples have the shape {found}, and training examples {train}: give one shape"


@pytest.mark.parametrize("label", [-2, 4, 2**40])
@pytest.mark.parametrize("name", CALLED)
def test_labels_out_of_range_are_refused(name: str, label: int) -> None:
    said = refused(with_part(name, labelled(name, label)))
    what = "classes from 0, or -1 where there is no label" if label < 0 else "labels from 0 to 3, for 4 classes"
    assert said == f"{CALLED[name]} examples have a label {label}: give {what}"


@pytest.mark.parametrize("name", CALLED)
def test_a_split_without_labels_is_refused_where_there_are_classes(name: str) -> None:
    said = refused(with_part(name, labelled(name, -1, every=True)))
    count = len(getattr(TOY, name))
    assert said == f"none of the {count} {CALLED[name]} examples has a label: give labels from 0 to 3, for 4 classes"


def test_labels_of_one_class_are_refused() -> None:
    said = refused(with_part("train", labelled("train", 2, every=True)))
    assert said.startswith("training examples of only 1 of 4 classes have labels, and a probe needs 2 or more")


def test_single_images_and_unlabelled_ones_are_enough() -> None:
    few = {name: getattr(TOY, name).take(torch.arange(1)) for name in ("valid", "test")}
    check(SPEC, replace(TOY, **few))
    for name in CALLED:
        check(SPEC, with_part(name, labelled(name, -1)))
    parts = {name: labelled(name, -1, every=True) for name in CALLED}
    assert run(SPEC, replace(TOY, **parts, classes=())).row["status"] == "finished"
