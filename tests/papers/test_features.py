"""Papers that judge codes: winner-take-all, contractive autoencoders, deep embedded clustering; their arms, losses and claims."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from stacked import InputError, StackSpec
from stacked.components.losses import bce
from stacked.model.stack import build
from stacked.runtime.rng import seeded
from stacked.spec import StageSpec
from stacked.spec.growth import Phase
from stacked.training.phase_loss import PhaseLoss
from studies.design.measurements import Context
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.framework.trials import search_space
from studies.papers import clustering, makhzani2015, rifai2011, xie2016
from studies.statistics.measurement_rows import load
from tests.helpers.splits import toy_splits


@pytest.mark.parametrize("study", [makhzani2015.STUDY, rifai2011.STUDY, xie2016.STUDY], ids=lambda one: one.name)
def test_the_ends_of_every_range_can_be_trained(study: TrainingStudy) -> None:
    base = study.given([]).base
    for arm in study.arms:
        space = search_space(study, arm, base)
        assert bool(space) == (arm.policy_name != "random" or study is rifai2011.STUDY)
        for place in (0.0, 0.5, 1.0):
            values = {name: within.at(place) for name, within in space.items()}
            spec = arm.with_values(values).spec(base)
            assert dict(spec.optimisation.penalties).keys() == dict(arm.spec(base).optimisation.penalties).keys()


def test_winner_take_all_is_that_of_the_paper() -> None:
    study = makhzani2015.STUDY
    specs = {arm.name: arm.spec(study.given([]).base) for arm in study.arms}
    for name, spec in specs.items():
        assert spec.stack == StackSpec((StageSpec("dense", 2000, "relu"),), output="linear", init="he")
        assert (spec.optimisation.batch_size, spec.optimisation.loss) == (100, ("mse",))
        kept = ("lifetime", 0.05) if name == makhzani2015.WTA else (None, 0.05)
        assert (spec.optimisation.winner_take_all, spec.optimisation.winner_take_all_rate) == kept
        assert "svm" in spec.evaluation.probes
        assert spec.classification.labels == ()  # nothing is fine-tuned
    assert specs[makhzani2015.L1].optimisation.penalties == (("l1", 0.1),)
    assert specs[makhzani2015.DENOISING].optimisation.corruption_level == (0.25,)
    (claim,) = study.claims
    assert (claim.arm, claim.metric, claim.paper, claim.images) == ("FC-WTA", "final/svm_error", "1.20", 10_000)
    assert study.tuning_measure == "svm_acc"


def test_contraction_is_that_of_the_paper() -> None:
    study = rifai2011.STUDY
    specs = {arm.name: arm.spec(study.given([]).base) for arm in study.arms}
    for spec in specs.values():
        assert spec.stack == StackSpec.of("dense", 1000, activation="sigmoid", init="uniform", tied=True)
        assert (spec.optimisation.loss, spec.classification.labels) == (("bce",), (None,))
    ((name, weight),) = specs[rifai2011.CAE].optimisation.penalties
    assert (name, weight * 784) == ("contractive", pytest.approx(0.1))
    noises = {arm: (specs[arm].optimisation.corruption, specs[arm].optimisation.corruptive) for arm in specs}
    assert noises[rifai2011.DAE] == ("gaussian", True)
    assert noises[rifai2011.MASKING] == ("masking", True)
    assert not noises[rifai2011.AE][1]
    assert not noises[rifai2011.CAE][1]
    assert {claim.arm: claim.paper for claim in study.claims if claim.paper} == {
        "AE": "1.78",
        "DAE": "1.18",
        "CAE": "1.14",
    }
    assert {(claim.arm, claim.against) for claim in study.claims if claim.against} == {("CAE", "AE"), ("DAE", "AE")}


def test_our_weight_of_the_contraction_is_lambda_divided_by_the_number_of_pixels() -> None:
    """The loss of the paper, a sum over pixels, times a constant: with the Jacobian by torch's own differentiation."""
    study, pixels, lam = rifai2011.STUDY, 12 * 12, 0.3
    with seeded(0, "init"):
        stack = build(StackSpec.of("dense", 7, activation="sigmoid", init="xavier", tied=True), (1, 12, 12)).double()
    arm = study.arm(rifai2011.CAE).with_values({"optimisation.penalties.contractive": lam / pixels})
    how = arm.spec(study.given([]).base).optimisation
    x = toy_splits().train.inputs[:5].double() / 255
    rows = x.flatten(1)
    loss = PhaseLoss(stack.learn_only(1, 1), Phase("stage 1", (1, 1), 0, 1), how)(x, None, 0)
    layer = stack.stages[0].encoder[1]
    jacobian = torch.stack(
        [torch.autograd.functional.jacobian(lambda row: torch.sigmoid(layer(row)), one) for one in rows]
    )
    code = torch.sigmoid(layer(rows))
    logits = code @ layer.weight + stack.stages[0].decoder[0].bias
    summed = bce(logits, rows).sum(1) + lam * jacobian.square().sum((1, 2))
    assert loss.item() == pytest.approx(summed.mean().item() / pixels, rel=1e-12)
    assert lam * jacobian.square().sum((1, 2)).mean() > 1e-3 * summed.mean()


def test_deep_embedded_clustering_begins_at_the_autoencoder_of_the_paper() -> None:
    study = xie2016.STUDY
    specs = {arm.name: arm.spec(study.given([]).base) for arm in study.arms}
    for spec in specs.values():
        stages = spec.stack.stages
        assert [(stage.width, stage.activation) for stage in stages] == [
            *((500, "relu"), (500, "relu"), (2000, "relu")),
            (10, "linear"),
        ]
        decoders = [spec.stack.decoder_activation(k) for k in (1, 2, 3, 4)]
        assert decoders == ["linear", "relu", "relu", "relu"]
        assert spec.evaluation.probes == ("kmeans", "dec")
        assert spec.evaluation.probe_labels >= 55_000  # clusters are of all training images
    denoising = specs[xie2016.SDAE]
    how, phases = denoising.optimisation, denoising.phases()
    assert [phase.name for phase in phases] == ["stage 1", "stage 2", "stage 3", "stage 4", "fine-tuning"]
    for phase in phases[:4]:
        assert how.levels_at(phase.input_depth, phase) == (0.2,)
        assert how.dropout_of(phase, phase.depth) == 0.2
    assert not how.corrupts(phases[4])  # all layers are trained on clean images
    plain = specs[xie2016.SAE]
    assert not any(plain.optimisation.corrupts(phase) for phase in plain.phases())
    assert study.tuning_measure == "recon_mse"  # no label chooses a setting
    numbers = {claim.metric: (claim.paper, claim.images) for claim in study.claims if claim.paper}
    assert numbers == {
        "final/kmeans_acc_depth0": ("53.49", 70_000),
        "final/kmeans_acc": ("81.84", 70_000),
        "final/dec_acc": ("84.30", 70_000),
    }
    effects = [(claim.arm, claim.metric, claim.metric_of_other, claim.higher) for claim in study.claims[3:]]
    assert effects == [
        ("SDAE", "final/kmeans_acc", "final/kmeans_acc_depth0", True),
        ("SDAE", "final/dec_acc", "final/kmeans_acc", True),
    ]


def test_clusters_beside_clustpy_are_of_the_same_network() -> None:
    study = clustering.STUDY
    given = study.parser().parse_args([])
    spec = clustering.spec_of(3, given)
    assert spec.stack.stages == xie2016.STUDY.given([]).base.stack.stages
    assert (spec.seed, spec.budget.stages, spec.budget.end_to_end) == (3, (3,), 6)
    assert spec.optimisation.levels_at(0, spec.phases()[-1]) == (0.2,)  # ClustPy corrupts in fine-tuning, too
    toy = Context(toy_splits(), given, Path())
    clustering.check(toy, list(study.methods))
    train, test, labels = clustering.rows_of(toy)
    assert (train.shape, test.shape, labels.shape) == ((256, 144), (128, 144), (128,))
    assert 0 <= train.min() < train.max() <= 1
    given.clustering_epochs = 0
    with pytest.raises(InputError, match="clustering_epochs 0 is not allowed: give an integer of at least 1"):
        clustering.check(toy, list(study.methods))


@pytest.mark.slow
def test_clusters_beside_clustpy_are_measured_to_their_page(tmp_path: Path) -> None:
    pytest.importorskip("clustpy")
    out = tmp_path / "out"
    assert main(clustering.STUDY, ["--smoke", "--out", str(out), "--store", str(tmp_path / "store")]) == 0
    rows = load(out)
    assert set(rows["arm"]) == set(clustering.STUDY.arms)
    accuracy = rows[rows["measure"] == "acc"].set_index("arm")["value"]
    assert accuracy.between(0.1, 1).all()
    assert accuracy[clustering.PIXELS] > 0.5  # digits
    assert not math.isnan(rows[(rows["measure"] == "gflop") & (rows["arm"] == clustering.DEC)]["value"].item())
    assert (out / "figures" / "accuracy.png").exists()
