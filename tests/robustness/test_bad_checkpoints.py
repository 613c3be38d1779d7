"""Checkpoints with anything in them: left aside when they are damaged, refused in one line when they are of something else."""

from __future__ import annotations

import itertools
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from stacked import RunSpec, StackSpec
from stacked.data import Splits
from stacked.runs.checkpoint import Checkpoints, checksum, load_checkpoint, position
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.util.errors import Interrupted
from stacked.util.serialization import to_json
from tests.helpers.refused import damaged, mutated, note, refusal
from tests.helpers.splits import toy_splits

#: 40 training images in batches of 20, so 2 updates an epoch: phases of 4 and 8 updates.
SPEC = RunSpec(
    policy="greedy+finetune",
    stack=StackSpec.of("dense", 3),
    budget=Budget((2.0,), 4.0),
    optimisation=Optimisation(batch_size=20, lr=1e-2),
    evaluation=Evaluation(every=3, images=10, probe_every=100, probe_images=10, probe_labels=20),
    classification=Classification(labels=()),
)
#: Each keeps something else: Adam's moments and the best weights, a state to go back to, a head.
SPECS = {
    "patient": replace(SPEC, optimisation=replace(SPEC.optimisation, patience=3, end_patience=3, check_every=2)),
    "rollback": replace(SPEC, optimisation=replace(SPEC.optimisation, optimiser="sgd", on_nonfinite="rollback")),
    "supervised": replace(SPEC, policy="supervised+finetune"),
    "classifier": replace(
        SPEC, policy="joint", classification=Classification((20,), lrs=(1e-3, 1e-2), updates=5, checks=5, batch_size=10)
    ),
}
#: updates after which a run is left: in its second phase, or with the second learning rate of its classifier
LEFT = {"classifier": 15}
PLACES = ("phase-1", "update-0", "update-1")


@pytest.fixture(scope="module")
def splits() -> Splits:
    return toy_splits(40, 4)


@pytest.fixture(scope="module")
def kept(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By spec, the work folder of a run that was left 7 updates after its first phase."""
    found = {}
    for name, spec in SPECS.items():
        found[name] = tmp_path_factory.mktemp("kept")
        count, left = itertools.count(1), LEFT.get(name, 11)
        with pytest.raises(Interrupted):
            run(spec, splits, work=found[name], checkpoint_every=3, stop=lambda: next(count) == left)  # noqa: B023
        assert sorted(path.stem for path in found[name].iterdir()) == sorted(PLACES)
    return found


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work") / "run"


def going_on(spec: RunSpec, splits: Splits, work: Path, updates: int = 100) -> str:
    """What a run that goes on from `work` says: it ends, is left again after so many updates, or is refused in one line."""
    count = itertools.count(1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            _, refused = refusal(lambda: run(spec, splits, work=work, stop=lambda: next(count) >= updates))
            outcome = "refused" if refused else "ended"
        except Interrupted:
            refused, outcome = "", "left again"
    aside = [str(each.message) for each in told if "it is ignored, and" in str(each.message)]
    for message in aside:
        assert message.isprintable()
        assert message.startswith(str(work))
    note(outcome + (", one left aside" if aside else ""))
    assert not refused or refused.startswith(str(work)), refused
    return refused


def fresh(work: Path, kept: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    return Path(shutil.copytree(kept, work))


# The file


@given(name=st.sampled_from(sorted(SPECS)), where=st.sampled_from(PLACES), data=st.data())
def test_a_damaged_file_is_never_taken_for_what_was_written(
    name: str, where: str, data: st.DataObject, kept: dict[str, Path], work: Path
) -> None:
    """Cut at any byte, any byte changed, anything added; and what is not damaged at all is taken."""
    path = fresh(work, kept[name]) / f"{where}.safetensors"
    whole = path.read_bytes()
    content = data.draw(damaged(whole))
    path.write_bytes(content)
    saved, refused = refusal(lambda: load_checkpoint(path, SPECS[name]))
    note("refused" if refused else "taken")
    if saved is None:
        assert content != whole
    else:  # at most a space was changed
        header, tensors = read(where_it_was := kept[name] / path.name)
        assert (saved.phases, saved.update) == position(where_it_was)
        assert saved.state == json.loads(header["state"])
        assert checksum(saved.tensors, header) == checksum(tensors, header)
    assert not refused or refused.startswith(str(path))
    refusal(lambda: position(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        newest, refused = refusal(lambda: Checkpoints(work, SPECS[name]).newest())
    assert newest is not None or refused.startswith(f"{path} is not a checkpoint of this version")


@given(content=st.binary(max_size=40), size=st.sampled_from([None, 0, 2, 40, 2**20, 2**62, 2**64 - 1]))
@example(content=b"{}", size=None)
@example(content=b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4000000000000]}}', size=None)
@example(content=b'{"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}\0', size=None)
@example(content=b'{"__metadata__": {"format": "stacked checkpoint 2"}}', size=None)
@example(content=b'{"__metadata__": {"format": "stacked checkpoint 2", "place": "[1, 0]"}}', size=None)
@example(content=b'{"__metadata__": {"format": "stacked checkpoint 2", "place": "3"}}', size=None)
@example(content=b'{"__metadata__": {"format": "stacked checkpoint 2", "place": "[1, \\"a\\"]"}}', size=None)
def test_any_bytes_are_no_checkpoint(content: bytes, size: int | None, work: Path) -> None:
    """safetensors begins with the length of its header."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    path = work / "phase-1.safetensors"
    length = len(content) if size is None else size
    path.write_bytes(length.to_bytes(8, "little") + content)
    assert refusal(lambda: load_checkpoint(path, SPEC))[1].startswith(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert refusal(lambda: Checkpoints(work, SPEC).newest())[0] is None


def test_a_folder_in_the_place_of_a_checkpoint_is_left_aside(work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    (work / "phase-1.safetensors").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="it is ignored, and"):
        assert Checkpoints(work, SPEC).newest() is None


# Whole files with something else in them


def written(path: Path, header: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """A checkpoint with this header, and the checksum that goes with it."""
    save_file(tensors, path, header | {"sha256": checksum(tensors, header)})


def read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, "pt") as file:
        header = dict(file.metadata())
        header.pop("sha256")
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


HEADERS = st.sampled_from(
    ["", "{}", "[]", "[1, 0]", "[0, 0]", "[99, 0]", "[0, 5]", "[2, 1]", "[1, 0, 0]", "[-1, 3]", "3"]
) | st.sampled_from(
    [
        '"x"',
        "[1, 1e400]",
        "[1.5, 0]",
        "[true, 0]",
        "null",
        "{",
        "9" * 5000,
        "[" * 2000,
        to_json(SPEC),
        '{"policy": "no"}',
    ]
)


@given(
    name=st.sampled_from(sorted(SPECS)),
    where=st.sampled_from(PLACES),
    field=st.sampled_from(["format", "spec", "place", "state"]),
    text=st.none() | HEADERS | st.text(st.characters(codec="utf-8"), max_size=8),
)
def test_other_headers(
    name: str, where: str, field: str, text: str | None, kept: dict[str, Path], work: Path, splits: Splits
) -> None:
    """The checksum is right: only a sentence can tell what is wrong."""
    path = fresh(work, kept[name]) / f"{where}.safetensors"
    header, tensors = read(path)
    header = {key: value for key, value in header.items() if key != field} | ({} if text is None else {field: text})
    written(path, header, tensors)
    going_on(SPECS[name], splits, work, updates=1)


@given(
    name=st.sampled_from(sorted(SPECS)),
    where=st.sampled_from(PLACES),
    data=st.data(),
    updates=st.sampled_from([1, 100]),
)
def test_other_states(
    name: str, where: str, data: st.DataObject, updates: int, kept: dict[str, Path], work: Path, splits: Splits
) -> None:
    """Fields of the plain state dropped, added, renamed and of other types, at any depth of it."""
    fresh(work, kept[name])
    path = only(work, where)
    header, tensors = read(path)
    state = data.draw(mutated([json.loads(header["state"])], [0, 1, 2, 3, 0.5, [], {}], most=2))
    written(path, header | {"state": json.dumps(state)}, tensors)
    going_on(SPECS[name], splits, work, updates)


def only(work: Path, where: str) -> Path:
    """Leave no other place to go on from."""
    for path in work.iterdir():
        if path.stem != where:
            path.unlink()
    return work / f"{where}.safetensors"


SHAPES = st.lists(st.integers(0, 4), max_size=3)
DTYPES = st.sampled_from(
    [torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool, torch.bfloat16]
)


@given(
    name=st.sampled_from(sorted(SPECS)),
    where=st.sampled_from(PLACES),
    data=st.data(),
    updates=st.sampled_from([1, 100]),
)
def test_other_tensors(
    name: str, where: str, data: st.DataObject, updates: int, kept: dict[str, Path], work: Path, splits: Splits
) -> None:
    """Tensors left out, added, renamed, and of other shapes and types."""
    fresh(work, kept[name])
    path = only(work, where)
    header, tensors = read(path)
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.sampled_from(sorted(tensors)))
        other = torch.zeros(data.draw(SHAPES), dtype=data.draw(DTYPES))
        new = data.draw(
            st.sampled_from(["losses", "head/x", "best/x", "back/x", "optimiser/step/x", "stages.9.x", "x", at + "x"])
            | st.sampled_from(
                ["classifier/kept/x", "classifier/trained/x", "classifier/x", "classifier/training/losses"]
            )
        )
        rest = {key: value for key, value in tensors.items() if key != at}
        ways = {"left out": rest, "changed": rest | {at: other}, "added": tensors | {new: other}}
        ways |= {
            "renamed": rest | {new: tensors[at]},
            "transposed": rest | {at: tensors[at].t().contiguous() if tensors[at].dim() == 2 else other},
        }
        tensors = ways[data.draw(st.sampled_from(sorted(ways)))]
        if not tensors:
            return
    written(path, header, tensors)
    going_on(SPECS[name], splits, work, updates)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("where", PLACES)
def test_what_is_changed_here_is_taken_before(
    name: str, where: str, kept: dict[str, Path], work: Path, splits: Splits
) -> None:
    fresh(work, kept[name])
    written(only(work, where), *read(work / f"{where}.safetensors"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert going_on(SPECS[name], splits, work) == ""


STATES: list[tuple[dict[str, Any], str]] = [
    ({"updates": "4"}, "updates '4' is not allowed: give a whole number"),
    ({"updates": -4}, "updates -4 is below 0"),
    ({"more": 1}, "field of RunState 'more' is not known: choose from updates, images_seen"),
    ({"curve": 3}, "curve 3 is not allowed: give a list"),
    ({"curve": [{"step": 1}]}, "{'step': 1} is not an evaluation of a curve"),
    ({"commits": [1]}, "commits 1 is not allowed: give a word"),
    ({"updates": None}, "updates None is not allowed: give a whole number"),
]


@pytest.mark.parametrize(("change", "reason"), STATES, ids=[reason for _, reason in STATES])
def test_a_wrong_state_is_named_with_its_file(
    change: dict[str, Any], reason: str, kept: dict[str, Path], work: Path, splits: Splits
) -> None:
    fresh(work, kept["patient"])
    path = only(work, "phase-1")
    header, tensors = read(path)
    written(path, header | {"state": json.dumps(json.loads(header["state"]) | change)}, tensors)
    refused = going_on(SPECS["patient"], splits, work)
    assert refused.startswith(f"{path} does not fit its run ({reason}")
    assert refused.endswith("): move it away to resume from the checkpoint before it")


def test_a_state_that_lacks_a_field_is_refused_and_not_filled_in(
    kept: dict[str, Path], work: Path, splits: Splits
) -> None:
    fresh(work, kept["patient"])
    path = only(work, "phase-1")
    header, tensors = read(path)
    state = json.loads(header["state"])
    del state["flop"]
    written(path, header | {"state": json.dumps(state)}, tensors)
    assert "does not fit its run (it lacks flop)" in going_on(SPECS["patient"], splits, work)


def test_a_tensor_of_another_type_is_not_converted(kept: dict[str, Path], work: Path, splits: Splits) -> None:
    fresh(work, kept["patient"])
    path = only(work, "phase-1")
    header, tensors = read(path)
    at = "stages.0.encoder.1.weight"
    written(path, header, tensors | {at: tensors[at].double()})
    expected = f"does not fit its run (its tensor '{at}' is float64 [3, 16], and that of the run is float32 [3, 16])"
    assert expected in going_on(SPECS["patient"], splits, work)


@pytest.mark.parametrize("place", ["", "back/"])
def test_momentum_that_lacks_a_parameter_is_refused(
    place: str, kept: dict[str, Path], work: Path, splits: Splits
) -> None:
    fresh(work, kept["rollback"])
    path = only(work, "update-0")
    header, tensors = read(path)
    name = "stages.0.decoder.0.bias"
    del tensors[f"{place}optimiser/momentum_buffer/{name}"]
    written(path, header, tensors)
    assert f"does not fit its run (its optimiser lacks {name})" in going_on(SPECS["rollback"], splits, work)


def test_a_checkpoint_of_a_spec_that_is_none_is_refused(kept: dict[str, Path], work: Path) -> None:
    path = fresh(work, kept["patient"]) / "phase-1.safetensors"
    header, tensors = read(path)
    written(path, header | {"spec": '{"policy": "greedy", "later": 1}'}, tensors)
    _, refused = refusal(lambda: load_checkpoint(path, SPECS["patient"]))
    assert refused.startswith(
        f"{path} belongs to another spec: this version cannot read it (field of RunSpec 'later' is not"
    )
