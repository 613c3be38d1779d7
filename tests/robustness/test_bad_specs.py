"""A spec from any JSON: it is valid and goes through JSON unchanged, or is refused in one line."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stacked import RunSpec, StackSpec
from stacked.components.corruption import CORRUPTIONS
from stacked.components.objectives import LOSSES
from stacked.components.optim import OPTIMISERS, SCHEDULES
from stacked.components.penalties import PENALTIES
from stacked.components.winner_take_all import WINNERS
from stacked.data import names
from stacked.spec import Budget, Classification, DataSpec, Evaluation, Optimisation, StageSpec, from_json
from stacked.spec.growth import POLICIES
from stacked.stages import kinds
from stacked.stages.activations import ACTIVATIONS
from stacked.stages.initialise import INITS
from stacked.stages.norms import NORMS
from stacked.util.serialization import from_dict, merged, to_dict, to_json
from tests.helpers.policies import needs_patience
from tests.helpers.refused import anything, broken, mutated, note, refusal, text_of

MIXED = RunSpec(
    policy="converge+finetune",
    data=DataSpec("digits", limit=500),
    stack=StackSpec(
        (
            StageSpec("conv-pool", 4, options={"unpool": "switches", "kernel": 5}),  # type: ignore[arg-type]
            StageSpec("transformer", 8, options={"patch": 2, "heads": 2}),  # type: ignore[arg-type]
            StageSpec("dense", 9, "sigmoid", (("tied", True),), "softplus"),
        ),
    ),
    budget=Budget((2.0, 3.0, 1.0), 4.0, "updates"),
    optimisation=Optimisation(
        corruption="masking+gaussian",
        corruption_level=((0.1, 0.2), (0.0, 0.0), (0.0, 0.1)),
        patience=2,
        penalties={"l1": 1},
    ),
)
SIGMOID = RunSpec(
    policy="joint",
    stack=StackSpec.of("dense", 9, 5, activation="sigmoid", init="he", norm="none"),
    optimisation=Optimisation(
        winners="lifetime", penalties={"kl": 0.1, "contractive": 0.2}, emphasis=(1, 0.5), loss=("bce", "mse"), labels=10
    ),
)
VALID = [
    *(RunSpec(), MIXED, SIGMOID),
    *(dataclasses.replace(RunSpec(), policy=policy) for policy in POLICIES if not needs_patience(policy)),
]
#: words that are right somewhere
WORDS = [
    *(*POLICIES, *kinds(), *ACTIVATIONS, *INITS, *LOSSES, *OPTIMISERS, *SCHEDULES, *PENALTIES, *NORMS, *WINNERS),
    *(*names(), "folder:/nowhere", *CORRUPTIONS, "masking+gaussian", "epochs", "updates", "skip-batch", "rollback"),
]


def full(spec: Any) -> Any:
    """A spec as plain values, with the fields that came later."""
    found = to_dict(spec)
    for f in dataclasses.fields(spec):
        value = getattr(spec, f.name)
        if dataclasses.is_dataclass(value):
            found[f.name] = full(value)
        elif f.metadata.get("later"):
            found[f.name] = dict(value) if f.name == "penalties" else json.loads(json.dumps(value))
    return found


PLAIN = [*map(to_dict, VALID), *map(full, VALID[:3])]
PARTS = (DataSpec, StackSpec, StageSpec, Budget, Optimisation, Evaluation, Classification)


def valid_or_refused(text: str) -> None:
    """What must be so of a spec from any text."""
    spec, refused = refusal(lambda: from_json(text))
    note("refused" if refused else "valid")
    if spec is not None:
        same(spec)


def same(spec: RunSpec) -> None:
    """A valid spec goes through JSON unchanged: the same value, JSON, id and hash; and says what its phases are."""
    again = from_json(to_json(spec))
    assert again == spec
    assert to_json(again) == to_json(spec)
    assert (again.id, hash(again)) == (spec.id, hash(spec))
    for phase in spec.phases():
        assert phase.updates >= 0


def test_what_is_changed_here_is_valid_before() -> None:
    for values in PLAIN:
        same(from_json(text_of(values)))


@given(anything())
def test_any_json(value: Any) -> None:
    valid_or_refused(text_of(value))


@given(mutated(PLAIN, WORDS, most=2))
def test_changed_specs(value: Any) -> None:
    valid_or_refused(text_of(value))


@given(broken(mutated(PLAIN, WORDS, most=1).map(text_of)) | st.text(max_size=20))
@example("[" * 100_000)
@example('{"stack": ' * 300 + "1" + "}" * 300)
@example("1" * 5000)
@example('{"seed": 1, "seed": 2}')
@example('{"data": {"limit": 5, "limit": 7}}')
@example('{"stack": {"stages": [{"options": [["kernel", 3], ["kernel", "x"]]}]}}')
@example('{"stack": {"stages": [{"options": [["kernel", 3], ["kernel", 5]]}]}}')
@example('{"budget": {"end_to_end": 1e300}}')
@example('{"data": {"name": "folder:\\ud800"}}')
def test_broken_text(text: str) -> None:
    valid_or_refused(text)


@pytest.mark.parametrize("part", PARTS)
@given(data=st.data())
def test_any_fields_of_a_part(part: Any, data: st.DataObject) -> None:
    """A part of a spec with any of its fields, and others, changed."""
    known = [f.name for f in dataclasses.fields(part)]
    values = anything(5) | st.sampled_from(WORDS) | st.sampled_from([1, 2, 0.5])
    changed = data.draw(st.dictionaries(st.sampled_from(known) | st.text(max_size=5), values, max_size=3))
    made, refused = refusal(lambda: merged(part(), changed))
    note("refused" if refused else "valid")
    if made is not None:
        again = from_dict(part, json.loads(to_json(made)))
        assert again == made
        assert to_json(again) == to_json(made)
        assert hash(again) == hash(made)
