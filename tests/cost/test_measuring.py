"""What measuring a run costs is foretold with its training: its curve, probes and classifiers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stacked import RunSpec, StackSpec, estimate_cost
from stacked.cost.forecast import calibrated_by_classifier
from stacked.cost.measuring_cost import ImageCounts, Timed, budgets, classifier_cost, measuring_seconds
from stacked.cost.phase_cost import phase_cost
from stacked.cost.roofline import Machine
from stacked.evaluation import fine_tuning
from stacked.evaluation.fine_tuning import fine_tuned
from stacked.model.stack import build
from stacked.spec import Classification, Optimisation
from stacked.spec.growth import Phase
from tests.helpers.counted import update_flops
from tests.helpers.splits import toy_splits

ROOT = Path(__file__).parents[2]
SHAPE = (1, 12, 12)
MACHINE = Machine("a machine", gflops=10.0, gb_per_second=10.0)
SPEC = RunSpec(
    policy="joint",
    stack=StackSpec.of("conv", 4, 6),
    classification=Classification(labels=(20, None), updates=3, epochs=2.0, batch_size=16, checks=2, lrs=(1e-3, 3e-3)),
)
IMAGES = ImageCounts(train=100, valid=50, test=80, classes=4)


def seconds(spec: RunSpec = SPEC, images: ImageCounts = IMAGES, machine: Machine = MACHINE) -> float:
    return measuring_seconds(spec, SHAPE, images, 200, machine)


def labelled(*labels: int | None) -> RunSpec:
    return replace(SPEC, classification=replace(SPEC.classification, labels=labels))


@pytest.mark.parametrize("labels", [20, 100])
def test_a_classifier_is_counted_as_it_is_trained(labels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    phase, cost = classifier_cost(SPEC.stack, SPEC.classification, SHAPE, labels, 4)
    made: list[Phase] = []
    real = fine_tuning.Training
    monkeypatch.setattr(
        fine_tuning, "Training", lambda stack, phase, *a, **k: made.append(phase) or real(stack, phase, *a, **k)
    )
    splits, stack = toy_splits(), build(SPEC.stack, SHAPE)
    part = splits.train.inputs[:labels], splits.train.labels[:labels]
    fine_tuned(stack, part, part, "abcd", SPEC.classification, seed=0)
    assert made == [phase, phase]
    assert cost.updates == phase.updates == max(3, 2 * (labels // 16))
    real_stack = build(SPEC.stack, SHAPE).to(memory_format=torch.channels_last)
    assert cost.update.flop == update_flops(real_stack, phase, Optimisation(batch_size=16), 4, 16)


@pytest.mark.parametrize(
    "recipe",
    [
        {"corruption": "block-masking", "corruption_level": 0.3},  # of images: the codes are vectors
        {"encoder": "frozen", "batch_size": 1},
    ],
)
def test_every_valid_recipe_is_counted(recipe: dict[str, Any]) -> None:
    for stack in (StackSpec.of("dense", 8, 4), StackSpec.of("dense", 8, 4, norm="batch")):
        spec = RunSpec(stack=stack, classification=replace(SPEC.classification, **recipe))
        _, cost = classifier_cost(stack, spec.classification, SHAPE, 20, 4)
        assert cost.flops > 0
        assert calibrated_by_classifier(stack, spec.classification, SHAPE, 20, 4).efficiency > 0


def test_each_number_of_labels_adds_its_classifier() -> None:
    none, few, both = (seconds(labelled(*labels)) for labels in ((), (20,), (20, None)))
    assert none < few < both
    every = seconds(labelled(None))
    assert both - none == pytest.approx((few - none) + (every - none))
    longer = replace(SPEC, classification=replace(SPEC.classification, labels=(None,), epochs=20.0))
    assert seconds(longer) - none > 5 * (every - none)


def test_probes_are_counted_where_there_are_classes() -> None:
    without = seconds(images=replace(IMAGES, classes=0))
    assert 0 < without < seconds(labelled())
    fewer = replace(labelled(), evaluation=replace(SPEC.evaluation, probe_labels=10))
    assert seconds(fewer) < seconds(labelled())


def test_deep_clustering_is_counted_with_its_epochs() -> None:
    """20 epochs of one batch: the update of a classifier, and the codes of all images; then once more, and of test images."""
    plain = replace(labelled(), evaluation=replace(SPEC.evaluation, probes=("kmeans",)))
    both = replace(plain, evaluation=replace(plain.evaluation, probes=("kmeans", "dec")))
    added = seconds(both) - seconds(plain)
    recipe, timed = replace(SPEC.classification, batch_size=256), Timed(SPEC, SHAPE, MACHINE)
    update = MACHINE.seconds(classifier_cost(SPEC.stack, recipe, SHAPE, 100, 4)[1].update.operations)
    assert added == pytest.approx(20 * update + 21 * timed.encoding(2, 100) + timed.encoding(2, 80))
    ends = replace(plain, evaluation=replace(plain.evaluation, probe_depths="ends"))
    every = replace(plain, evaluation=replace(plain.evaluation, probe_depths="all"))
    assert seconds(plain) < seconds(ends) < seconds(every)


def test_a_machine_twice_as_quick_takes_half_the_time() -> None:
    assert seconds(machine=replace(MACHINE, efficiency=0.5)) == pytest.approx(2 * seconds())


def test_no_classifier_gets_fewer_labels_than_its_encoder_was_trained_with() -> None:
    taught = replace(SPEC, policy="supervised", optimisation=Optimisation(labels=50))
    assert list(budgets(SPEC, IMAGES)) == [20, 100]
    assert list(budgets(taught, IMAGES)) == [100]


def test_an_estimate_tells_measuring_apart_from_training() -> None:
    told = estimate_cost(SPEC, SHAPE, 100, classes=4, valid=50, test=80, machine=MACHINE)
    assert told.measuring_seconds == seconds_of(told.updates)
    untrained = estimate_cost(replace(SPEC, policy="random"), SHAPE, 100, classes=4, valid=50, test=80, machine=MACHINE)
    assert untrained.seconds == 0
    assert untrained.measuring_seconds > 0


def seconds_of(updates: int) -> float:
    return measuring_seconds(SPEC, SHAPE, IMAGES, updates, MACHINE)


def test_phases_that_cost_the_same_are_counted_once() -> None:
    """Fine-tuning all stages is joint training, whatever the learning rate and its schedule."""
    joint = Phase("joint", (1, 2), 0, 7)
    one = phase_cost(SPEC, SHAPE, joint, 100)
    other = replace(SPEC, optimisation=replace(SPEC.optimisation, lr=0.05, schedule="onecycle"))
    two = phase_cost(other, SHAPE, replace(joint, name="fine-tuning", is_finetuning=True), 100)
    assert two.update is one.update
    patient = replace(SPEC, optimisation=replace(SPEC.optimisation, patience=3))
    kept = phase_cost(patient, SHAPE, joint, 100)
    assert (
        kept.update.peak_bytes > phase_cost(patient, SHAPE, replace(joint, is_finetuning=True), 100).update.peak_bytes
    )


@pytest.mark.slow
def test_a_dry_run_loads_no_library_that_takes_seconds_and_tells_what_measuring_takes() -> None:
    code = (
        "import sys; from studies.framework.main import main; from studies.pretraining.layerwise import STUDY; "
        "main(STUDY, ['--smoke', '--data', 'mnist', '--dry-run', '--jobs', '1']); "
        "print(sorted({'matplotlib', 'mlflow', 'pandas', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    assert lines[0].split() == [
        "one",
        "run",
        "of",
        "updates",
        "GFLOP",
        "training",
        "measuring",
        "memory",
        "checkpoints",
    ]
    [random] = [line for line in lines if line.startswith("random")]
    assert random.split()[3:5] == ["0.0", "s"]
    assert random.split()[5] != "0.0"
    assert ", of which " in done.stdout
