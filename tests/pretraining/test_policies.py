"""The comparison of growth policies: its arms, their compute, what it leaves, and what it says of made-up rows."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stacked.runs.run import load
from stacked.spec import Budget, DataSpec, RunSpec, StackSpec
from stacked.spec.growth import GROWTHS, POLICIES
from studies.design.drawing import Drawing
from studies.figures.figures import CAPTIONS, Record, drawn
from studies.figures.style import style
from studies.framework.compute_budget import budgets, cost_function
from studies.framework.main import main
from studies.framework.training_session import section
from studies.pretraining.growth_figures import draw_growth
from studies.pretraining.policies import STUDY
from studies.pretraining.policies_figures import FAMILIES, draw_policies, draw_restored, family
from studies.record.index import INDEX
from studies.report import headline, load_rows, write_report
from studies.report.answer import quote
from studies.statistics.pairing import paired
from studies.statistics.rows import load_curves
from tests.helpers.layerwise import HARDLY_CLASSIFIED

ROOT = Path(__file__).parents[2]
CONVERGING = {"converge", "converge+finetune"}


def test_every_growth_is_an_arm_alone_and_fine_tuned() -> None:
    """One that is added later becomes an arm when the record is made anew."""
    growths = [growth for growth in GROWTHS if growth in STUDY.arm_names]
    wanted = {growth + end for growth in growths for end in ("", "+finetune")}
    wanted |= {"greedy+unfreeze", "joint", "joint-local", "random"}
    assert set(STUDY.arm_names) == wanted
    assert len(STUDY.arms) == 16
    assert {family(arm) for arm in STUDY.arm_names} == {*FAMILIES, "joint"}


def test_the_defaults_are_the_configuration_of_the_record() -> None:
    given = STUDY.given([])
    base = given.base
    assert (base.data, base.budget) == (DataSpec("mnist", limit=10_000), Budget((3.0,), 3.0))
    assert base.stack == StackSpec()
    assert (base.optimisation.lr, base.optimisation.schedule, base.optimisation.batch_size) == (0.01, "cosine", 128)
    assert (base.evaluation.probe_labels, base.classification.labels) == (2000, (1000,))
    assert (len(given.seeds), given.arms) == (5, STUDY.arm_names)


def test_only_what_converges_is_trained_otherwise() -> None:
    """A stage can stop early only where its rate stays up: arms differ in their phases, and converge in its schedule."""
    base = RunSpec()
    for arm in STUDY.arms:
        how = arm.spec(base).optimisation
        if arm.name in CONVERGING:
            assert (how.patience, how.check_every, how.schedule) == (3, 20, "constant")
            assert (how.end_patience, how.end_schedule) == (None, "cosine")  # the study's own
        else:
            assert how == replace(base.optimisation, local_weight=0.03 if arm.name == "joint-local" else 1.0)


def test_trained_arms_get_equal_flops() -> None:
    """Within 1 % and the rounding of an update a phase."""
    base = RunSpec(policy="joint", stack=StackSpec.of("conv", 4, 8), budget=Budget((9.0,), 9.0))
    splits = load(RunSpec(data=DataSpec("digits")))
    found = budgets(base, splits, STUDY.arms, "flops", STUDY.arm(STUDY.budget_arm))
    cost = cost_function(base, splits, len(splits.train), "flops", "cpu")
    phases = {arm: POLICIES[arm](2, found[arm].in_updates(2, 1)) for arm in STUDY.arm_names}
    goal = cost(phases["greedy+finetune"])
    assert cost(phases.pop("random")) == 0
    for arm, its in phases.items():
        an_update_each = sum(cost([phase]) / phase.updates for phase in its)
        assert abs(cost(its) - goal) <= 0.01 * goal + an_update_each, arm
        assert an_update_each < 0.1 * goal


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a smoke run of all arms leaves; an older general figure was in it."""
    folder = tmp_path_factory.mktemp("policies")
    words = ["--smoke", "--jobs", "1", "--out", str(folder / "out"), "--store", str(folder / "store")]
    words += [*HARDLY_CLASSIFIED, "--evaluation", "{probe_every: 50, probe_labels: 100}"]
    with pytest.MonkeyPatch.context() as patch:
        # exporting a model takes more time than training it, and drawing the figures twice too
        patch.setattr("stacked.tracking.tracker.Tracker.model", lambda *_: None)
        patch.setattr("studies.report.write_report", lambda *_, **__: None)
        assert main(STUDY, words) == 0
    (folder / "out" / "figures").mkdir(exist_ok=True)
    (folder / "out" / "figures" / "headline.png").write_bytes(b"old")
    assert main(STUDY, words) == 0  # trains nothing, and draws
    return folder / "out"


@pytest.mark.slow
def test_the_smoke_study_has_rows_of_all_arms(smoke: Path) -> None:
    rows = load_rows(smoke)
    assert list(rows["arm"]) == list(STUDY.arm_names)
    assert set(rows["status"]) == {"finished"}
    trained = rows[~rows["arm"].isin({"random", *CONVERGING})]
    assert trained["gflop"].min() > 0.8 * trained["gflop"].max()  # an update of all stages is a tenth of the budget
    assert (rows.loc[rows["arm"] != "random", "peak_mb"] > 0).all()
    of_codes = rows.set_index("arm")["codes_mb"]
    assert of_codes["greedy"] > 0
    assert of_codes["joint"] == of_codes["simultaneous"] == 0
    supervised = rows["arm"].map(family) == "supervised"
    assert rows.loc[supervised, "final/classifier_acc_100"].isna().all()
    assert rows.loc[~supervised, "final/classifier_acc_100"].notna().all()


@pytest.mark.slow
def test_the_smoke_study_answers_and_draws(smoke: Path) -> None:
    page, rows = (smoke / "README.md").read_text(), load_rows(smoke)
    answer = page.split("## Answer")[1].strip().splitlines()
    assert answer[0] == f"> {quote(rows, 'joint')}"
    assert answer[2] == "![policies](figures/policies.png)"
    assert {path.stem for path in (smoke / "figures").iterdir()} == set(STUDY.drawings)
    assert "Not drawn" not in page
    assert "## Figures" not in page
    assert "| peak training memory, MB | cached codes, MB |" in page
    assert "difference from joint" not in page
    assert "| arm | pairs | test MSE per pixel (lower is better) | linear probe accuracy (higher is better) |" in page


@pytest.mark.slow
def test_the_block_of_the_readme(smoke: Path) -> None:
    told = section(STUDY, smoke, INDEX.parent)
    rows = load_rows(smoke)
    assert told.startswith(f"> {quote(rows, 'joint')}\n\n[![")
    assert "figures/policies.png" in told
    assert "peak training memory, MB" in told
    assert all(f"\n| {arm} |" in told for arm in STUDY.arm_names)
    assert "- **" not in told


@pytest.mark.slow
def test_a_study_without_a_quote_answers_as_before(smoke: Path, tmp_path: Path) -> None:
    """Without `quote` and `figures`, a page has its verdicts and every general figure; an own one replaces its namesake."""
    for name in ("runs.csv", "curves.csv"):
        whole = pd.read_csv(smoke / name, dtype=str, keep_default_na=False)
        whole[whole["arm"].isin(["greedy", "joint", "random"])].to_csv(tmp_path / name, index=False)
    own = {"headline": Drawing("Ours.", draw_policies)}
    write_report(tmp_path, title="T", question="Q?", command="c", protocol="p", drawings=own)
    page = (tmp_path / "README.md").read_text()
    assert "- **Test MSE per pixel:**" in page
    assert page.count("figures/headline.png") == 1
    assert CAPTIONS["headline"] not in page
    assert "Ours." in page
    assert CAPTIONS["curves"] in page
    assert headline(tmp_path).startswith("[![")


def test_the_help_loads_no_torch() -> None:
    code = "import sys, studies.policies; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
@pytest.mark.parametrize("lacking", ["", "final/probe_acc", "peak_mb", "codes_mb", "joint"])
def test_figures_do_without_what_was_not_measured(smoke: Path, lacking: str) -> None:
    rows, curves = load_rows(smoke), load_curves(smoke)
    if lacking == "joint":
        rows = rows[rows["arm"] != "joint"]
    elif lacking:
        rows = rows.drop(columns=lacking)
    record = Record(rows, curves)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drawn(draw_policies, record)
        assert drawn(draw_growth, record)
    assert draw_restored(record) is None
    assert draw_growth(Record(rows)) is None
    assert draw_policies(Record(rows.assign(status="failed: x"))) is None
    assert draw_growth(Record(rows.assign(status="failed: x"), curves)) is None


@pytest.mark.slow
def test_seeds_that_converge_at_different_steps_are_drawn_singly(smoke: Path) -> None:
    """No step is common to them, so that a mean would have nothing to show."""
    rows, curves = load_rows(smoke), load_curves(smoke)
    later = curves.assign(seed=1, run=curves["run"] + "x", phase_step=curves["phase_step"] + 3)
    rows = pd.concat([rows, rows.assign(seed=1, run=rows["run"] + "x")], ignore_index=True)
    with style():
        figure = draw_growth(Record(rows, pd.concat([curves, later], ignore_index=True)))
    assert figure is not None
    panel = next(axes for axes in figure.axes if axes.get_title("left") == "converge")
    hue = FAMILIES["converge"]
    whole = [line for line in panel.lines if line.get_color() == hue and line.get_linewidth() == 0.6]
    assert len(whole) == 4  # two arms of two seeds each


def made_up(
    mse: Mapping[str, Sequence[float]],
    probe: Mapping[str, Sequence[float]] | None = None,
    gflop: Mapping[str, float] | None = None,
    memory: Mapping[str, tuple[float, float]] | None = None,
    schedule: Mapping[str, str] | None = None,
    policy: Mapping[str, str] | None = None,
    batch: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """A row for each arm and seed; `memory` is (peak, codes)."""
    lines = []
    for arm, values in mse.items():
        for seed, value in enumerate(values):
            line = {"run": f"{arm}{seed}", "arm": arm, "seed": seed, "status": "finished", "final/recon_mse": value}
            line |= {"updates": 0 if arm == "random" else 9, "gflop": (gflop or {}).get(arm, 400.0)}
            line |= {"final/probe_acc": probe[arm][seed]} if probe and arm in probe else {}
            if memory and arm in memory:
                line["peak_mb"], line["codes_mb"] = memory[arm]
            how: dict[str, Any] = {"lr": 0.01, "schedule": (schedule or {}).get(arm, "cosine")}
            how |= {"batch_size": batch[arm]} if batch else {}
            lines.append(line | {"spec": json.dumps({"policy": (policy or {}).get(arm, arm), "optimisation": how})})
    return pd.DataFrame(lines)


JOINT = [0.0100, 0.0102, 0.0098, 0.0101, 0.0099]


def test_quote_joint_best_and_one_tied() -> None:
    rows = made_up(
        {
            "greedy": [0.030, 0.031, 0.029, 0.030, 0.032],
            "greedy+finetune": [0.0102, 0.0099, 0.0101, 0.0099, 0.0104],
            "supervised+finetune": [0.001] * 5,
            "joint": JOINT,
            "random": [0.0001] * 5,
        },
        probe={
            "greedy": [0.90, 0.91, 0.90, 0.90, 0.92],
            "greedy+finetune": [0.95, 0.951, 0.949, 0.95, 0.95],
            "supervised+finetune": [0.99] * 5,
            "joint": [0.94, 0.942, 0.938, 0.94, 0.941],
        },
        memory={"greedy": (14.79, 125.44), "greedy+finetune": (16.2, 125.44), "joint": (16.2, 0.0)},
    )
    assert quote(rows, "joint") == (
        "At equal compute (400 GFLOP of training; 5 seeds), joint reconstructs best, at a test MSE of 0.0100 per pixel; no "
        "difference from joint was shown for greedy+finetune (+1.0 %, 95 % interval −3.2 to +5.2 %). On the linear probe "
        "greedy+finetune (+0.98 points) is better than joint (94.02 %); policies that pretrain with labels are not compared. "
        "Greedy growth needs 91 % of the peak training memory of joint (14.8 against 16.2 MB), plus 125 MB for cached codes; "
        "with fine-tuning it needs 100 %."
    )


@pytest.mark.parametrize(
    ("batch", "told"), [(8, "4.2 against 1.9 MB, in batches of 64 against 8 images"), (64, "4.2 against 1.9 MB")]
)
def test_quote_names_the_batch_sizes_where_memory_is_of_different_ones(batch: int, told: str) -> None:
    values, memory = {"greedy": [0.03, 0.031], "joint": [0.01, 0.011]}, {"greedy": (4.2, 0.0), "joint": (1.9, 0.0)}
    rows = made_up(values, memory=memory, batch={"greedy": 64, "joint": batch})
    assert f"({told})." in quote(rows, "joint")


def test_quote_joint_best_and_alone() -> None:
    rows = made_up({"greedy": [x + 0.002 + x / 50 for x in JOINT], "joint": JOINT})
    assert quote(rows, "joint") == (
        "At equal compute (400 GFLOP of training; 5 seeds), joint reconstructs best, at a test MSE of 0.0100 per pixel; "
        "every other arm is worse, next greedy (+22 %)."
    )


def test_quote_a_growth_policy_is_better_than_joint() -> None:
    better = [0.0080, 0.0083, 0.0079, 0.0081, 0.0079]
    said = quote(made_up({"progressive+finetune": better, "greedy": [3 * x for x in JOINT], "joint": JOINT}), "joint")
    assert "progressive+finetune reconstructs best, at a test MSE of 0.00804 per pixel; joint is 24 % higher" in said
    assert "(+0.001960, 95 % interval +0.001892 to +0.002028, p < 0.001); every other arm is worse." in said


def test_quote_a_policy_is_best_only_by_chance() -> None:
    near = [0.0099, 0.0103, 0.0097, 0.0099, 0.0100]
    said = quote(
        made_up({"progressive": near, "greedy": [0.0098, 0.0101, 0.0103, 0.0096, 0.0101], "joint": JOINT}), "joint"
    )
    assert "progressive reconstructs best" in said
    assert "no difference from progressive was shown for joint (+0.4 %; +0.00004, 95 % interval −0.0" in said
    assert "); nor for greedy (+0.2 %, 95 % interval −4.2 to +4.6 %)." in said


def test_quote_names_who_beats_joint_though_the_best_does_not() -> None:
    wild = [0.0040, 0.0150, 0.0050, 0.0140, 0.0060]
    steady = [x - 0.001 + n / 1e5 for n, x in enumerate(JOINT)]
    said = quote(made_up({"simultaneous": wild, "progressive": steady, "joint": JOINT}), "joint")
    assert "simultaneous reconstructs best" in said
    assert (
        "; nor for progressive (+2.5 %, 95 % interval −69.9 to +74.9 %); progressive (p < 0.001) is better than joint."
        in said
    )


def test_quote_knows_who_learns_from_labels_by_the_policy_not_by_the_name() -> None:
    arms = {"supervised": [0.5 * x for x in JOINT], "taught": [0.1 * x for x in JOINT], "joint": JOINT}
    said = quote(made_up(arms, policy={"taught": "supervised+finetune", "supervised": "greedy"}), "joint")
    assert "supervised reconstructs best" in said
    assert "taught" not in said


def test_quote_of_equal_arms_claims_nothing() -> None:
    rows = made_up({"greedy": JOINT, "progressive": JOINT, "joint": JOINT})
    said = quote(rows, "joint")
    assert "no difference from greedy was shown for joint (+0.0 %; the same in every seed); nor for progressive" in said
    assert "worse" not in said


def test_quote_names_the_gain_on_the_probe_that_the_intervals_still_allow() -> None:
    probe = {
        "greedy": [0.938, 0.946, 0.936, 0.944, 0.941],
        "progressive": [0.90, 0.91, 0.90, 0.90, 0.92],
        "joint": [0.94, 0.942, 0.938, 0.94, 0.941],
    }
    said = quote(made_up(dict.fromkeys(probe, JOINT), probe=probe), "joint")
    high = paired(made_up(dict.fromkeys(probe, JOINT), probe=probe), "final/probe_acc", "greedy", "joint").high
    assert high == pytest.approx(0.0045, abs=5e-4)
    assert (
        f"No policy was shown to be better than joint (94.02 %) on the linear probe; the 95 % intervals allow at most "
        f"+{100 * high:.2f} points (greedy)." in said
    )


def test_quote_names_a_few_of_many_ties() -> None:
    arms = {f"arm {k}": [x * (1.002 + (-1) ** (k + n) / 100) for n, x in enumerate(JOINT)] for k in range(8)}
    said = quote(made_up({"joint": JOINT, **arms}), "joint")
    assert "and 4 more." in said


def test_quote_of_a_single_seed_draws_no_conclusion() -> None:
    rows = made_up(
        {"greedy": [0.03], "greedy+finetune": [0.009], "joint": [0.01]},
        probe={"greedy": [0.9], "greedy+finetune": [0.91], "joint": [0.92]},
    )
    assert quote(rows, "joint") == (
        "At equal compute (400 GFLOP of training; 1 seed), greedy+finetune has the lowest test MSE, 0.00900 per pixel, "
        "followed by joint (+11 %) and greedy (+233 %); a single seed allows no conclusion. On the linear probe joint has the "
        "highest accuracy, 92.00 %."
    )


def test_quote_without_a_reference_or_a_rival() -> None:
    rows = made_up({"greedy": JOINT, "joint": JOINT})
    failed = rows.assign(status=["failed: x" if arm == "joint" else "finished" for arm in rows["arm"]])
    assert quote(failed, "joint") == "No answer: the reference arm joint has no finished run."
    assert quote(rows[rows["arm"] == "greedy"], "joint") == "No answer: the reference arm joint has no finished run."
    alone = made_up({"joint": JOINT, "random": JOINT, "supervised": JOINT})
    assert quote(alone, "joint") == "No answer: there is no arm to compare with joint."


def test_quote_leaves_out_who_did_not_finish_every_seed() -> None:
    """The survivors of an arm that diverges are not its mean."""
    rows = made_up({"greedy": [0.02] * 5, "simultaneous": [0.001] * 5, "joint": JOINT})
    lost = (rows["arm"] == "simultaneous") & (rows["seed"] == 2)
    rows.loc[lost, "status"] = "failed: the loss became nan"
    said = quote(rows, "joint")
    assert "joint reconstructs best" in said
    assert said.endswith("Left out, because a seed has no finished run: simultaneous.")
    rows.loc[(rows["arm"] == "joint") & (rows["seed"] == 2), "status"] = "failed: x"
    assert "simultaneous reconstructs best" in quote(rows, "joint")


def test_quote_says_whose_compute_or_rate_differs() -> None:
    arms = {name: [x * scale for x in JOINT] for name, scale in (("converge", 0.8), ("joint", 1.0), ("greedy", 2.0))}
    said = quote(made_up(arms, gflop={"converge": 250.0}, schedule={"converge": "constant"}), "joint")
    assert said.startswith(
        "At equal compute (400 GFLOP of training; converge 250; 5 seeds), converge reconstructs best"
    )
    assert said.endswith(
        "converge also differs from joint in learning rate or schedule, so that growth alone may not be the reason."
    )
    many = {f"arm {k}": JOINT for k in range(6)} | {"joint": JOINT}
    spent = {f"arm {k}": 100.0 + k for k in range(6)}
    assert quote(made_up(many, gflop=spent), "joint").startswith("With 100 to 400 GFLOP of training (5 seeds), ")


def test_quote_needs_no_compute_memory_or_probe() -> None:
    rows = made_up({"greedy": [2 * x for x in JOINT], "joint": JOINT}).drop(columns=["gflop", "spec"])
    assert quote(rows, "joint") == (
        "Over 5 seeds, joint reconstructs best, at a test MSE of 0.0100 per pixel; every other arm is worse, next greedy "
        "(+100 %)."
    )


def test_quote_of_a_perfect_arm_divides_by_nothing() -> None:
    text = quote(made_up({"joint": [0.0, 0.0], "greedy": [0.1, 0.2], "random": [1.0, 1.0]}), "joint")
    assert "joint reconstructs best, at a test MSE of 0.000 per pixel" in text
    assert "greedy (+inf %)" in text


def test_quote_of_compute_that_was_not_counted_everywhere() -> None:
    rows = made_up(
        {"joint": JOINT[:2], "greedy": [0.001, 0.002], "simultaneous": [0.03, 0.04]},
        gflop={"joint": 400, "greedy": float("nan"), "simultaneous": 500},
    )
    assert quote(rows, "joint").startswith("With 400 to 500 GFLOP of training (2 seeds)")
