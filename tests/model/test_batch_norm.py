"""Batch norms: batches that they cannot take are refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from stacked import InputError, RunSpec, StackSpec, data, estimate_cost
from stacked.apps.estimator import StackedAutoencoderTransformer
from stacked.runs.run import check, run
from stacked.spec import Budget, Classification, Evaluation, Optimisation, StageSpec
from stacked.stages import kinds
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from tests.helpers.splits import toy_splits

TOY = toy_splits(8, 4)
#: of 4 x 4 pixels: the code of the deepest stage has one place
DEEP = StackSpec.of("conv", 3, 4)


def spec(stack: StackSpec, policy: str = "greedy", batch_size: int = 1) -> RunSpec:
    return RunSpec(
        policy=policy,
        stack=stack,
        budget=Budget((2.0,), 2.0, "updates"),
        optimisation=Optimisation(batch_size=batch_size),
        evaluation=Evaluation(images=4, probe_images=8, probe_labels=8),
        classification=Classification(labels=(), updates=2, checks=1),
    )


def few(n: int) -> data.Splits:
    return replace(TOY, train=TOY.train.take(torch.arange(n)))


@pytest.mark.parametrize("policy", ["greedy", "joint", "simultaneous", "supervised"])
def test_one_image_at_a_time_is_refused_where_a_code_has_one_place(policy: str) -> None:
    given = spec(DEEP, policy)
    says = (
        "stage 2 cannot normalise a batch of one image, which has one value per channel there: give a batch_size of the "
        "optimisation of 2 or more, or use another norm"
    )
    with pytest.raises(InputError) as error:
        run(given, TOY)
    assert str(error.value) == says
    with pytest.raises(InputError, match="give a batch_size"):
        estimate_cost(given, TOY.input_shape, 8)
    if policy != "supervised":
        with pytest.raises(InputError, match="give a batch_size"):
            pretrain(given, StoredInputs(TOY.train.inputs), TOY.input_shape)


@pytest.mark.parametrize("kind", [kind for kind in sorted(kinds()) if "batch" in kinds()[kind].norms])
def test_what_is_refused_is_what_torch_refuses(kind: str) -> None:
    """On maps of two pixels a side, and of three: whether an update on one image raises torch's own error."""
    for size in (2, 3):
        stage = kinds()[kind].of((3, size, size), 4, norm="batch")
        try:
            stage(torch.rand(1, *stage.in_shape))
            refused = False
        except ValueError:
            refused = True
        stack = StackSpec((StageSpec("conv", 3), StageSpec(kind, 4)), norm="batch")
        images = torch.rand(4, 1, 2 * size, 2 * size)
        if kind == "dense":
            with pytest.raises(InputError, match="batch_size 1 cannot be used with norm 'batch' on stage 2, a dense"):
                spec(stack)
        elif refused:
            with pytest.raises(InputError, match="stage 2 cannot normalise a batch of one image"):
                pretrain(spec(stack), StoredInputs(images), (1, 2 * size, 2 * size))
        else:
            pretrain(spec(stack), StoredInputs(images), (1, 2 * size, 2 * size))
        assert refused == (kind == "dense" or (size == 2 and kind in ("conv", "residual")))


@pytest.mark.parametrize("norm", ["group", "layer", "none"])
def test_other_norms_take_one_image(norm: str) -> None:
    pretrain(spec(StackSpec.of("conv", 3, 4, norm=norm)), StoredInputs(TOY.train.inputs), TOY.input_shape)


def test_images_and_labels_may_be_too_few() -> None:
    given = spec(DEEP, batch_size=64)
    with pytest.raises(InputError, match="give 2 training examples or more, or use another norm"):
        check(given, few(1))
    with pytest.raises(InputError, match="give 2 images or more, or use another norm"):
        pretrain(given, StoredInputs(TOY.train.inputs[:1]), TOY.input_shape)
    with pytest.raises(InputError, match="give 2 images or more"):
        estimate_cost(given, TOY.input_shape, 1)
    check(spec(DEEP, "random"), replace(few(1), classes=()))  # whose labels a probe would not learn from
    assert not pretrain(given, StoredInputs(TOY.train.inputs[:2]), TOY.input_shape).training
    with pytest.raises(InputError, match="there are no images to train on: give at least one"):
        pretrain(given, StoredInputs(TOY.train.inputs[:0]), TOY.input_shape)


@pytest.mark.parametrize("policy", ["greedy", "random"])
def test_a_classifier_needs_two_images_at_a_time_too(policy: str) -> None:
    """It is trained at the end of a run, which would be lost."""
    given = spec(DEEP, policy, batch_size=4)
    alone = replace(given, classification=Classification(labels=(4,), batch_size=1))
    with pytest.raises(InputError, match="give a batch_size of the classification of 2 or more, or use another norm"):
        check(alone, TOY)
    check(
        replace(alone, classification=replace(alone.classification, encoder="frozen")), TOY
    )  # its norms are in eval mode
    parts = {name: getattr(TOY, name) for name in ("train", "valid", "test")}
    zeros = {name: replace(part, labels=torch.zeros_like(part.labels)) for name, part in parts.items()}
    one_class = replace(TOY, classes=("nw",), **zeros)
    with pytest.raises(InputError, match="give 2 labels or more"):
        check(replace(given, classification=Classification(labels=(1,))), one_class)
    check(given, TOY)


def test_an_estimator_of_one_row_learns_or_says_why_not() -> None:
    rows = torch.rand(1, 16).numpy()
    StackedAutoencoderTransformer((4,), epochs=1).fit(rows)
    with pytest.raises(InputError, match="give 2 images or more"):
        StackedAutoencoderTransformer((4, 4), kind="conv", image_shape=(1, 4, 4), epochs=1).fit(rows)
