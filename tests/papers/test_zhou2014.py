"""Zhou et al. 2014: arms, equal FLOPs and claims are as the study says; a tiny run to the page, and tuning."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stacked.runs.run import load
from stacked.spec import DataSpec, RunSpec
from studies.framework.compute_budget import budgets_of, cost_function
from studies.framework.main import main
from studies.framework.trials import search_space
from studies.papers.zhou2014 import (
    DEEP,
    DEPTHS,
    ERROR,
    FEATURE,
    JOINT,
    LAYER_WISE,
    MSE,
    RANDOM,
    SHALLOW,
    STUDY,
    UNREGULARISED,
    arm,
)
from studies.statistics.rows import load_rows
from studies.statistics.trials import load_choices

#: ways of training -> policy, whether the input is masked, whether there are local losses
WAYS = {
    (LAYER_WISE, False): ("greedy", False, False),
    (LAYER_WISE, True): ("greedy", True, False),
    (JOINT, False): ("joint-local", False, True),
    (JOINT, True): ("joint-local", True, True),
    (UNREGULARISED, False): ("joint", False, False),
    (RANDOM, False): ("random", False, False),
}


def test_there_is_an_arm_of_each_way_and_depth() -> None:
    assert DEPTHS == (SHALLOW, DEEP) == (2, 4)
    assert list(STUDY.arm_names) == [arm(how, depth, noise) for depth in DEPTHS for how, noise in WAYS]


@pytest.mark.parametrize("scale", ["default", "quick", "paper"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_arms_differ_in_their_way_alone(depth: int, scale: str) -> None:
    base = STUDY.given(["--scale", scale]).base
    for (how, noise), (policy, is_masked, is_local) in WAYS.items():
        one = STUDY.arm(arm(how, depth, noise))
        spec = one.spec(base)
        assert spec.policy == policy
        has_own = (how, noise) == (LAYER_WISE, False)
        assert one.own_budget == has_own
        assert one.cost_of == ("" if has_own or how == RANDOM else arm(LAYER_WISE, depth))
        assert [(stage.width, stage.activation) for stage in spec.stack.stages] == [(500, "sigmoid")] * depth
        assert spec.classification == base.classification
        levels = [spec.optimisation.levels_at(k) for k in range(depth)]
        assert levels == [(0.25 if is_masked else 0.0,)] * depth
        assert {phase.local_loss for phase in spec.phases()} == (
            set() if how == RANDOM else {"added" if is_local else "none"}
        )
        space = set(search_space(STUDY, one, base)) - {"stack.gain"}
        own = {"optimisation.corruption_level"} if is_masked else set()
        own |= {"optimisation.local_weight"} if is_local else set()
        assert space == (set() if how == RANDOM else {"optimisation.lr"} | own)
        assert STUDY.tuning_measure_of(one) == ("classifier_acc_all" if how == RANDOM else "probe_acc")


def test_joint_arms_have_the_flops_of_layer_wise_training() -> None:
    base = STUDY.given(["--data", "digits", "--unit", "updates", "--epochs", "100"]).base
    splits = load(RunSpec(data=DataSpec("digits")))
    arms = [STUDY.arm(arm(*way)) for way in ((LAYER_WISE, SHALLOW), (UNREGULARISED, SHALLOW), (JOINT, SHALLOW, True))]
    found = budgets_of(STUDY, base, splits, arms, "flops")
    costs = []
    for one in arms:
        spec = dataclasses.replace(one.spec(base), budget=found[one.name])
        costs.append(cost_function(spec, splits, len(splits.train), "flops", "cpu")(spec.phases()))
    assert found[arms[0].name].stages == (100.0, 100.0)
    assert all(0.97 * costs[0] < cost <= costs[0] for cost in costs)
    # local losses on corrupted codes encode these once more, and so leave fewer updates
    assert found[arms[1].name].end_to_end > found[arms[2].name].end_to_end  # type: ignore[operator]


def test_claims_are_those_of_the_abstract_and_no_comparison_repeats_one() -> None:
    joint, greedy = ({depth: arm(how, depth, True) for depth in DEPTHS} for how in (JOINT, LAYER_WISE))
    wanted = {(joint[depth], greedy[depth], metric) for metric in (MSE, FEATURE) for depth in DEPTHS}
    wanted |= {(joint[depth], arm(UNREGULARISED, depth), FEATURE) for depth in DEPTHS}
    wanted.add((joint[DEEP], greedy[DEEP], ERROR))
    claimed = [(claim.arm, claim.against, claim.metric) for claim in STUDY.claims]
    assert set(claimed) == wanted
    ours = [(claim.arm, claim.against, claim.metric) for claim in STUDY.comparisons]
    assert len({*claimed, *ours}) == len(claimed) + len(ours) == 7 + 13
    for claim in (*STUDY.claims, *STUDY.comparisons):
        assert (claim.data, claim.images, claim.higher, claim.paper) == ("mnist-rot", 50_000, False, "")
        assert claim.arm[0] == (claim.against or "")[0]  # the same depth
    assert all("our data" in claim.differs for claim in STUDY.claims)


#: a few updates of everything on the smallest data
TINY = ("--data", "digits", "--limit", "200", "--jobs", "1", "--seeds", "1", "--unit", "updates", "--epochs", "4")
TINY += ("--evaluation", "{probe_labels: 50}", "--classification", "{epochs: 1, checks: 1, updates: 2, lrs: [0.001]}")


@pytest.fixture
def unexported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting a model takes more time than training it."""
    monkeypatch.setattr("stacked.tracking.tracker.Tracker.model", lambda *_: None)


@pytest.mark.slow
@pytest.mark.usefixtures("unexported")
def test_the_study_runs_to_its_page(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(STUDY, [*TINY, "--out", str(out), "--store", str(tmp_path / "store")]) == 0
    rows = load_rows(out)
    assert list(rows["arm"]) == list(STUDY.arm_names)
    assert set(rows["status"]) == {"finished"}
    assert rows[["final/svm_acc", "final/classifier_acc_all", MSE]].notna().all(axis=None)
    page = (out / "README.md").read_text(encoding="utf-8")
    assert page.count("**not tested here (other data)**") == len(STUDY.claims)
    assert "`layer-wise` has 4 updates for each layer" in page


@pytest.mark.slow
@pytest.mark.usefixtures("unexported")
def test_joint_training_is_tuned_by_a_probe_and_random_weights_by_the_classifier(tmp_path: Path) -> None:
    out, arms = tmp_path / "out", (arm(JOINT, SHALLOW, True), arm(RANDOM, SHALLOW))
    words = [*TINY, "--arms", *arms, "--out", str(out), "--store", str(tmp_path / "store")]
    assert main(STUDY, [*words, "--tune", "2"]) == 0
    choices = load_choices(out)
    assert {name: (choice["judged_by"], set(choice["values"])) for name, choice in choices.items()} == {
        arms[0]: (
            "probe_acc",
            {"optimisation.lr", "stack.gain", "optimisation.corruption_level", "optimisation.local_weight"},
        ),
        arms[1]: ("classifier_acc_all", {"stack.gain"}),
    }
