"""On how many labelled validation images a classifier is selected: as few as its label budget, unless said otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch

from stacked import InputError, RunSpec, StackSpec
from stacked.data import Splits
from stacked.data.formats.split import Split
from stacked.evaluation.fine_tuning import FineTuning
from stacked.evaluation.label_rows import label_rows
from stacked.model.stack import build
from stacked.runs import supervised_end
from stacked.runs.checkpoint import Checkpoints
from stacked.runs.classifiers import Classifiers
from stacked.runs.run import check, run
from stacked.runs.run_state import RunState
from stacked.spec import Classification
from stacked.tracking.null_tracker import NullTracker
from stacked.util.serialization import to_json
from studies.report.protocol import selection
from studies.report.tables import selection_note
from tests.helpers.splits import toy_splits

SPEC = RunSpec(
    "random",
    stack=StackSpec.of("conv", 4),
    classification=Classification(labels=(8, 16, None), lrs=(1e-3,), updates=2, epochs=0.01, checks=1, images=24),
)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return toy_splits()


def of(spec: RunSpec, **changes: Any) -> RunSpec:
    return replace(spec, classification=replace(spec.classification, **changes))


def selecting(spec: RunSpec, splits: Splits) -> dict[int | None, torch.Tensor]:
    """The rows of the validation images that select the classifier of each label budget."""
    return {rows.budget: rows.valid for rows in label_rows(spec, splits).classifiers}


def test_a_budget_selects_on_as_many_validation_labels(splits: Splits) -> None:
    assert len(splits.valid) > 24
    by_budget = selecting(SPEC, splits)
    assert [len(index) for index in by_budget.values()] == [8, 16, 24]
    assert set(by_budget[8].tolist()) < set(by_budget[16].tolist())  # nested, as training labels are
    counts = torch.bincount(splits.valid.labels[by_budget[8]])
    assert counts.tolist() == [2, 2, 2, 2]
    assert by_budget[8].tolist() != selecting(replace(SPEC, seed=1), splits)[8].tolist()


def test_the_former_protocol_selects_on_all_whatever_the_budget(splits: Splits) -> None:
    spec = of(SPEC, selection="images")
    assert [len(index) for index in selecting(spec, splits).values()] == [24, 24, 24]
    assert "selection" not in to_json(spec)  # recorded specs mean it
    assert "selection" in to_json(SPEC)


def test_unlabelled_validation_images_never_select(splits: Splits) -> None:
    labels = splits.valid.labels.clone()
    labels[::2] = -1
    some = replace(splits, valid=Split(splits.valid.inputs, labels))
    for spec in (SPEC, of(SPEC, selection="images")):
        for budget, index in selecting(spec, some).items():
            assert (labels[index] >= 0).all()
            assert len(index) == min(spec.classification.checked(budget), int((labels >= 0).sum()))


def test_numbers_too_small_for_the_classes_are_called_by_their_names(splits: Splits) -> None:
    n = len(splits.valid)
    for spec, message in (
        (
            of(SPEC, images=3),
            f"images 3 of the classification does not fit {n} labelled validation examples in 4 classes: ",
        ),
        (
            of(SPEC, labels=(3,)),
            f"a budget of 3 labels does not fit {len(splits.train)} labelled examples in 4 classes: ",
        ),
        (probing(probe_labels=3), f"probe_labels 3 does not fit {len(splits.train)} labelled examples in 4 classes: "),
        (probing(probe_images=3), "3 probe_images are too few for 4 classes: give at least as many"),
    ):
        with pytest.raises(InputError) as error:
            check(spec, splits)
        assert str(error.value).startswith(message)


def test_what_nothing_reads_is_not_refused(splits: Splits) -> None:
    one = replace(splits, train=Split(splits.train.inputs, torch.zeros_like(splits.train.labels)))
    for given in (splits, one):
        check(of(probing(probe_labels=3, probe_images=3, probes=()), labels=()), given)
    with pytest.raises(InputError, match="only 1 of 4 classes"):
        check(of(SPEC, labels=()), one)
    result = run(of(probing(probe_labels=3, probe_images=3, probes=(), images=20), labels=()), splits)
    assert "final/recon_mse" in result.row


def probing(**changes: Any) -> RunSpec:
    return replace(SPEC, evaluation=replace(SPEC.evaluation, **changes))


def test_these_images_and_no_others_select(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def tuning(stack: Any, train: Any, valid: Any, *more: Any) -> Any:
        seen.append((len(train[1]), valid[0](torch.arange(len(valid[0]))), valid[1]))
        return FineTuning(stack, train, valid, *more)

    monkeypatch.setattr(supervised_end, "FineTuning", tuning)
    stack, labels = build(SPEC.stack, splits.input_shape).eval(), label_rows(SPEC, splits)
    end = Classifiers(stack, SPEC, splits, labels, RunState(), Checkpoints(None, SPEC), None, NullTracker(), 0)
    _, row = end.fine_tune()
    assert [count for count, *_ in seen] == [8, 16, len(splits.train)]
    for index, (_, images, classes) in zip(selecting(SPEC, splits).values(), seen, strict=True):
        assert torch.equal(images, splits.valid.inputs[index] / 255)
        assert torch.equal(classes, splits.valid.labels[index])
    assert [row[f"classifier_valid_labels_{name}"] for name in ("8", "16", "all")] == [8, 16, 24]


def test_tables_say_on_how_many_labels_was_selected(splits: Splits) -> None:
    rows = pd.DataFrame(
        [
            {
                "arm": "joint",
                "seed": seed,
                "status": "finished",
                "final/classifier_acc_100": 0.5,
                "final/classifier_acc_all": 0.9,
                "final/classifier_valid_labels_100": 100.0,
                "final/classifier_valid_labels_all": 1000.0,
                "spec": to_json(of(RunSpec("joint"), selection="images")),
            }
            for seed in (0, 1)
        ]
    )
    told = "The classifiers' settings were selected on labelled validation images: "
    assert selection_note(rows) == f"{told}100 for 100 labels, 1,000 for all labels. "
    older = rows.drop(columns=[name for name in rows if "valid_labels" in name])  # rows that do not say it
    assert selection_note(older) == f"{told}1,000 for 100 labels, 1,000 for all labels. "
    assert selection_note(rows.drop(columns=[name for name in rows if "classifier" in name])) == ""
    assert selection(SPEC, splits) == "as many labelled validation images as there are training labels, at most 24"
    assert (
        selection(of(SPEC, selection="images"), splits) == "24 labelled validation images, also for small label budgets"
    )
