"""A stack that is trained and nothing else is the stack of a run."""

from __future__ import annotations

import pytest
import torch

from stacked import InputError, RunSpec, StackSpec, data
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.training.codes import Images
from stacked.training.pretrain import FloatInputs, pretrain


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
    ours, theirs = pretrain(given, Images(digits.train.images), digits.image_shape), run(given, digits).stack
    assert not ours.training
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_bytes_and_floats_give_the_same(digits: data.Splits) -> None:
    images = digits.train.images
    one = pretrain(spec("joint"), Images(images), digits.image_shape)
    other = pretrain(spec("joint"), FloatInputs(images.float().div(255)), digits.image_shape)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("given", "says"), [(spec("supervised"), "learns classes"), (spec("converge", patience=1), "early stopping needs")]
)
def test_what_needs_more_than_images_is_refused(given: RunSpec, says: str, digits: data.Splits) -> None:
    with pytest.raises(InputError, match=says):
        pretrain(given, Images(digits.train.images), digits.image_shape)
