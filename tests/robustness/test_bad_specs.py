"""A spec from any JSON: it is valid and goes through JSON unchanged, or is refused in one line."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stacked import RunSpec, StackSpec
from stacked.spec import Budget, Classification, DataSpec, Evaluation, Optimisation, StageSpec, from_json
from stacked.util.serialization import from_dict, merged, to_json
from tests.helpers.refused import anything, broken, mutated, note, refusal, text_of
from tests.helpers.specs import PLAIN, WORDS

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
