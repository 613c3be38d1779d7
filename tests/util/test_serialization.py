"""Specs as plain values: what came later leaves recorded specs as they were, and a value of the wrong type is named."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stacked import InputError, RunSpec, StackSpec
from stacked.spec import Budget, Classification, DataSpec, Evaluation, Optimisation, StageSpec, from_json
from stacked.util.serialization import flat, from_dict, merged, to_dict, to_json
from studies.record.index import INDEX, ROOT, committed_as, has_section
from studies.record.runs import recorded

SPECS: tuple[type, ...] = (RunSpec, DataSpec, StackSpec, StageSpec, Budget, Optimisation, Evaluation, Classification)

#: What a recorded spec means that does not say it. To change a default here would change the meaning of recorded runs.
LATER = {
    (DataSpec, "white_level"): None,
    (DataSpec, "max_megapixels"): None,
    (DataSpec, "most_unreadable"): None,
    (DataSpec, "target"): None,
    (DataSpec, "missing"): None,
    (StageSpec, "decoder"): None,
    (StackSpec, "norm"): None,
    (StackSpec, "init"): "torch",
    (StackSpec, "gain"): 1.0,
    (Optimisation, "check_every"): None,
    (Optimisation, "corruption_patch"): 4,
    (Optimisation, "emphasis"): None,
    (Optimisation, "penalties"): (),
    (Optimisation, "winner_take_all"): None,
    (Optimisation, "winner_take_all_rate"): 0.05,
    (Optimisation, "linear_decoder"): False,
    (Optimisation, "local_weight"): 1.0,
    (Optimisation, "rate_decay"): 2.6,
    (Optimisation, "labels"): None,
    (Optimisation, "end_lr"): None,
    (Optimisation, "end_schedule"): None,
    (Optimisation, "end_patience"): None,
    (Optimisation, "on_nonfinite"): "stop",
    (Optimisation, "schedule_options"): (),
    (Optimisation, "end_schedule_options"): (),
    (Optimisation, "dropout"): (0.0,),
    (Optimisation, "end_dropout"): None,
    (Optimisation, "end_corruption_level"): None,
    (Optimisation, "end_batch_size"): None,
    (Optimisation, "sparsity_target"): 0.05,
    (Optimisation, "lbfgs_iterations"): 20,
    (Optimisation, "nesterov"): False,
    (Optimisation, "objectives"): (),
    (Optimisation, "objective_options"): (),
    (Optimisation, "staleness"): 0,
    (RunSpec, "blocks"): None,
    (Optimisation, "recalibrate"): True,  # where nothing is corrupted; else see the test of it
    (Evaluation, "probes"): ("logistic",),
    (Evaluation, "probe_depths"): "code",
    (Evaluation, "gradients"): False,
    (Evaluation, "fresh_decoder"): False,
    (Classification, "optimiser"): "adam",
    (Classification, "schedule"): "constant",
    (Classification, "warmup"): 0,
    (Classification, "weight_decay"): 0.0,
    (Classification, "momentum"): 0.9,
    (Classification, "clip"): None,
    (Classification, "corruption"): "masking",
    (Classification, "corruption_level"): 0.0,
    (Classification, "patience"): None,
    (Classification, "encoder"): "learning",
    (Classification, "rate_decay"): 1.0,
    (Classification, "head"): "linear",
    (Classification, "head_width"): 256,
    (Classification, "dropout"): 0.0,
    (Classification, "schedule_options"): (),
    (Classification, "lbfgs_iterations"): 20,
}
#: What a recorded spec did before it had the field, and the default since.
ADDED = {(Classification, "selection"): ("images", "budget")}
#: The names under which renamed fields are stored.
STORED = {"winner_take_all": "winners", "winner_take_all_rate": "winners_rate", "on_nonfinite": "on_fault"}
#: Another value of each.
OTHER: dict[str, Any] = {
    "white_level": 4095,
    "max_megapixels": 200.0,
    "most_unreadable": 0.1,
    "target": "kind",
    "missing": "mean",
    "decoder": "linear",
    "norm": "group",
    "init": "he",
    "gain": 4.0,
    "selection": "images",
    "check_every": 5,
    "corruption_patch": 2,
    "emphasis": (1.0, 0.5),
    "penalties": (("kl", 0.1), ("l1", 0.2)),
    "winner_take_all": "lifetime",
    "winner_take_all_rate": 0.1,
    "linear_decoder": True,
    "local_weight": 0.5,
    "rate_decay": 2.0,
    "labels": 100,
    "end_lr": 1e-4,
    "end_schedule": "cosine",
    "end_patience": 2,
    "on_nonfinite": "rollback",
    "schedule_options": (("decay", 0.01),),
    "end_schedule_options": (("at", (0.5,)), ("factor", 0.3)),
    "dropout": (0.2,),
    "end_dropout": (0.0,),
    "end_corruption_level": (0.0,),
    "end_batch_size": 64,
    "sparsity_target": 0.1,
    "lbfgs_iterations": 3,
    "nesterov": True,
    "objectives": (("input", 1.0), ("labels", 0.5)),
    "objective_options": (("labels.layers", 2),),
    "staleness": 2,
    "blocks": 2,
    "recalibrate": False,
}
#: The same for fields whose names other classes use too, or that only a classifier has.
OTHER_OF: dict[type, dict[str, Any]] = {
    Evaluation: {"probes": ("logistic", "knn5"), "probe_depths": "all", "gradients": True, "fresh_decoder": True},
    Classification: {
        "optimiser": "sgd",
        "schedule": "cosine",
        "warmup": 3,
        "weight_decay": 0.1,
        "momentum": 0.5,
        "clip": 1.0,
        "corruption": "gaussian",
        "corruption_level": 0.2,
        "patience": 2,
        "encoder": "frozen",
        "rate_decay": 2.0,
        "head": "mlp",
        "head_width": 32,
        "dropout": 0.5,
    },
}


def other_value(cls: type, name: str) -> Any:
    return {**OTHER, **OTHER_OF.get(cls, {})}[name]


#: What must be given with another value of a field.
WITH: dict[str, dict[str, Any]] = {
    "schedule_options": {"schedule": "inverse"},
    "end_schedule_options": {"end_schedule": "step"},
    "target": {"name": "csv:t.csv"},
    "missing": {"name": "csv:t.csv"},
    "most_unreadable": {"name": "folder:photos"},
    "nesterov": {"optimiser": "sgd"},
    "objective_options": {"objectives": (("labels", 1.0),)},
}


def test_what_came_later_has_the_defaults_that_recorded_specs_rely_on() -> None:
    later = {(cls, f.name): f for cls in SPECS for f in dataclasses.fields(cls) if "if_absent" in f.metadata}
    assert {key: f.default for key, f in later.items() if key not in ADDED} == LATER
    assert {key: (f.metadata["if_absent"](key[0]()), f.default) for key, f in later.items() if key in ADDED} == ADDED


def test_every_other_field_is_always_written() -> None:
    """These came first: a spec of an earlier version has them all."""
    assert {(cls.__name__, name) for cls in SPECS for name in to_dict(cls())} == {
        (cls.__name__, f.name)
        for cls in SPECS
        for f in dataclasses.fields(cls)
        if "if_absent" not in f.metadata or (cls, f.name) in ADDED
    }
    then = RunSpec(
        evaluation=Evaluation(every=20, images=256, probe_every=10),
        classification=Classification(selection="images"),
    )  # that was the default
    assert then.id == "02bacc3439e2751c"  # as of the first version, on any machine


@pytest.mark.parametrize(("cls", "name"), LATER, ids=lambda value: getattr(value, "__name__", value))
def test_a_later_field_is_written_where_it_is_not_the_default(cls: type, name: str) -> None:
    plain = cls(**WITH.get(name, {}))
    said, other = (dataclasses.replace(plain, **{name: value}) for value in (LATER[cls, name], other_value(cls, name)))
    assert name not in to_dict(plain)
    assert to_json(said) == to_json(plain)
    assert to_dict(other).keys() - to_dict(plain).keys() == {STORED.get(name, name)}
    assert from_dict(cls, json.loads(to_json(other))) == other
    assert from_dict(cls, json.loads(to_json(plain))) == plain
    assert flat(other).keys() != flat(plain).keys()


@pytest.mark.parametrize(("name", "stored"), STORED.items())
def test_a_renamed_field_is_stored_under_its_former_name_and_read_under_both(name: str, stored: str) -> None:
    other = Optimisation(**{name: OTHER[name]})
    values = to_dict(other)
    assert values[stored] == OTHER[name]
    assert name not in values
    del values[stored]
    assert from_dict(Optimisation, values | {stored: OTHER[name]}) == other
    assert from_dict(Optimisation, values | {name: OTHER[name]}) == other
    assert merged(Optimisation(), {stored: OTHER[name]}) == other == merged(Optimisation(), {name: OTHER[name]})
    twice = f"{stored} is the former name of {name}, which is given too: leave it out"
    with pytest.raises(InputError, match=twice):
        merged(Optimisation(), {name: OTHER[name], stored: OTHER[name]})


def test_specs_with_renamed_fields_keep_their_ids() -> None:
    how = Optimisation(winner_take_all="lifetime", winner_take_all_rate=0.1, on_nonfinite="rollback")
    assert RunSpec(optimisation=how).id == "04b6b032b9782819"  # as of the version that named them winners and on_fault


def test_a_spec_without_an_added_field_means_what_was_done_before() -> None:
    for (cls, name), (before, default) in ADDED.items():
        old, new = cls(**{name: before}), cls()
        assert to_dict(new)[name] == default
        assert name not in to_dict(old)
        assert from_dict(cls, to_dict(old)) == old != new == from_dict(cls, to_dict(new))
        assert merged(old, {}) == old


@pytest.mark.parametrize(("cls", "name"), LATER, ids=lambda value: getattr(value, "__name__", value))
def test_a_later_field_makes_another_run(cls: type, name: str) -> None:
    widths = (4, 3) if cls is RunSpec else (4,)
    stack = StackSpec.of("dense", *widths, activation="sigmoid", output="linear")
    of_data = cls is DataSpec
    given = DataSpec(**WITH.get(name, {}) if of_data else {})
    how = Optimisation(**{} if of_data else WITH.get(name, {}))
    changed = {name: other_value(cls, name)}
    plain = RunSpec("joint", data=given, stack=stack, optimisation=how)
    more = {}
    if cls is StageSpec:
        stack = dataclasses.replace(stack, stages=(dataclasses.replace(stack.stages[0], **changed),))
    elif cls is StackSpec:
        stack = dataclasses.replace(stack, **changed)
    elif cls is DataSpec:
        given = dataclasses.replace(given, **changed)
    elif cls is RunSpec:
        more = changed
    elif cls in OTHER_OF:
        given_with = WITH.get(name, {})
        plain = dataclasses.replace(plain, **{cls.__name__.lower(): cls(**given_with)})
        more = {cls.__name__.lower(): cls(**given_with, **changed)}
    else:
        how = dataclasses.replace(how, **changed)
    other = RunSpec("joint", data=given, stack=stack, optimisation=how, **more)
    assert other.id != plain.id
    assert from_json(to_json(other)) == other


def test_a_recorded_spec_that_corrupts_keeps_its_id_and_what_it_meant() -> None:
    """It had the running statistics of corrupted training; to take them anew is another run, with an id of its own."""
    then = (
        '{"budget":{"end_to_end":1.0,"stages":[1.0],"unit":"epochs"},"classification":{"batch_size":128,"checks":5,"epochs":1.0,'
        '"images":1000,"labels":[100,1000,null],"lrs":[0.001,0.003],"updates":150},"data":{"grey":false,"image_size":224,'
        '"limit":null,"name":"mnist","valid":0.08333333333333333},"evaluation":{"every":40,"images":128,"probe_every":12,'
        '"probe_images":1000,"probe_labels":3000,"until":0},"optimisation":{"batch_size":256,"clip":null,"corruption":"masking",'
        '"corruption_level":[0.3],"loss":["mse"],"lr":0.001,"momentum":0.9,"optimiser":"adam","patience":null,'
        '"schedule":"constant","warmup":0,"weight_decay":0.0},"policy":"greedy+finetune","seed":0,"stack":{"output":"sigmoid",'
        '"stages":[{"activation":"relu","kind":"conv","options":{},"width":16}]}}'
    )
    recorded = from_json(then)
    assert to_json(recorded) == then
    assert recorded.id == "90e98d74f6a3c486"  # of the version before, on any machine
    assert not recorded.optimisation.recalibrate
    today = dataclasses.replace(recorded, optimisation=Optimisation(corruption_level=(0.3,)))
    assert today.optimisation.recalibrate
    assert today.id != recorded.id
    assert json.loads(to_json(today))["optimisation"]["recalibrate"] is True
    assert from_json(to_json(today)) == today
    # and a default is not lost on the way to a spec that corrupts
    assert merged(Optimisation(), {"corruption_level": 0.3}) == Optimisation(corruption_level=(0.3,))
    assert not merged(recorded.optimisation, {"lr": 0.1}).recalibrate
    assert not merged(Optimisation(recalibrate=False), {"corruption_level": 0.3}).recalibrate


def committed() -> list[Path]:
    """The records that stand in the index."""
    folders = [path.parent for path in (ROOT / "results").rglob("runs.csv")]
    return sorted(out for out in folders if has_section(INDEX, committed_as(out, ROOT) or ""))


@pytest.mark.parametrize("out", committed(), ids=lambda out: committed_as(out, ROOT))
def test_recorded_specs_keep_their_ids(out: Path) -> None:
    with (out / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 2
    for row in rows:
        spec = from_json(row["spec"])
        assert spec.id == row["run"]
        assert to_json(spec) == row["spec"]
        assert str(spec.seed) == row["seed"]
    base, _ = recorded(out)
    assert json.loads((out / "configuration.json").read_text())["base"] == to_json(base)


def test_the_main_record_is_among_them() -> None:
    assert ROOT / "results" / "layerwise" in committed()


# Values as a person writes them


def test_one_value_stands_for_a_list_of_one() -> None:
    assert merged(Optimisation(), {"loss": "bce", "corruption_level": 0.3}) == Optimisation(
        loss=("bce",), corruption_level=(0.3,)
    )
    assert merged(Classification(), {"labels": 50, "lrs": 0.1}) == Classification(labels=(50,), lrs=(0.1,))
    assert merged(Budget(), {"stages": 3}) == Budget((3,))


def test_lists_are_tuples_however_deep() -> None:
    how = merged(Optimisation(), {"corruption": "masking+gaussian", "corruption_level": [[0.1, 0.2], [0.0, 0.3]]})
    assert how.corruption_level == ((0.1, 0.2), (0.0, 0.3))
    assert hash(how) == hash(merged(how, {}))
    stack = merged(
        StackSpec(), {"stages": [{"kind": "dense", "width": 5, "options": {"tied": True}}, {"kind": "dense"}]}
    )
    assert stack.stages == (StageSpec("dense", 5, options=(("tied", True),)), StageSpec("dense"))


def test_penalties_by_name_are_the_same_in_any_order() -> None:
    one, other = (Optimisation(penalties=p) for p in ({"l1": 0.1, "kl": 0.2}, {"kl": 0.2, "l1": 0.1}))  # type: ignore[arg-type]
    assert one == other
    assert to_json(one) == to_json(other)
    assert to_dict(one)["penalties"] == {"kl": 0.2, "l1": 0.1}


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (Optimisation(), {"emphasis": 0.5}, "emphasis 0.5 is not allowed: give a list"),
    (Optimisation(), {"emphasis": [1, "a"]}, "emphasis 'a' is not allowed: give a number"),
    (Optimisation(), {"weight_decay": "x"}, "weight_decay 'x' is not allowed: give a number"),
    (Optimisation(), {"momentum": None}, "momentum None is not allowed: give a number"),
    (Optimisation(), {"momentum": True}, "momentum True is not allowed: give a number"),
    (Optimisation(), {"linear_decoder": 1}, "linear_decoder 1 is not allowed: give true or false"),
    (Optimisation(), {"batch_size": 3.5}, "batch_size 3.5 is not allowed: give a whole number"),
    (Optimisation(), {"batch_size": True}, "batch_size True is not allowed: give a whole number"),
    (Optimisation(), {"winner_take_all": ["lifetime"]}, "winner_take_all ['lifetime'] is not allowed: give a word"),
    (Optimisation(), {"penalties": 3}, "penalties 3 is not allowed: give values by name, as in {name: value}"),
    (
        Optimisation(),
        {"penalties": ["l1"]},
        "penalties ['l1'] is not allowed: give values by name, as in {name: value}",
    ),
    (Optimisation(), {"corruption_level": "much"}, "corruption_level 'much' is not allowed: give a number"),
    (Optimisation(), {"loss": [["mse"]]}, "loss ['mse'] is not allowed: give a word"),
    (StackSpec(), {"stages": 3}, "3 is not a StageSpec: give its fields by name"),
    (StackSpec(), {"stages": ["conv"]}, "'conv' is not a StageSpec: give its fields by name"),
    (StackSpec(), {"stages": [{"width": "8"}]}, "width '8' is not allowed: give a whole number"),
    (StackSpec(), {"stages": [{"options": 3}]}, "options 3 is not allowed: give values by name, as in {name: value}"),
    (
        StackSpec(),
        {"stages": [{"wdith": 8}]},
        "field of StageSpec 'wdith' is not known; did you mean 'width'? Choose from kind, width, activation, options, "
        "decoder",
    ),
    (StackSpec(), {"norm": {"a": 1}}, "norm {'a': 1} is not allowed: give a word"),
    (StackSpec(), {"init": None}, "init None is not allowed: give a word"),
    (Classification(), {"labels": ["all"]}, "labels 'all' is not allowed: give a whole number"),
    (Evaluation(), {"every": "often"}, "every 'often' is not allowed: give a whole number"),
    (RunSpec(), {"seed": "one"}, "seed 'one' is not allowed: give a whole number"),
    (RunSpec(), {"stack": 3}, "3 is not a StackSpec: give its fields by name"),
]


@pytest.mark.parametrize(("spec", "values", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_a_value_of_the_wrong_type_is_named_with_its_field(spec: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        merged(spec, values)
    assert str(error.value) == message


# NumPy's numbers

NUMPYS: list[tuple[Any, Any]] = [
    (lambda n: RunSpec(seed=n.int64(3)), RunSpec(seed=3)),
    (
        lambda n: DataSpec(limit=n.int32(50), valid=n.float64(0.25), grey=n.bool_(True)),
        DataSpec("mnist", 50, 0.25, grey=True),
    ),
    (lambda n: DataSpec(n.str_("digits"), image_size=n.uint8(32)), DataSpec("digits", image_size=32)),
    (lambda n: Budget(n.array([1, 2]), n.float64(2.5)), Budget((1, 2), 2.5)),
    (lambda n: Budget(n.float32(0.5), n.int64(1)), Budget(0.5, 1)),  # type: ignore[arg-type]
    (lambda n: StackSpec.of("dense", *n.array([8, 4])), StackSpec.of("dense", 8, 4)),
    (lambda n: StackSpec.of("conv-pool", n.int64(8), kernel=n.int64(5)), StackSpec.of("conv-pool", 8, kernel=5)),
    (lambda n: Evaluation(every=n.int16(5)), Evaluation(every=5)),
    (lambda n: Classification(labels=tuple(n.array([10, 20])), lrs=n.array([0.1])), Classification((10, 20), (0.1,))),
    (
        lambda n: Optimisation(lr=n.float64(0.1), batch_size=n.int64(32), clip=n.float32(0.5), patience=n.int8(3)),
        Optimisation(lr=0.1, batch_size=32, clip=0.5, patience=3),
    ),
    (lambda n: Optimisation(corruption_level=n.float64(0.5)), Optimisation(corruption_level=0.5)),  # type: ignore[arg-type]
    (
        lambda n: Optimisation(penalties={"l1": n.float64(0.5)}, emphasis=n.array([1.0, 0.5])),  # type: ignore[arg-type]
        Optimisation(penalties=(("l1", 0.5),), emphasis=(1.0, 0.5)),
    ),
    (lambda n: merged(Optimisation(), {"lr": n.float32(0.5), "warmup": n.int64(2)}), Optimisation(lr=0.5, warmup=2)),
]


@pytest.mark.parametrize(("made", "expected"), NUMPYS)
def test_numbers_of_numpy_are_those_of_python(made: Any, expected: Any) -> None:
    found = made(np)
    assert found == expected
    assert hash(found) == hash(expected)
    assert to_json(found) == to_json(expected)
    if isinstance(found, RunSpec):
        assert found.id == expected.id


def test_numbers_of_numpy_are_checked_like_others() -> None:
    with pytest.raises(InputError, match=r"batch_size 2\.5 is not allowed"):
        Optimisation(batch_size=np.float64(2.5))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="learning rate nan is not allowed"):
        Optimisation(lr=np.float32("nan"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seed True is not allowed"):
        RunSpec(seed=np.bool_(True))  # type: ignore[arg-type]
