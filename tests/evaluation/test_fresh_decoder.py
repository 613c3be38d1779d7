"""The error of a fresh linear decoder as a final metric: scikit-learn's ridge regression on the codes, and only if asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import Ridge

from stacked import InputError, RunSpec, StackSpec
from stacked.evaluation.diagnosis import information_kept
from stacked.evaluation.evaluate import codes
from stacked.evaluation.fresh_decoder import fresh_decoder_errors
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from studies.statistics.measures import measure
from studies.statistics.run_columns import limits
from tests.helpers.splits import toy_splits

SPEC = RunSpec(
    "local",
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget((2.0,), 2.0, "updates"),
    optimisation=Optimisation(batch_size=32, objectives={"labels": 1.0}),
    evaluation=Evaluation(every=2, images=32, probes=(), fresh_decoder=True),
    classification=Classification(labels=()),
)


def test_a_run_has_the_test_error_at_every_depth() -> None:
    splits = toy_splits()
    done = run(SPEC, splits)
    named = {name: value for name, value in done.row.items() if "fresh_decoder" in name}
    assert set(named) == {f"final/fresh_decoder_mse{end}" for end in ("", "_depth1", "_depth2")}
    assert named["final/fresh_decoder_mse"] == named["final/fresh_decoder_mse_depth2"]
    train, test = (part.inputs.flatten(1).double() / 255 for part in (splits.train, splits.test))
    for depth in (1, 2):
        fitted, read = (codes(done.stack, part.inputs, depth).double().numpy() for part in (splits.train, splits.test))
        mean, scale = fitted.mean(0), fitted.var(0).mean() ** 0.5
        model = Ridge(alpha=1.0).fit((fitted - mean) / scale, train.numpy())
        error = float(((model.predict((read - mean) / scale) - test.numpy()) ** 2).mean())
        assert named[f"final/fresh_decoder_mse_depth{depth}"] == pytest.approx(error, rel=1e-5)


def test_it_changes_nothing_else_and_no_id_of_runs_without_it() -> None:
    splits, without = toy_splits(), replace(SPEC, evaluation=replace(SPEC.evaluation, fresh_decoder=False))
    with_it, plain = run(SPEC, splits).row, run(without, splits).row
    assert not any("fresh_decoder" in name for name in plain)
    assert {name: with_it[name] for name in plain if name.startswith("final/")} == {
        name: value for name, value in plain.items() if name.startswith("final/")
    }
    assert without.id == replace(SPEC, evaluation=Evaluation(every=2, images=32, probes=())).id != SPEC.id
    with pytest.raises(InputError, match="fresh_decoder 1 is not allowed: give True or False"):
        Evaluation(fresh_decoder=1)  # type: ignore[arg-type]


def test_the_diagnosis_measures_the_same_on_validation_examples() -> None:
    splits = toy_splits()
    stack = run(SPEC, splits).stack
    kept = information_kept(stack, splits, examples=50)
    found = fresh_decoder_errors(stack, splits.train.inputs, splits.valid.inputs, range(3), examples=50)
    assert kept == found
    assert torch.tensor([one.mse for one in kept]).diff().gt(0).all()


def test_its_column_has_a_label_and_cannot_be_negative() -> None:
    assert measure("final/fresh_decoder_mse").label == "test MSE of a fresh linear decoder of the code"
    assert measure("final/fresh_decoder_mse_depth2").label.endswith("of the code at depth 2")
    assert measure("final/fresh_decoder_mse").better == "lower"
    for name in ("final/fresh_decoder_mse", "final/fresh_decoder_mse_depth2", "span_gflop"):
        assert limits(name)[0] == 0.0
