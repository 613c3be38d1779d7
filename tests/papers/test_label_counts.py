"""Masci et al. 2011 and Paine et al. 2014: their networks, arms and claims, the answer and the figure from made-up rows."""

from __future__ import annotations

import dataclasses
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stacked.spec import DataSpec, RunSpec, StackSpec, StageSpec
from stacked.util.serialization import to_json
from studies.figures.figures import Record, drawn
from studies.figures.style import style
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.framework.trials import search_space
from studies.framework.tuning_measures import label_budget
from studies.papers import masci2011, paine2014
from studies.papers.shared.gain_figure import draw_gain, ratios
from studies.papers.shared.label_counts import answer, error, measured_budgets, name_of, named
from studies.report.verdicts import comparisons_table
from studies.statistics.rows import load_reference, load_rows

STUDIES = (masci2011.STUDY, paine2014.STUDY)
BOTH = pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
KINDS = paine2014.KINDS
ALL = ("1000", "5000", "10000", "all")


# Networks, arms and claims


def of_masci(*widths: int) -> StackSpec:
    """Scaled tanh, also of the pixels; tied; what is not a maximum is set to 0; the third stage does not pool."""
    pooled = (("kernel", 5), ("tied", True), ("unpool", "zeros"))
    options = (pooled, pooled, (("kernel", 3), ("stride", 1), ("tied", True)))
    kinds = ("conv-pool", "conv-pool", "conv")
    stages = [
        StageSpec(kind, width, "scaled-tanh", each) for kind, width, each in zip(kinds, widths, options, strict=True)
    ]
    return StackSpec(tuple(stages), output="scaled-tanh", norm="none", init="uniform")


def of_paine(*widths: int) -> StackSpec:
    """Rectifiers, linear decoders, no biases; tied; values go back to the place of the maximum; the third does not pool."""
    pooled = (("bias", False), ("kernel", 5), ("tied", True), ("unpool", "switches"))
    options = (pooled, pooled, (("bias", False), ("kernel", 3), ("stride", 1), ("tied", True)))
    kinds = ("conv-pool", "conv-pool", "conv")
    stages = [
        StageSpec(kind, width, "relu", each, "linear") for kind, width, each in zip(kinds, widths, options, strict=True)
    ]
    return StackSpec(tuple(stages), output="linear", norm="none", init="uniform")


@pytest.mark.parametrize(
    ("study", "scale", "stack"),
    [
        (masci2011.STUDY, "paper", of_masci(100, 150, 200)),
        (masci2011.STUDY, "default", of_masci(33, 50, 66)),
        (paine2014.STUDY, "paper", of_paine(96, 144, 192)),
        (paine2014.STUDY, "default", of_paine(24, 36, 48)),
    ],
    ids=lambda value: getattr(value, "name", value if isinstance(value, str) else ""),
)
def test_the_networks_are_those_of_the_papers_with_fewer_filters_by_default(
    study: TrainingStudy, scale: str, stack: StackSpec
) -> None:
    base = study.given(["--scale", scale]).base
    assert base.stack == stack
    assert (base.optimisation.loss, base.optimisation.corruptive) == (("mse",), False)
    assert (base.classification.head, base.classification.head_width) == ("mlp", 300)
    assert base.data.valid == 1 / 6  # of 60,000: 50,000 images for pretraining


def test_a_stage_of_masci_reconstructs_the_code_below_and_one_of_paine_the_pixels() -> None:
    for study, read in ((masci2011.STUDY, [0, 1, 2]), (paine2014.STUDY, [0, 0, 0])):
        phases = study.arms[0].spec(study.given([]).base).phases()
        assert [phase.trainable for phase in phases] == [(1, 1), (2, 2), (3, 3)]
        assert [phase.input_depth for phase in phases] == [phase.target_depth for phase in phases] == read
        assert not any(phase.target == "labels" for phase in phases)


@BOTH
def test_arms_of_a_pair_differ_in_pretraining_alone_and_are_tuned_by_their_own_labels(study: TrainingStudy) -> None:
    base = study.given([]).base
    assert len(study.arms) == len(set(study.arm_names))
    for pretrained, plain in zip(study.arms[::2], study.arms[1::2], strict=True):
        one, other = (arm.spec(base) for arm in (pretrained, plain))
        assert other.policy == "random"
        assert other == dataclasses.replace(one, policy="random")
        (labels,) = one.classification.labels
        for arm in (pretrained, plain):
            assert label_budget(study.tuning_measure_of(arm)) == (True, labels)
        spaces = [search_space(study, arm, base) for arm in (pretrained, plain)]
        assert {*spaces[0]} - {*spaces[1]} == {"optimisation.lr"}
        assert "classification.lrs" in spaces[1]
        for arm, space in zip((pretrained, plain), spaces, strict=True):
            for place in (0.0, 1.0):
                arm.with_values({name: within.at(place) for name, within in space.items()}).spec(base)


def test_the_arms_have_the_numbers_of_labels_of_the_papers() -> None:
    masci = masci2011.STUDY
    counts = [arm.spec(masci.given([]).base).classification.labels[0] for arm in masci.arms]
    assert counts == [1000, 1000, 10_000, 10_000, None, None]
    assert masci.given([]).arms == masci.arm_names[:4]
    assert masci.given(["--scale", "paper"]).arms == masci.arm_names
    paine = paine2014.STUDY
    assert set(paine.arm_names) - set(paine.given([]).arms) == {name_of(kind, 10_000) for kind in KINDS}
    assert paine.given(["--scale", "paper"]).arms == paine.arm_names
    assert {labels: 50_000 / (labels or 50_000) for labels in paine2014.RATIOS} == paine2014.RATIOS
    assert {arm.spec(paine.given([]).base).classification.labels[0] for arm in paine.arms} == set(paine2014.RATIOS)


@BOTH
def test_a_quick_or_smoke_run_has_arms_whose_labels_its_images_have(study: TrainingStudy) -> None:
    for words, most in ((["--scale", "quick"], 2000), (["--smoke"], 1000)):
        given = study.given(words)
        for name in given.arms:
            labels = study.arm(name).spec(given.base).classification.labels[0]
            assert labels is None or labels <= most


def test_claims_of_masci_are_the_published_errors_and_lower_ones_with_pretraining() -> None:
    claims = masci2011.STUDY.claims
    values = {(c.data, c.arm): float(c.paper) for c in claims if c.paper}
    assert len(values) == 12
    assert values["mnist", "CAE, 1,000 labels"] == 7.23
    assert values["mnist", "random, 10,000 labels"] == 2.21
    assert values["cifar10", "CAE, all labels"] == 21.80
    for claim in claims:
        assert claim.metric == error(
            next(n for n in masci2011.COUNTS if name_of("", n) == claim.arm[claim.arm.index(",") :])
        )
        if not claim.paper:
            assert claim.against
            assert not claim.higher
            assert values[claim.data, claim.arm] < values[claim.data, claim.against]
        else:
            assert "another text" in claim.differs
    assert sum(not claim.paper for claim in claims) == 6


def test_claims_of_paine_have_opposite_signs_at_the_highest_and_the_lowest_ratio() -> None:
    claims = [c for c in paine2014.STUDY.claims if c.data in paine2014.DATA]
    assert {(c.data, c.arm, c.against, c.metric, c.higher) for c in claims} == {
        (data, f"pretrained, {labels} labels", f"random, {labels} labels", f"final/classifier_error_{key}", higher)
        for data in ("mnist", "fashion-mnist", "cifar10")
        for labels, key, higher in (("1,000", "1000", False), ("all", "all", True))
    }
    assert all("not CIFAR-10" in c.differs for c in claims if c.data != "cifar10")
    compared = {(c.data, c.metric) for c in paine2014.STUDY.comparisons}
    assert compared == {(data, error(labels)) for data in paine2014.DATA for labels in (5000, 10_000)}


# The answer and the figure


def made(seeds: int = 3, budgets: tuple[str, ...] = ALL, data: str = "mnist") -> pd.DataFrame:
    """Rows in which pretraining adds 2, 1, 0 and -1 points, and 0.1 more with each seed, whose mean is that of seed 1."""
    rows = list[dict[str, Any]]()
    for rank, budget in enumerate(ALL):
        for kind, gain in zip(KINDS, (0.02 - 0.01 * rank, 0.0), strict=True):
            for seed in range(seeds):
                spread = 0.001 * (seed - 1) if kind == KINDS.pretrained else 0.0
                spec = to_json(RunSpec("random", seed, DataSpec(data)))
                shared = {
                    "run": f"{kind}{budget}{seed}",
                    "arm": named(kind, budget),
                    "seed": seed,
                    "status": "finished",
                }
                value = 0.9 + 0.02 * rank + gain + spread
                rows += [shared | {"spec": spec, f"final/classifier_acc_{budget}": value}] * (budget in budgets)
    return pd.DataFrame(rows)


def test_the_answer_has_both_errors_and_their_difference_for_each_number_of_labels() -> None:
    sentences = answer(made(), "", kinds=KINDS).split(". ")
    assert len(sentences) == 4
    assert sentences[0].startswith(
        "Test error with 1,000 labels: pretrained 8.00 %, random 10.00 %; the difference is −2.00 points (95 % interval −2.25 to "
        "−1.75, p "
    )
    assert "with all labels: pretrained 5.00 %, random 4.00 %; the difference is +1.00 points" in sentences[3]
    assert answer(made(seeds=1), "", kinds=KINDS).count("in a single seed") == 4
    rows = made()
    assert answer(rows.assign(status="failed: it"), "", kinds=KINDS) == "No answer: no pair of arms finished."
    one_sided = rows[rows["arm"] != "random, 5,000 labels"]
    assert measured_budgets(one_sided, KINDS) == ["1000", "10000", "all"]
    other_seeds = rows[(rows["arm"] != "random, 5,000 labels") | (rows["seed"] > 5)]
    assert "5,000" not in answer(other_seeds, "", kinds=KINDS)


REFERENCE = {"train_images": 50_000.0, "train_labels": 50_000.0}


def test_ratios_count_the_images_without_labels_too() -> None:
    study = Record(made(), reference=REFERENCE)
    assert ratios(study, KINDS) == {"1000": 50, "5000": 10, "10000": 5, "all": 1}
    few = Record(made(budgets=("1000", "all")), reference={"train_images": 96_250.0, "train_labels": 4_583.0})
    assert ratios(few, KINDS) == {"1000": 96.25, "all": pytest.approx(21.0, rel=1e-3)}
    assert draw_gain(Record(made()), kinds=KINDS) is None  # the number of images is not known
    assert draw_gain(Record(made().assign(status="failed: it"), reference=REFERENCE), kinds=KINDS) is None


@pytest.mark.parametrize(("seeds", "budgets"), [(3, ALL), (1, ALL), (2, ("1000",))])
def test_the_figure_shows_the_gain_against_the_ratio(seeds: int, budgets: tuple[str, ...]) -> None:
    study = Record(made(seeds, budgets), reference=REFERENCE)
    with style():
        figure = draw_gain(study, kinds=KINDS)
    assert figure is not None
    accuracy, gain = figure.axes
    known = {"1000": (50, 2.0), "5000": (10, 1.0), "10000": (5, 0.0), "all": (1, -1.0)}
    wanted = sorted((log10(known[budget][0]), known[budget][1]) for budget in budgets)
    line = gain.lines[-1]
    off = 0.1 * (np.mean(range(seeds)) - 1)
    np.testing.assert_allclose(np.transpose([line.get_xdata(), line.get_ydata()]), np.add(wanted, [0, off]), atol=1e-9)
    for axes in (accuracy, gain):
        assert sorted(axes.get_xticks()) == pytest.approx([x for x, _ in wanted])
    assert {text.get_text() for text in gain.get_xticklabels()} >= {"50:1\n1,000"}
    assert {text.get_text() for text in accuracy.texts} == {f"● {KINDS[0]}", f"■ {KINDS[1]}"}
    bars = [container for container in gain.containers if getattr(container, "has_yerr", False)]
    assert len(bars) == (len(budgets) if seeds == 3 else 0)


def test_the_figure_is_drawn_for_the_page() -> None:
    study = Record(made(), reference=REFERENCE)
    assert drawn(paine2014.STUDY.drawings["gain"].draw, study)


def test_the_table_of_comparisons_has_those_on_the_data_of_the_rows() -> None:
    comparisons = paine2014.STUDY.comparisons
    text = comparisons_table(made(data="fashion-mnist"), {}, comparisons)
    assert text.count("pretraining with 10 images for each label") == 1
    assert text.count("pretraining with 5 images for each label") == 1
    assert "not tested here" not in text
    assert comparisons_table(made(data="digits"), {}, comparisons).count("not tested here (other data)") == 6


# Tiny runs

#: a few updates of everything on the smallest data
TINY = (
    "--scale",
    "quick",
    "--data",
    "digits",
    "--limit",
    "1300",
    "--jobs",
    "1",
    "--seeds",
    "1",
    "--unit",
    "updates",
    "--epochs",
    "2",
)
HARDLY = "{updates: 4, epochs: 0.01, checks: 2, images: 40}"


@pytest.mark.slow
@BOTH
def test_a_paper_runs_to_its_page_and_figure(
    study: TrainingStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tuned before, each arm by its own number of labels."""
    # exporting a model takes more time than training it
    monkeypatch.setattr("stacked.tracking.tracker.Tracker.model", lambda *_: None)
    out, arms = tmp_path / "out", study.given(["--scale", "quick"]).arms
    words = [*TINY, "--classification", HARDLY, "--out", str(out), "--store", str(tmp_path / "store")]
    assert main(study, [*words, "--tune", "1"]) == 0
    assert main(study, words) == 0
    rows, reference = load_rows(out), load_reference(out)
    assert tuple(rows["arm"]) == arms
    assert set(rows["status"]) == {"finished"}
    budgets = measured_budgets(rows, paine2014.KINDS if study is paine2014.STUDY else masci2011.KINDS)
    assert len(budgets) == len(arms) / 2
    assert reference["train_images"] == reference["train_labels"] == 1300
    page = (out / "README.md").read_text(encoding="utf-8")
    assert "Test error with 1,000 labels: " in page
    assert "| validation classifier_acc_1000 |" in page
    assert page.count("**not tested here (other data)**") == len(study.claims)
    assert (out / "figures" / "gain.png").stat().st_size > 5_000
