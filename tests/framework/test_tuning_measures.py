"""Tuning by the classifier: what its trials train, that every arm has as many, and what stands in their rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from stacked import InputError, RunSpec, StackSpec
from stacked.data import Splits
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from studies.cli.options import Options
from studies.design.arms import Arm
from studies.design.search import Among, LogRange
from studies.figures.scales import scale_name
from studies.framework import trials, tuning
from studies.framework.plan import plan, tuned_settings
from studies.framework.training_study import TrainingStudy
from studies.framework.tuning_measures import label_budget, probes_of
from studies.papers import bengio2007, larochelle2009, rifai2011, vincent2010
from studies.pretraining.layerwise import STUDY as LAYERWISE
from studies.report.tuning import draw_tuning, tuning_note
from studies.statistics.trials import load_choices, load_trials
from tests.helpers.options import options_of
from tests.helpers.splits import toy_splits

RECIPE = Classification(labels=(100, None), lrs=(1e-3, 1e-2), updates=4, checks=2, batch_size=16, images=20)
BASE = RunSpec(
    "joint",
    stack=StackSpec.of("dense", 6, 4),
    budget=Budget((2.0,), 3.0, "updates"),
    optimisation=Optimisation(batch_size=32, lr=1e-2),
    evaluation=Evaluation(probe_labels=60),
    classification=RECIPE,
)
RATES, OTHER_RATES = LogRange(1e-3, 1e-1), LogRange(1e-4, 1e-2)
STUDY = TrainingStudy(
    name="toy",
    title="Toy",
    question="?",
    protocol="p",
    arms=(
        Arm("greedy"),
        Arm("random"),
        Arm("modern", "random", {"classification.optimiser": "adamw", "classification.lrs": [1e-3]}),
        Arm("modern, tuned", "random", search={"classification.lrs": OTHER_RATES}),
        Arm("by error", "greedy", tuning_measure="recon_mse"),
    ),
    budget_arm="greedy",
    search={
        "optimisation.lr": LogRange(1e-3, 1e-1),
        "budget.stages": Among((2, 3)),
        "stack.gain": LogRange(0.5, 2.0),
        "classification.lrs": RATES,
        "classification.batch_size": Among((8, 16)),
    },
    search_split={},
    tuning_measure="classifier_acc_all",
)
FINE_TUNING = ["classification.lrs", "classification.batch_size"]


def given(out: Path, **changes: Any) -> Options:
    return options_of(STUDY, BASE, out, **{"equal": "updates", "tune": 2} | changes)


@pytest.fixture
def splits() -> Splits:
    return toy_splits(128)


def test_the_space_of_an_arm_is_what_can_change_its_measure() -> None:
    spaces = {arm.name: trials.search_space(STUDY, arm, BASE) for arm in STUDY.arms}
    trained = ["optimisation.lr", "budget.stages", "stack.gain"]
    assert list(spaces["greedy"]) == [*trained, *FINE_TUNING]
    assert list(spaces["random"]) == ["stack.gain", *FINE_TUNING]
    assert list(spaces["modern"]) == ["stack.gain", "classification.batch_size"]  # it sets the rate itself
    assert spaces["modern, tuned"]["classification.lrs"] == OTHER_RATES
    assert list(spaces["by error"]) == trained
    assert spaces["random"]["stack.gain"] == LogRange(0.5, 2.0)
    by_error = dataclasses.replace(STUDY, tuning_measure="recon_mse")
    assert trials.search_space(by_error, by_error.arm("random"), BASE) == {}


def test_every_arm_has_as_many_trials_and_fine_tunes_by_its_own_recipe(tmp_path: Path, splits: Splits) -> None:
    planned = list(trials.plan_trials(STUDY, given(tmp_path), splits, 1))
    assert [(one.number, one.arm) for one in planned] == [(n, arm) for n in (0, 1) for arm in STUDY.arm_names]
    for one in planned:
        if one.arm == "by error":
            assert one.spec.classification == dataclasses.replace(RECIPE, labels=())
            assert one.spec.evaluation.probes == ("logistic",)
            continue
        own = STUDY.arm(one.arm).with_values(one.values).spec(BASE).classification
        assert one.spec.classification == dataclasses.replace(own, labels=(None,))
        if one.arm != "modern":
            assert one.spec.classification.lrs == (one.values["classification.lrs"],)  # one rate a trial
        assert one.spec.evaluation.probes == ()
    few = dataclasses.replace(STUDY, tuning_measure="classifier_acc_10")
    assert next(trials.plan_trials(few, given(tmp_path), splits, 1)).spec.classification.labels == (10,)


def test_a_trial_records_the_accuracy_by_which_its_classifier_was_selected(tmp_path: Path, splits: Splits) -> None:
    """On 20 of the validation images, of which the recipe uses no more; test images are not there to be read."""
    poisoned = dataclasses.replace(splits, test=splits.test.take(splits.test.labels.new_zeros(0)))
    (tmp_path / "out").mkdir()
    found = {}
    for trial in list(trials.plan_trials(STUDY, given(tmp_path), splits, 1))[:2]:
        row = trial.run(poisoned, lambda: False)
        again = run(trial.spec, splits.without_test())
        found[trial.arm] = row["valid/classifier_acc_all"]
        assert found[trial.arm] == again.row["final/classifier_valid_acc_all"]
        assert again.row["final/classifier_valid_labels_all"] == 20
        assert row["valid/recon_mse"] == again.row["final/recon_mse"]
        assert not [name for name in row if name.startswith("final/")]
    kept = load_trials(tmp_path / "out").set_index("arm")["valid/classifier_acc_all"]
    assert dict(kept) == found
    assert not list((tmp_path / "store" / "work").glob("*/*.safetensors"))


def test_trials_may_be_compared_by_a_support_vector_machine_on_the_code(tmp_path: Path, splits: Splits) -> None:
    study = dataclasses.replace(STUDY, tuning_measure="svm_acc", arms=STUDY.arms[:1])
    (tmp_path / "out").mkdir()
    options_ = options_of(study, BASE, tmp_path, equal="updates", tune=1)
    (trial,) = trials.plan_trials(study, options_, splits, 1)
    assert list(trial.values) == ["optimisation.lr", "budget.stages", "stack.gain"]  # nothing of fine-tuning
    assert (trial.spec.evaluation.probes, trial.spec.classification.labels) == (("svm",), ())
    row, again = trial.run(splits, lambda: False), run(trial.spec, splits.without_test()).row
    assert row["valid/svm_acc"] == again["final/svm_acc"]
    assert "valid/probe_acc" not in row
    assert [
        probes_of(measure, ("kmeans",)) for measure in ("recon_mse", "probe_acc", "svm_acc", "classifier_acc_all")
    ] == [
        (),
        ("logistic",),
        ("svm",),
        (),
    ]
    assert probes_of("recon_mse", ()) == probes_of("recon_mse", ("svm", "logistic")) == ("logistic",)


def test_the_settings_of_the_best_classifier_are_chosen_and_taken_by_runs(tmp_path: Path, splits: Splits) -> None:
    options_, out = given(tmp_path, arms=("greedy", "random")), tmp_path / "out"
    out.mkdir()
    for _ in tuning.tune(STUDY, options_, splits, 1, lambda: False):
        pass
    rows, choices = load_trials(out), load_choices(out)
    assert list(choices) == ["greedy", "random"]
    for arm, choice in choices.items():
        mine = rows[rows["arm"] == arm]
        assert len(mine) == 2
        top = mine.loc[mine["valid/classifier_acc_all"].idxmax()]
        assert (choice["judged_by"], choice["run"]) == ("classifier_acc_all", top["run"])
        assert choice["values"] == json.loads(top["values"])
    for job in plan(STUDY, dataclasses.replace(options_, tune=None), splits):
        values = choices[job.arm]["values"]
        assert job.spec.classification.lrs == (values["classification.lrs"],)
        assert job.spec.classification.batch_size == values["classification.batch_size"]
        assert job.spec.classification.labels == (100, None)  # those of the study
    note = tuning_note(out)
    assert "| random | validation classifier_acc_all | 0 |" in note
    assert "a trial also fine-tunes the classifier by the recipe of a run" in note
    figure = draw_tuning(out)
    assert figure is not None
    assert figure.axes[0].get_title() == "accuracy, %" + scale_name(figure.axes[0])


def test_chosen_settings_of_fine_tuning_are_used_with_its_default_recipe_alone(tmp_path: Path) -> None:
    values = {"joint": {"classification.lrs": 0.004}}
    chosen = dataclasses.replace(LAYERWISE, chosen=values, tuning_measure="classifier_acc_all")

    def of(*words: str) -> Options:
        return chosen.given([*words, "--out", str(tmp_path / "none")])

    assert tuned_settings(chosen, of("--arms", "joint")) == values
    assert tuned_settings(chosen, of("--classification", "{optimiser: sgd}")) == {}
    by_error = dataclasses.replace(chosen, tuning_measure="recon_mse")
    assert tuned_settings(by_error, of("--classification", "{optimiser: sgd}")) == values


def test_what_cannot_be_compared_is_refused(tmp_path: Path, splits: Splits) -> None:
    assert label_budget("classifier_acc_all") == (True, None)
    assert label_budget("classifier_acc_250") == (True, 250)
    assert label_budget("probe_acc") == (False, None)
    message = (
        "is not known: choose from recon_mse, recon_fvu, recon_sse, probe_acc, svm_acc, classifier_acc_all and "
        "classifier_acc_N"
    )
    for measure in ("classifier_acc_0", "classifier_acc", "classifier_acc_x", "accuracy", ""):
        with pytest.raises(InputError, match=f"tuning measure {measure!r} {message}"):
            dataclasses.replace(STUDY, tuning_measure=measure)
    with pytest.raises(InputError, match=f"tuning measure 'acc' {message}"):
        dataclasses.replace(STUDY, arms=(Arm("greedy", tuning_measure="acc"),))
    unlabelled = dataclasses.replace(splits, classes=())
    with pytest.raises(
        InputError,
        match=r"trials are compared by 'classifier_acc_all', and .* has no classes: tune on data with classes",
    ):
        next(trials.plan_trials(STUDY, given(tmp_path), unlabelled, 1))


@pytest.mark.parametrize(
    "study",
    [bengio2007.STUDY, larochelle2009.STUDY, rifai2011.STUDY, vincent2010.STUDY],
    ids=lambda one: one.name,
)
def test_papers_on_classification_tune_every_arm_by_its_classifier(study: TrainingStudy) -> None:
    """With a rate of fine-tuning for each arm, and one of pretraining for those that have it."""
    base = study.given([]).base
    for arm in study.arms:
        space = trials.search_space(study, arm, base)
        assert "classification.lrs" in space
        assert ("optimisation.lr" in space) == (arm.policy_name != "random")
        for place in (0.0, 0.5, 1.0):
            arm.with_values({name: within.at(place) for name, within in space.items()}).spec(base)
