"""The studies of papers: what each says of itself, its specs at every scale, and the table of all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stacked.spec import StackSpec, from_json
from stacked.util.errors import InputError
from studies.design.search import LogRange
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.framework.trials import search_space
from studies.papers import (
    bengio2007,
    hinton2006,
    larochelle2009,
    makhzani2015,
    rifai2011,
    vincent2010,
    without_pretraining,
    xie2016,
)
from studies.papers.__main__ import main as overview_main
from studies.papers.overview import page, papers, records
from studies.record.index import ROOT
from studies.report.verdicts import claims_table
from studies.statistics.rows import load_reference, load_rows
from studies.statistics.trials import load_choices, load_trials

PAPERS = papers()
NAMES = [study.name for study in PAPERS]
#: study, its committed record, a metric, its scale and offset in print, and arms as the header prints them
RECORDED = (
    (
        hinton2006.STUDY,
        "hinton2006",
        "final/recon_sse",
        (1, 0),
        [
            [
                (arm, arm)
                for arm in ("pretrained", "joint ReLU", "joint", "logistic PCA", "sgd-2006 pretrained", "sgd-2006")
            ]
        ],
    ),
    (
        larochelle2009.STUDY,
        "larochelle2009/mnist-rot",
        "final/classifier_acc_all",
        (-100, 100),
        [
            [(kind * (depth == 1), larochelle2009.arm(kind, depth)) for depth in larochelle2009.DEPTHS]
            for kind in ("random", "pretrained")
        ],
    ),
)


def test_papers_are_found_in_their_modules() -> None:
    assert {"bengio2007", "hinton2006", "larochelle2009", "vincent2010"} <= set(NAMES)
    assert "lesson" not in NAMES  # has no claims
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("study", PAPERS, ids=NAMES)
def test_a_paper_says_what_is_claimed_how_it_is_tested_and_what_differs(study: TrainingStudy) -> None:
    text = sys.modules[f"studies.{study.module}"].__doc__ or ""
    for word in (
        "Claim",
        "Results of the paper",
        "Protocol:",
        "Deviations:",
        "Command: python -m",
        "Expected and cost:",
    ):
        assert word in text, word
    assert f"Command: {study.prog}" in text
    assert "Deviations" in study.protocol


@pytest.mark.parametrize(("study", "name", "metric", "printed", "lists"), RECORDED, ids=lambda value: str(value)[:14])
def test_the_numbers_that_a_header_expects_are_those_of_its_record(
    study: TrainingStudy,
    name: str,
    metric: str,
    printed: tuple[float, float],
    lists: list[list[tuple[str, str]]],
) -> None:
    header, out = " ".join((sys.modules[f"studies.{study.module}"].__doc__ or "").split()), ROOT / "results" / name
    rows, (scale, offset) = load_rows(out), printed
    for listed in lists:
        values = [scale * rows.loc[rows["arm"] == arm, metric] + offset for _, arm in listed]
        texts = [f"{found.mean():.2f} ± {found.std():.2f}" for found in values]
        assert ", ".join(f"{word} {text}".lstrip() for (word, _), text in zip(listed, texts, strict=True)) in header
    hours = load_trials(out)["seconds"].sum() / 3600, rows["seconds"].sum() / 3600
    assert "{:.1f} hours of tuning and {:.1f} hours of runs with one thread".format(*hours) in header


@pytest.mark.parametrize("study", PAPERS, ids=NAMES)
def test_every_arm_is_valid_at_every_scale_and_the_default_comes_first(study: TrainingStudy) -> None:
    assert tuple(study.scales) == ("default", "quick", "paper")
    bases = {scale: study.given(["--scale", scale]) for scale in study.scales}
    assert bases["default"].base == study.given([]).base
    for given in bases.values():
        for arm in study.arms:
            arm.spec(given.base)
    assert len({given.configuration for given in bases.values()}) == 3
    assert bases["quick"].base.data.limit == 2000
    epochs = [bases[scale].base.budget.stages[0] for scale in ("quick", "default", "paper")]  # type: ignore[index]
    assert epochs == sorted(set(epochs))


@pytest.mark.parametrize("study", PAPERS, ids=NAMES)
def test_claims_are_on_arms_of_the_study_or_say_why_they_cannot_be_tested(study: TrainingStudy) -> None:
    known = {*study.arm_names, *study.references, "pca", "mean image"}
    for claim in study.claims:
        named = {claim.arm, claim.against or claim.arm, claim.stays_at or claim.arm}
        assert named <= known or claim.differs == "no RBMs here", claim
    for claim in study.comparisons:
        assert not claim.paper
        assert {claim.arm, claim.against} <= known


def test_claims_have_the_numbers_of_the_tables() -> None:
    found = {
        (c.data, c.arm, c.metric): (c.paper, c.plus_minus, c.images) for c in larochelle2009.STUDY.claims if c.paper
    }
    assert found["mnist-rot", "random, 1 layer", larochelle2009.ERROR] == ("15.22", "0.31", 50_000)
    assert found["mnist-basic", "pretrained, 4 layers", larochelle2009.ERROR] == ("3.39", "0.16", 50_000)
    found = {(c.data, c.arm, c.metric): (c.paper, c.plus_minus, c.images) for c in vincent2010.STUDY.claims if c.paper}
    assert found["mnist-rot", "SDAE-3", vincent2010.svm(2)] == ("15.15", "", 50_000)
    assert found["mnist", "SDAE-3", vincent2010.ERROR] == ("1.28", "0.22", 10_000)
    assert found["mnist-bg-rand", vincent2010.GAUSSIAN, vincent2010.ERROR] == ("11.73", "", 50_000)
    numbers = {c.arm: c.paper for c in bengio2007.STUDY.claims if c.paper}
    assert numbers["supervised greedy, 20 units"] == "1.89"
    assert numbers["shallow, 20 units"] == "5.00"


def test_a_scale_is_what_options_begin_from() -> None:
    study = bengio2007.STUDY
    base = study.given(["--scale", "quick", "--limit", "500", "--classification", "{patience: 7}"]).base
    assert (base.data.limit, base.budget.stages) == (500, (2.0,))
    assert (base.classification.patience, base.classification.lrs, base.classification.optimiser) == (7, (0.1,), "sgd")
    assert base.stack == StackSpec.of("dense", 500, 500, 2000, activation="sigmoid", init="uniform", tied=True)
    with pytest.raises(InputError, match="scale 'huge' is not known: choose from default, quick, paper"):
        study.given(["--scale", "huge"])
    with pytest.raises(InputError, match="scale"):
        TrainingStudy(name="x", title="x", question="q", protocol="p", arms=study.arms).given(["--scale", "quick"])


def test_validation_images_are_as_many_as_in_the_paper_on_its_own_data_alone() -> None:
    study = vincent2010.STUDY
    assert study.given(["--data", "mnist"]).base.data.valid == 1 / 6
    assert study.given([]).base.data.valid == 1 / 12  # mnist-rot and others have their own
    assert hinton2006.STUDY.given([]).base.data.valid == 1 / 12


def test_the_page_of_papers_is_that_of_the_committed_records() -> None:
    results = ROOT / "results"
    text = page(results)
    assert (results / "papers" / "README.md").read_text(encoding="utf-8") == text
    out = results / "hinton2006"
    verdicts = [
        line.split("|")[8] for line in text.splitlines() if line.startswith("| [hinton2006](../hinton2006/README.md) |")
    ]
    table = claims_table(load_rows(out), load_reference(out), hinton2006.STUDY.claims).splitlines()
    assert verdicts == [line.split("|")[8] for line in table[2 : 2 + len(hinton2006.STUDY.claims)]]


def test_papers_without_a_record_are_listed_with_their_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(not records(study, tmp_path) for study in PAPERS)
    assert overview_main(["--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    text = (tmp_path / "papers" / "README.md").read_text(encoding="utf-8")
    for study in PAPERS:
        assert f"{len(study.claims)} claims, `{study.prog}`" in text
        assert study.prog in " ".join(shown.split())
    assert overview_main(["--results", str(tmp_path / "nowhere")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_ways_without_pretraining_share_data_budget_and_loss_with_hinton2006() -> None:
    """With the same settings, arms of both studies are the same runs."""
    ours, theirs = without_pretraining.STUDY, hinton2006.STUDY
    for scale in theirs.scales:
        mine, base = (study.given(["--scale", scale]).base for study in (ours, theirs))
        assert mine == base
    for name in (hinton2006.PRETRAINED, hinton2006.JOINT):
        assert ours.arm(name).spec(base).id == theirs.arm(name).spec(base).id
    assert without_pretraining.STUDY not in PAPERS  # compares, and claims nothing
    assert {claim.against for claim in ours.comparisons} == {*ours.arm_names} - {hinton2006.PRETRAINED}
    assert {claim.arm for claim in ours.comparisons} == {hinton2006.PRETRAINED}


def test_ways_without_pretraining_are_those_of_their_papers() -> None:
    study = without_pretraining.STUDY
    base = study.given([]).base
    nesterov, lbfgs, norm = (
        study.arm(name).spec(base)
        for name in (without_pretraining.NESTEROV, without_pretraining.LBFGS, without_pretraining.BATCH_NORM)
    )
    assert [spec.stack.init for spec in (nesterov, lbfgs, norm)] == ["sparse", "sparse", "xavier"]
    assert (nesterov.optimisation.optimiser, nesterov.optimisation.nesterov) == ("sgd", True)
    assert (lbfgs.optimisation.optimiser, lbfgs.optimisation.lr) == ("lbfgs", 1.0)
    assert {norm.stack.norm_of(stage) for stage in (1, 2, 3, 4)} == {"batch"}
    for arm in study.arms:
        space = search_space(study, arm, base)
        assert "optimisation.batch_size" in space
        assert any(isinstance(within, LogRange) for within in space.values())  # so that no two trials are the same run
        for place in (0.0, 0.5, 1.0):
            arm.with_values({name: within.at(place) for name, within in space.items()}).spec(base)
    momenta = search_space(study, study.arm(without_pretraining.NESTEROV), base)["optimisation.momentum"]
    assert (momenta.at(0.0), momenta.at(1.0)) == (0.9, 0.99)


#: A few updates of everything on the smallest data.
TINY = ("--scale", "quick", "--data", "digits", "--limit", "100", "--jobs", "1", "--unit", "updates", "--epochs", "2")
HARDLY = "{epochs: 1, checks: 1, updates: 2, lrs: [0.1], images: 20}"


@pytest.mark.slow
@pytest.mark.usefixtures("no_models")
@pytest.mark.parametrize(
    "study",
    [
        *(bengio2007.STUDY, larochelle2009.STUDY, vincent2010.STUDY),
        *(makhzani2015.STUDY, rifai2011.STUDY, xie2016.STUDY),
    ],
    ids=lambda one: one.name,
)
def test_a_paper_runs_to_its_page(study: TrainingStudy, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arms = study.arm_names if study is bengio2007.STUDY else study.arm_names[:3]
    words = (*TINY, "--seeds", "1", "--arms", *arms, "--out", str(out), "--store", str(tmp_path / "store"))
    assert main(study, [*words, "--evaluation", "{probe_labels: 50}", "--classification", HARDLY]) == 0
    rows = load_rows(out)
    assert set(rows["arm"]) == set(arms)
    assert (rows["status"] == "finished").all()
    text = (out / "README.md").read_text(encoding="utf-8")
    assert text.count("**not tested here (other data)**") == len(study.claims)
    if study is vincent2010.STUDY:
        assert {f"final/svm_acc_depth{k}" for k in range(4)} <= set(rows.columns)
        assert (rows["final/svm_acc_depth3"] == rows["final/svm_acc"]).all()
    if study is xie2016.STUDY:
        assert {"final/kmeans_acc_depth0", "final/kmeans_acc", "final/dec_acc"} <= set(rows.columns)


@pytest.mark.slow
@pytest.mark.usefixtures("no_models")
def test_ways_without_pretraining_run_to_their_page(tmp_path: Path) -> None:
    study, out = without_pretraining.STUDY, tmp_path / "out"
    tiny = [*TINY, "--finetune", "2", "--equal", "updates", "--seeds", "1", "--evaluation", "{probe_labels: 50}"]
    assert main(study, [*tiny, "--out", str(out), "--store", str(tmp_path / "store")]) == 0
    rows = load_rows(out)
    assert set(rows["arm"]) == set(study.arm_names)
    assert (rows["status"] == "finished").all()
    assert (out / "README.md").read_text(encoding="utf-8").count("| not tested here (other data) |") == len(
        study.comparisons
    )


@pytest.mark.slow
@pytest.mark.usefixtures("no_models")
def test_a_paper_is_tuned_by_its_classifier_with_and_without_pretraining(tmp_path: Path) -> None:
    study, out, arms = larochelle2009.STUDY, tmp_path / "out", ("random, 1 layer", "pretrained, 1 layer")
    words = [*TINY, "--seeds", "1", "--arms", *arms, "--out", str(out), "--store", str(tmp_path / "store")]
    words += ["--evaluation", "{probe_labels: 50}", "--classification", HARDLY]
    assert main(study, [*words, "--tune", "2"]) == 0
    trials, choices = load_trials(out), load_choices(out)
    assert dict(trials["arm"].value_counts()) == dict.fromkeys(arms, 2)
    assert trials["valid/classifier_acc_all"].between(0, 1).all()
    assert main(study, words) == 0
    for row in load_rows(out).to_dict("records"):
        tuned = choices[row["arm"]]["values"]
        assert from_json(row["spec"]).classification.lrs == (tuned["classification.lrs"],)
        assert row["final/classifier_lr_all"] == tuned["classification.lrs"]
    page_of_record = (out / "README.md").read_text(encoding="utf-8")
    assert "| random, 1 layer | validation classifier_acc_all | 0 |" in page_of_record
