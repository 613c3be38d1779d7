"""A stack that is trained and nothing else is the stack of a run."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest
import torch

import stacked.training.pretrain as pretraining
from stacked import InputError, RunSpec, StackSpec, data
from stacked.model.stack import build
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.spec.growth import Phase
from stacked.training.codes import StoredInputs
from stacked.training.examples import Examples
from stacked.training.prepare import prepare_phase
from stacked.training.pretrain import pretrain


@pytest.fixture(scope="module")
def digits() -> data.Splits:
    return data.load("digits", limit=300)


def spec(policy: str, **how: object) -> RunSpec:
    return RunSpec(
        policy=policy,
        stack=StackSpec.of("conv", 4, 3),
        budget=Budget((9,), 8, "updates"),
        optimisation=Optimisation(**{"batch_size": 32, "corruption_level": (0.2,)} | how),  # type: ignore[arg-type]
        evaluation=Evaluation(every=1000, images=20, probe_images=50, probe_labels=50),
        classification=Classification(labels=(), updates=5),
    )


@pytest.mark.parametrize(
    "policy", ["greedy+finetune", "joint", "greedy-pixels+unfreeze", "resampled", "simultaneous", "random"]
)
def test_it_is_that_of_a_run_to_the_bit(policy: str, digits: data.Splits) -> None:
    given = spec(policy)
    ours, theirs = pretrain(given, StoredInputs(digits.train.inputs), digits.input_shape), run(given, digits).stack
    assert not ours.training
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_bytes_and_floats_give_the_same(digits: data.Splits) -> None:
    images = digits.train.inputs
    one = pretrain(spec("joint"), StoredInputs(images), digits.input_shape)
    other = pretrain(spec("joint"), StoredInputs(images.float().div(255)), digits.input_shape)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def test_numpy_arrays_are_images_too(digits: data.Splits) -> None:
    images = digits.train.inputs
    one, other = (
        pretrain(spec("joint"), StoredInputs(given), digits.input_shape) for given in (images, images.numpy())
    )
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))
    assert StoredInputs(images).values is images  # no copy
    assert StoredInputs(images.numpy()).values.data_ptr() == images.data_ptr()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            torch.zeros(4, 32, 32, 3, dtype=torch.uint8),
            "; channels seem to come last: permute(0, 3, 1, 2), or transpose",
        ),
        (np.zeros((4, 32, 32, 3), np.uint8), "; channels seem to come last: permute(0, 3, 1, 2), or transpose"),
        (np.zeros((5, 28, 28), np.uint8), "; add a channel axis to grey images with [:, None]"),
        (
            torch.zeros(4, 3, dtype=torch.int64),
            "data of torch.int64 and shape [4, 3] cannot be read: give uint8 or floats",
        ),
        (torch.zeros(4), "data of torch.float32 and shape [4] cannot be read: give uint8 or floats: vectors [N, D]"),
        (torch.zeros(1, 1, 1, 1, 1, 1), "cannot be read: give uint8 or floats: vectors [N, D]"),
        ([[1]], "images in a list cannot be read: give uint8 or floats: vectors [N, D]"),
    ],
)
def test_what_are_no_images_is_said(given: Any, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        StoredInputs(given)


@pytest.mark.parametrize(
    ("inputs", "shape", "says"),
    [
        (
            StoredInputs(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)),
            (3, 8, 9),
            "examples of shape [3, 8, 8] do not fit the given shape ",
        ),
        (
            StoredInputs(torch.zeros(4, 8, 8, 3)),
            (3, 8, 8),
            "[3, 8, 8]: give the shape of one example; channels seem to come last",
        ),
        (
            StoredInputs(torch.zeros(4, 64)),
            (1, 8, 8),
            "examples of shape [64] do not fit the given shape [1, 8, 8]: give the ",
        ),
    ],
)
def test_images_of_another_shape_are_refused(inputs: StoredInputs, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        pretrain(spec("joint"), inputs, shape)


@pytest.mark.parametrize(
    ("given", "says"), [(spec("supervised"), "learns classes"), (spec("converge", patience=1), "early stopping needs")]
)
def test_what_needs_more_than_images_is_refused(given: RunSpec, says: str, digits: data.Splits) -> None:
    with pytest.raises(InputError, match=says):
        pretrain(given, StoredInputs(digits.train.inputs), digits.input_shape)


class Halves:
    """Inputs of a user's own, on the CPU."""

    def __call__(self, index: torch.Tensor) -> torch.Tensor:
        return torch.full((len(index), 6), 0.5)

    def __len__(self) -> int:
        return 8


@pytest.mark.parametrize(
    "given",
    [
        torch.zeros(8, 6),
        np.zeros((8, 6), np.float32),
        torch.zeros(8, 1, 2, 3, dtype=torch.uint8),
        StoredInputs(torch.zeros(9, 6), rows=torch.arange(8)),
        Halves(),
    ],
    ids=["tensor", "array", "bytes", "stored", "own"],
)
def test_batches_are_read_on_the_device_that_trains(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever device the examples are on."""
    found = []

    def stand_in(stack: Any, spec: Any, phases: Any, examples: Any, device: torch.device, hooks: Any) -> None:
        found.append((examples(phases[0])[0].images(torch.arange(4)), device))

    monkeypatch.setattr(pretraining, "device_of", lambda name: torch.device("meta"))
    monkeypatch.setattr(pretraining, "train_phases", stand_in)
    dense = RunSpec(policy="joint", stack=StackSpec.of("dense", 3), budget=Budget(None, 3, "updates"))
    pretraining.pretrain(dense, given, device="cuda")
    ((batch, device),) = found
    assert batch.device == device == torch.device("meta")
    assert batch.dtype == torch.float32
    assert len(batch) == 4


def test_arrays_are_trained_on_without_their_shape() -> None:
    rows = torch.rand(40, 6)
    dense = RunSpec(policy="joint", stack=StackSpec.of("dense", 3), budget=Budget(None, 3, "updates"))
    one, other = pretrain(dense, rows), pretrain(dense, StoredInputs(rows), (6,))
    assert one.input_shape == (6,)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def test_weights_are_resampled_where_a_phase_begins_and_not_where_it_is_resumed(digits: data.Splits) -> None:
    """Weights from inside such a phase are trained ones; no policy of the package trains in it."""
    given = spec("resampled")
    phase = Phase("resampled training", (1, 2), 0, 5, resamples=True)
    stack = build(given.stack, digits.input_shape)
    examples = Examples(StoredInputs(digits.train.inputs), digits.train.labels)
    before = copy.deepcopy(stack.state_dict())
    prepare_phase(stack, given, phase, examples, resumed=True)
    assert all(torch.equal(value, before[name]) for name, value in stack.state_dict().items())
    prepare_phase(stack, given, phase, examples)
    weights = {name: value for name, value in stack.state_dict().items() if value.dim() > 1}
    assert not any(torch.equal(value, before[name]) for name, value in weights.items())
