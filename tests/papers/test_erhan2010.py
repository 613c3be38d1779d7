"""Erhan et al. 2010: arms, claims, the comparison of variances, figures from made-up rows, and tiny runs to the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import PathPatch
from scipy import stats

from stacked import data
from stacked.runs.batched_seeds import train_seeds
from stacked.spec import Budget, DataSpec, Optimisation, RunSpec, StackSpec
from stacked.training.pretrain import pretrain
from stacked.util.errors import InputError
from stacked.util.serialization import to_json
from studies.design.claims import Claim
from studies.design.search import Among
from studies.figures.figures import Record
from studies.figures.style import style
from studies.figures.trajectories import SAMPLES, alike, draw_trajectories, embedded
from studies.framework.main import main
from studies.framework.trials import search_space
from studies.papers.erhan2010 import (
    BASIC,
    COMPARISONS,
    DEPTHS,
    ERROR,
    FIRST,
    KINDS,
    LEFT_OUT,
    MARGINALS,
    PRETRAINED,
    RANDOM,
    SECOND,
    SPREAD,
    STUDY,
    WIDTHS,
    boxes,
    name,
)
from studies.report.verdicts import check_claim, comparisons_table, with_references
from studies.statistics.measures import measure
from studies.statistics.rows import load_rows, load_samples, with_deviations

ACCURACY = "final/classifier_acc_all"
BASE = STUDY.given([]).base

# Arms


def test_arms_are_those_of_depths_widths_and_of_what_is_pretrained() -> None:
    wanted = {(kind, depth, 400) for kind in (RANDOM, PRETRAINED) for depth in DEPTHS}
    wanted |= {(MARGINALS, 1, 400), (MARGINALS, 2, 400), (FIRST, 2, 400), (SECOND, 2, 400)}
    wanted |= {(kind, depth, units) for kind in (RANDOM, PRETRAINED) for depth in (1, 3) for units in WIDTHS}
    assert (DEPTHS, WIDTHS) == ((1, 2, 3, 4, 5), (25, 50, 100, 200, 400, 800))
    assert len(STUDY.arms) == len(wanted) == 34
    for kind, depth, units in wanted:
        spec, pretrained = STUDY.arm(name(kind, depth, units)).spec(BASE), kind != RANDOM
        assert spec.policy == KINDS[kind][0]
        assert spec.stack == StackSpec.of("dense", *[units] * depth, activation="sigmoid", init="uniform", tied=True)
        assert (spec.optimisation.loss, spec.optimisation.optimiser, spec.optimisation.momentum) == (("bce",), "sgd", 0)
        assert spec.optimisation.corruptive == pretrained
        assert STUDY.arm(name(kind, depth, units)).own_budget
        space = search_space(STUDY, STUDY.arm(name(kind, depth, units)), BASE)
        noise = {"optimisation.lr", "optimisation.corruption_level"}
        assert set(space) == {"classification.lrs"} | (noise if pretrained else set())
        for field, within in space.items() if pretrained else ():
            STUDY.arm(name(kind, depth, units)).with_values({field: within.at(0.9)}).spec(BASE)
    assert space.get("optimisation.corruption_level", Among((0.1, 0.25, 0.4))) == Among((0.1, 0.25, 0.4))
    assert STUDY.given(["--scale", "paper"]).base.data == DataSpec("mnist", valid=1 / 6)
    assert len(STUDY.given(["--scale", "paper"]).seeds) == 400
    assert STUDY.given(["--scale", "paper"]).arms == STUDY.arm_names
    left_out = {name(kind, *of) for kind in (RANDOM, PRETRAINED) for of in LEFT_OUT}
    assert set(STUDY.given([]).arms) == set(STUDY.arm_names) - left_out
    assert len(STUDY.given([]).arms) == 24
    tested = {*STUDY.given([]).arms, name(PRETRAINED, 3, 800)}
    assert {claim.arm for claim in STUDY.claims if claim.data == BASIC} <= tested


def test_one_of_two_stages_is_pretrained_and_the_other_keeps_its_initial_weights() -> None:
    images = torch.rand(60, 12, generator=torch.Generator().manual_seed(0))
    spec = RunSpec(
        stack=StackSpec.of("dense", 6, 4, activation="sigmoid"),
        budget=Budget((4,), 1, "updates"),
        optimisation=Optimisation(batch_size=10, lr=0.1),
    )
    stacks = {policy: pretrain(replace(spec, policy=policy), images) for policy, _ in KINDS.values()}
    weights = {policy: [stage.encoder[1].weight for stage in stack.stages] for policy, stack in stacks.items()}
    assert torch.equal(weights["greedy-first"][0], weights["greedy"][0])
    assert torch.equal(weights["greedy-first"][1], weights["random"][1])
    assert torch.equal(weights["greedy-last"][0], weights["random"][0])
    assert not torch.equal(weights["greedy-last"][1], weights["random"][1])
    assert not torch.equal(weights["greedy-last"][1], weights["greedy"][1])
    # weights from the marginals are those of `greedy`, at other places and some of them several times
    for drawn, trained in zip(weights["resampled"], weights["greedy"], strict=True):
        assert set(drawn.flatten().tolist()) < set(trained.flatten().tolist())


@pytest.mark.parametrize("kind", [SECOND, PRETRAINED])
def test_seeds_of_an_arm_that_are_trained_together_end_as_alone(kind: str) -> None:
    spec = replace(STUDY.arm(name(kind, 2)).spec(BASE), budget=Budget((5,), 1, "updates"))
    splits = data.load("digits", limit=50)
    for seed, together in zip((0, 2), train_seeds(spec, (0, 2), splits), strict=True):
        alone = pretrain(replace(spec, seed=seed), splits.train.inputs)
        for of, value in alone.state_dict().items():
            torch.testing.assert_close(together.state_dict()[of], value, rtol=1e-4, atol=1e-5)


# Claims


def test_claims_have_the_numbers_and_the_directions_of_the_paper() -> None:
    numbers = {claim.arm: (claim.paper, claim.plus_minus) for claim in STUDY.claims if claim.paper}
    assert len(numbers) == 21
    assert numbers["marginals, 2 layers"] == ("1.69", "0.11")
    assert numbers["pretrained, 5 layers"] == ("1.37", "0.05")
    assert numbers["pretrained, 3 layers of 25"] == ("5.25", "")
    assert {claim.data for claim in STUDY.claims if claim.paper} == {"mnist"}
    both = {of: [claim for claim in STUDY.claims if claim.data == of and not claim.paper] for of in (BASIC, "mnist")}
    assert [claim.text for claim in both[BASIC]] == [claim.text for claim in both["mnist"]]
    assert all("10,000 training images" in claim.differs for claim in both[BASIC])
    higher = {(claim.arm, claim.against, claim.metric) for claim in both[BASIC] if claim.higher}
    assert higher == {
        ("random, 4 layers", "random, 1 layer", ERROR),
        ("random, 5 layers", "random, 4 layers", ERROR),
        ("random, 4 layers", "random, 1 layer", SPREAD),
        ("pretrained, 1 layer of 25", "random, 1 layer of 25", ERROR),
        ("pretrained, 1 layer of 100", "random, 1 layer of 100", ERROR),
        ("pretrained, 3 layers of 25", "random, 3 layers of 25", ERROR),
    }
    lower = {(claim.arm, claim.against) for claim in both[BASIC] if claim.against and not claim.higher}
    assert {(name(PRETRAINED, depth), name(RANDOM, depth)) for depth in DEPTHS} < lower
    assert {("pretrained, 3 layers of 800", "random, 3 layers of 800"), (name(FIRST, 2), name(SECOND, 2))} < lower
    equal = {(claim.arm, claim.stays_at, claim.margin) for claim in both[BASIC] if claim.stays_at}
    assert equal == {
        ("pretrained, 4 layers", "pretrained, 1 layer", 0.5),
        ("second pretrained, 2 layers", "random, 2 layers", 0.1),
    }


def made(errors: dict[str, list[float]], of: str = BASIC) -> pd.DataFrame:
    """Return rows with these test errors, in %, by arm and seed, on a dataset."""
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "seed": seed,
                "status": "finished",
                ACCURACY: 1 - error / 100,
                "spec": to_json(RunSpec(seed=seed, data=DataSpec(of))),
            }
            for arm, values in errors.items()
            for seed, error in enumerate(values)
        ]
    )


NEAR = [3.0, 3.1, 2.9, 3.0, 3.05, 2.95]
FAR = [3.0, 4.0, 2.0, 3.2, 3.5, 2.5]


def test_the_spread_of_an_arm_is_the_distance_of_its_errors_from_their_median() -> None:
    rows = made({"near": NEAR, "far": FAR})
    rows.loc[len(rows)] = {
        "arm": "far",
        "seed": 6,
        "status": "failed: no space",
        ACCURACY: 0.0,
        "spec": rows["spec"][0],
    }
    found = with_references(rows, {})
    done = found[found["status"] == "finished"].groupby("arm")[SPREAD]
    assert done.get_group("near").tolist() == pytest.approx([0, 0.001, 0.001, 0, 0.0005, 0.0005], abs=1e-12)
    # the median of FAR is 3.1, without the failed run
    assert done.get_group("far").tolist() == pytest.approx([0.001, 0.009, 0.011, 0.001, 0.004, 0.006], abs=1e-12)
    shown = measure(SPREAD)
    assert shown.label == "classifier error, all labels, distance from the median of the arm"
    assert (shown.better, shown.number(0.009), shown.difference_unit) == ("lower", "0.90 %", " points")
    nothing = rows.drop(columns=[ACCURACY])
    assert with_deviations(nothing).equals(nothing)


def test_variances_are_compared_by_a_paired_test_of_these_distances() -> None:
    rows = made({"near": NEAR, "far": FAR})
    near, far = (np.abs(np.array(values) - np.median(values)) for values in (NEAR, FAR))
    p = stats.ttest_rel(far, near).pvalue
    assert p < 0.05
    found = check_claim(rows_with_errors(rows), Claim("?", "far", SPREAD, against="near", higher=True, data=BASIC))
    assert (found.verdict, found.p) == ("reproduced", pytest.approx(p))
    other = check_claim(rows_with_errors(rows), Claim("?", "near", SPREAD, against="far", higher=True, data=BASIC))
    assert other.verdict == "not reproduced"
    # of errors themselves no difference is shown
    means = check_claim(rows_with_errors(rows), Claim("?", "far", ERROR, against="near", higher=True, data=BASIC))
    assert (means.verdict, means.p) == ("direction only", pytest.approx(stats.ttest_rel(FAR, NEAR).pvalue))


def rows_with_errors(rows: pd.DataFrame) -> pd.DataFrame:
    return with_references(rows, {})


def test_a_claim_of_an_arm_that_the_default_scale_leaves_out_is_not_tested_there() -> None:
    rows = rows_with_errors(made(dict.fromkeys(STUDY.given([]).arms, NEAR)))
    left_out = {name(kind, *of) for kind in (RANDOM, PRETRAINED) for of in LEFT_OUT}
    claims = [claim for claim in STUDY.claims if claim.data == BASIC and {claim.arm, claim.against} & left_out]
    assert {claim.arm for claim in claims} == {name(PRETRAINED, 3, 800)}
    assert [check_claim(rows, claim).verdict for claim in claims] == ["not tested here"]


def test_comparisons_are_those_on_the_data_of_the_rows() -> None:
    pair = {"one": NEAR, "two": FAR}
    claims = [Claim(f"on {of}", "two", ERROR, against="one", data=of) for of in (BASIC, "mnist")]
    for of, other in ((BASIC, "mnist"), ("mnist", BASIC)):
        text = comparisons_table(made(pair, of), {}, claims)
        assert f"| on {of} (" in text
        assert f"on {other} (" not in text
    assert comparisons_table(made(pair, "digits"), {}, claims).count("not tested here (other data)") == 2
    assert {claim.data for claim in COMPARISONS} == {BASIC}


# Figures


def test_the_figure_has_a_box_of_each_arm_around_the_median_of_its_errors() -> None:
    errors = {arm: [error * (1 + 0.1 * k) for error in NEAR] for k, arm in enumerate(STUDY.arm_names)}
    with style():
        figure = boxes(Record(made(errors)))
    assert figure is not None
    titles = [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]
    assert titles == [
        "By depth, 400 units",
        "By what is pretrained, 2 layers",
        "By width, 1 layer",
        "By width, 3 layers",
    ]
    patches = [[patch for patch in axes.patches if isinstance(patch, PathPatch)] for axes in figure.axes]
    assert [len(found) for found in patches] == [12, 5, 12, 12]
    labels = [[text.get_text() for text in axes.get_xticklabels()] for axes in figure.axes]
    assert labels == [[*"12345"], [""], *[[str(units) for units in WIDTHS]] * 2]
    for axes, arms in ((figure.axes[1], [name(kind, 2) for kind in KINDS]), (figure.axes[2], width_arms(1))):
        medians = [line for line in axes.lines if line.get_marker() != "." and line.get_linewidth() == 1.8]
        levels = [line.get_ydata()[0] for line in medians]
        assert levels == pytest.approx([float(np.median(errors[arm])) for arm in arms])
    assert [axes.get_yscale() for axes in figure.axes] == ["linear"] * 4
    few = {name(RANDOM, depth): [error * depth**3 for error in NEAR] for depth in (1, 3)}  # a factor of 27
    with style():
        figure = boxes(Record(made(few)))
        assert boxes(Record(made(few).drop(columns=[ACCURACY]))) is None
    assert figure is not None
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear", "linear"]
    assert [axes.get_ylabel().endswith("(log scale)") for axes in figure.axes] == [True, False, False]


def width_arms(depth: int) -> list[str]:
    return [name(kind, depth, units) for units in WIDTHS for kind in (RANDOM, PRETRAINED)]


def test_networks_are_alike_if_their_nearest_ones_have_the_same_arm() -> None:
    apart = np.array([[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [[9.0, 9.0], [9.0, 8.0], [8.0, 9.0]]])
    assert alike(apart) == 1.0
    assert alike(np.array([[[0.0], [5.0]], [[0.1], [5.1]]])) == 0.0
    assert alike(np.array([[[0.0], [0.1]], [[0.3], [9.0]]])) == 0.75


def test_a_trajectory_is_drawn_from_its_first_function_to_its_last() -> None:
    places = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)
    samples: dict[str, Any] = {"arms": np.array(["one", "two"]), "places": places, "alike": np.array(0.75)}
    record, colours = Record(made({"one": NEAR}), samples={SAMPLES: samples}), {"one": "#D55E00", "two": "#0072B2"}
    with style():
        figure = draw_trajectories(record, colours)
    assert figure is not None
    lines = figure.axes[0].lines
    assert len(lines) == 2 * 3 * 3  # a line, a ring and a dot each
    for k, (line, first, last) in enumerate(zip(lines[::3], lines[1::3], lines[2::3], strict=True)):
        place = places[k // 3, k % 3]
        assert np.array_equal(np.column_stack(line.get_data()), place)
        assert [*first.get_xydata()[0], *last.get_xydata()[0]] == [*place[0], *place[-1]]
        assert first.get_markerfacecolor() == "none" != last.get_markerfacecolor()
        assert {each.get_color() for each in (line, first, last)} == {[*colours.values()][k // 3]}
    assert figure.get_supxlabel().endswith("nearest other network at the end is of the same arm: 75 %")
    assert draw_trajectories(Record(made({"one": NEAR})), colours) is None


# Runs


def test_trajectories_need_seeds_and_do_not_tune() -> None:
    with pytest.raises(InputError, match="--trajectories compares seeds: give --seeds 2 or more"):
        STUDY.session(["--trajectories", "--seeds", "1"])
    with pytest.raises(InputError, match="--trajectories trains with the settings that were chosen: leave out --tune"):
        STUDY.session(["--trajectories", "--tune", "2"])
    with pytest.raises(InputError, match="--register registers a trained run, and --trajectories trains none"):
        STUDY.session(["--trajectories", "--register", "best"])


@pytest.mark.slow
@pytest.mark.usefixtures("no_models")
def test_the_study_and_its_trajectories_run_to_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = [
        "--scale",
        "quick",
        "--data",
        "digits",
        "--limit",
        "100",
        "--jobs",
        "1",
        "--unit",
        "updates",
        "--epochs",
        "2",
    ]
    words += [
        "--seeds",
        "2",
        "--arms",
        *(name(kind, 2) for kind in KINDS),
        "--out",
        str(out),
        "--store",
        str(tmp_path / "s"),
    ]
    words += ["--classification", "{epochs: 1, checks: 2, updates: 4, lrs: [0.1], images: 20}"]
    assert main(STUDY, ["--trajectories", *words]) == 0
    figure = out / "figures" / "trajectories.png"
    assert f"figure: {figure}" in capsys.readouterr().out
    drawn = figure.read_bytes()
    arrays = load_samples(out)[SAMPLES]
    assert arrays["places"].shape == (2, 2, 3, 2)
    assert arrays["arms"].tolist() == [name(RANDOM, 2), name(PRETRAINED, 2)]
    assert main(STUDY, words) == 0
    rows = load_rows(out)
    assert set(rows["arm"]) == {name(kind, 2) for kind in KINDS}
    assert (rows["status"] == "finished").all()
    text = (out / "README.md").read_text(encoding="utf-8")
    assert text.count("**not tested here (other data)**") == len(STUDY.claims)
    assert "](figures/boxes.png)" in text
    assert "](figures/trajectories.png)" in text
    assert figure.read_bytes() == drawn
    assert main(STUDY, [*words, "--trajectories"]) == 0
    again = (out / "README.md").read_text(encoding="utf-8")
    assert "python -m studies.papers.erhan2010 --trajectories" not in again
    assert figure.read_bytes() == drawn  # the same seeds give the same functions and places


@pytest.mark.slow
def test_functions_are_embedded_near_those_that_are_alike() -> None:
    drawn = np.random.default_rng(0)
    outputs = np.array([0.0, 50.0])[:, None, None, None] + drawn.normal(size=(2, 4, 5, 30))
    places = embedded(outputs)
    assert places.shape == (2, 4, 5, 2)
    assert alike(places.reshape(2, 20, 2)) == 1.0
    assert np.array_equal(places, embedded(outputs))
