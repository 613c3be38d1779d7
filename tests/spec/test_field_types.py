"""A field of any spec that is given a value of any type: it is refused in a sentence, or equals what its JSON says."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from stacked import InputError, RunSpec, StackSpec
from stacked.spec import Budget, Classification, DataSpec, Evaluation, Optimisation, StageSpec, from_json
from stacked.util.serialization import to_json

VALUES: tuple[Any, ...] = (
    *("a", "0.5", "NaN", b"x", None, True, -1, 5, 0.5, float("nan"), object()),
    *([], [0.1], [0.1, 0.2], (), (1,), [[1]], {}, {0.1}, {"a": 1}, np.float64(0.5), np.array([1, 2])),
)
PARTS: dict[type, str] = {
    DataSpec: "data",
    StackSpec: "stack",
    Budget: "budget",
    Optimisation: "optimisation",
    Evaluation: "evaluation",
    Classification: "classification",
}
FIELDS = [(part, f.name) for part in PARTS for f in dataclasses.fields(part)]


def checked(spec: RunSpec) -> None:
    again = from_json(to_json(spec))
    assert again == spec
    assert hash(again) == hash(spec)


@pytest.mark.parametrize(("part", "name"), FIELDS, ids=str)
def test_a_value_of_any_type_is_refused_or_kept(part: type, name: str) -> None:
    for value in VALUES:
        try:
            spec = RunSpec(**{PARTS[part]: part(**{name: value})})  # type: ignore[arg-type]
        except InputError:
            continue
        checked(spec)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(RunSpec)])
def test_so_is_a_part_of_a_run(name: str) -> None:
    for value in VALUES:
        try:
            spec = RunSpec(**{name: value})
        except InputError:
            continue
        checked(spec)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(StageSpec)])
def test_so_is_a_field_of_a_stage(name: str) -> None:
    for value in VALUES:
        try:
            spec = RunSpec(stack=StackSpec((StageSpec(**{name: value}),)))
        except InputError:
            continue
        checked(spec)


def test_one_value_is_a_list_of_one() -> None:
    one = Classification(labels=100, lrs=0.01)  # type: ignore[arg-type]
    assert one == Classification(labels=[100], lrs=[0.01]) == Classification(labels=(100,), lrs=(0.01,))  # type: ignore[arg-type]
    assert Evaluation(probes="knn5").probes == ("knn5",)  # type: ignore[arg-type]
    assert StackSpec(StageSpec("dense", 5)) == StackSpec.of("dense", 5)  # type: ignore[arg-type]
    listed = Optimisation(loss=["mse"], dropout=[0.1], corruption_level=[0.1])  # type: ignore[arg-type]
    assert listed == Optimisation(loss=("mse",), dropout=(0.1,), corruption_level=(0.1,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classification(lrs=None), "lrs None is not allowed: give one value, or a list of values"),  # type: ignore[arg-type]
        (lambda: Classification(dropout="0.5"), "dropout '0.5' is not allowed: give a fraction from 0 to below 1"),  # type: ignore[arg-type]
        (lambda: Classification(dropout=None), "dropout None is not allowed: give a fraction from 0 to below 1"),  # type: ignore[arg-type]
        (lambda: Optimisation(emphasis=5), "emphasis 5 is not allowed: give a list of values"),  # type: ignore[arg-type]
        (lambda: Optimisation(penalties=0.1), "penalties 0.1 is not allowed: give values by name, as in {name: value}"),  # type: ignore[arg-type]
        (lambda: Optimisation(rate_decay=None), "rate_decay None is not allowed: give a number above 0"),  # type: ignore[arg-type]
        (lambda: DataSpec(5), "name 5 of the data is not allowed: give a text, such as 'mnist'"),  # type: ignore[arg-type]
        (lambda: RunSpec(budget=5), "budget 5 is not allowed: give a Budget"),  # type: ignore[arg-type]
        (lambda: StackSpec((16,)), "stages 16 is not allowed: give a StageSpec"),  # type: ignore[arg-type]
    ],
)
def test_the_sentence_names_the_field(make: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == message
