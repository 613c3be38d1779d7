"""The study of local learning: its arms on both networks, equal costs, claims, answer and figure, and tiny runs to the page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stacked.objectives import objectives
from stacked.runs.check import check
from stacked.runs.run import load
from stacked.spec import DataSpec, RunSpec
from studies.figures.figures import Record, drawn
from studies.figures.style import style
from studies.framework.compute_budget import budgets_of, cost_function
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.framework.trials import search_space
from studies.local_learning import apart
from studies.local_learning import main as chosen_main
from studies.pretraining.local_learning.answer import answer
from studies.pretraining.local_learning.arms import (
    COPY,
    DELAYED,
    GLOBAL,
    GREEDY,
    JOINT,
    LOCKING,
    PAIRS,
    PLACES,
    PROGRESSIVE,
    RANDOM,
    RULES,
    SIMULTANEOUS,
    arm_name,
    yardstick,
)
from studies.pretraining.local_learning.figure import COLOURS, MARKERS, PANELS, SHOWN, draw_local_learning
from studies.pretraining.local_learning.study import STUDIES
from studies.report.answer import taught_arms
from studies.statistics.rows import load_rows

BOTH = pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
RESIDUAL, TRANSFORMER = STUDIES.values()


# Arms


@BOTH
def test_every_arm_is_a_valid_run_at_full_size_and_in_the_smoke_run(study: TrainingStudy) -> None:
    digits = load(RunSpec(data=DataSpec("digits")))
    full, smoke = study.given([]).base, study.given(["--smoke"]).base
    for arm in study.arms:
        assert arm.spec(full).phases() or arm.name == RANDOM
        check(arm.spec(smoke), digits)
    assert (full.stack.depth, smoke.stack.depth) == (4, 4)
    assert full.data == DataSpec("mnist")
    assert full.evaluation.fresh_decoder
    assert study.given([]).seeds == (0, 1, 2, 3, 4)


@BOTH
def test_arms_are_what_their_names_say(study: TrainingStudy) -> None:
    base = study.given([]).base
    growth = {PROGRESSIVE, COPY} if study is TRANSFORMER else set()
    assert set(study.arm_names) == {*PLACES, DELAYED, LOCKING, RANDOM} | growth
    waiting = study.arm(arm_name(SIMULTANEOUS, "labels")).spec(base)
    delayed = dataclasses.replace(waiting, optimisation=dataclasses.replace(waiting.optimisation, staleness=4))
    assert study.arm(DELAYED).spec(base) == delayed
    for name, (way, rule) in PLACES.items():
        spec, phases = study.arm(name).spec(base), study.arm(name).spec(base).phases()
        assert spec.blocks == (2 if way == PAIRS else None)
        assert len(phases) == (4 if way == GREEDY else 1)
        assert {phase.local_loss for phase in phases} == {"alone" if way in (SIMULTANEOUS, PAIRS) else "none"}
        assert [len(phase.ranges) for phase in phases] == {SIMULTANEOUS: [4], PAIRS: [2]}.get(way, [1] * len(phases))
        assert {phase.target for phase in phases} == {"objectives" if RULES[rule].weights else "input"}
        assert dict(spec.optimisation.objectives) == RULES[rule].weights
        assert spec.optimisation.corruptive == any(objectives()[each].views > 1 for each in RULES[rule].weights)
        assert PLACES[yardstick(rule)].way == GLOBAL
        assert RULES[PLACES[yardstick(rule)].rule].learns_labels == RULES[rule].learns_labels
        needs_labels = any(objectives()[each].needs_labels for each in RULES[rule].weights)
        assert RULES[rule].learns_labels == needs_labels


@BOTH
def test_every_trained_arm_is_tuned_alike(study: TrainingStudy) -> None:
    base = study.given([]).base
    for arm in study.arms:
        space = search_space(study, arm, base)
        own = set(RULES[PLACES[arm.name].rule].search) if arm.name in PLACES else set()
        trained = {"optimisation.lr", "optimisation.schedule"} | own
        assert set(space) == (set() if arm.name == RANDOM else trained)
    assert study.tuning_measure == "probe_acc"


@BOTH
def test_claims_and_comparisons_name_arms_of_the_study(study: TrainingStudy) -> None:
    named = [*study.claims, *study.comparisons]
    for claim in named:
        assert {claim.arm, claim.against or claim.stays_at} <= set(study.arm_names)
    assert {claim.data for claim in study.claims} == {"mnist", "fashion-mnist"}
    assert {claim.data for claim in study.comparisons} == {""}
    assert len(study.claims) == 2 * (10 if study is TRANSFORMER else 9)
    assert len({(claim.data, claim.arm, claim.metric, claim.against or claim.stays_at) for claim in named}) == len(
        named
    )


def test_arms_have_equal_flops_or_with_workers_equal_span_and_locking_has_equal_updates() -> None:
    dense = "{stages: [" + ", ".join(["{kind: dense, width: 16}"] * 2) + "]}"  # which are counted fast
    base = RESIDUAL.given(["--data", "digits", "--stack", dense, "--unit", "updates", "--finetune", "40"]).base
    splits = load(RunSpec(data=DataSpec("digits")))
    names = [JOINT, LOCKING, arm_name(GREEDY, "reconstruction"), arm_name(SIMULTANEOUS, "reconstruction")]
    arms = [RESIDUAL.arm(name) for name in names]
    spent = dict[str, dict[str, list[float]]]()
    for equal in ("flops", "span"):
        found = budgets_of(RESIDUAL, base, splits, arms, equal)
        specs = [dataclasses.replace(arm.spec(base), budget=found[arm.name]) for arm in arms]
        spent[equal] = {
            measured: [cost_function(spec, splits, len(splits.train), measured, "cpu")(spec.phases()) for spec in specs]
            for measured in ("flops", "span", "updates")
        }
        joint, _, greedy, at_once = spent[equal][equal]
        assert 0.9 * joint < greedy <= joint
        assert 0.95 * joint < at_once <= joint
        assert spent[equal]["updates"][:2] == [40, 40]
    joint, locking, _, at_once = spent["flops"]["flops"]
    assert 0.6 * joint < locking < 0.95 * joint
    assert spent["span"]["flops"][3] > 1.1 * joint


def test_the_network_is_chosen_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert apart([]) == ("residual", [])
    assert apart(["--seeds", "2", "--net", "transformer", "--smoke"]) == ("transformer", ["--seeds", "2", "--smoke"])
    assert apart(["--net=residual"]) == ("residual", [])
    assert chosen_main(["--net", "transformr"]) == 2
    assert "net 'transformr' is not known; did you mean 'transformer'?" in capsys.readouterr().err
    assert chosen_main(["--smoke", "--net"]) == 2
    assert RESIDUAL.prog == "python -m studies.local_learning"
    assert TRANSFORMER.prog == f"{RESIDUAL.prog} --net transformer"
    assert RESIDUAL.given([]).out != TRANSFORMER.given([]).out


# Answer and figure, from made-up rows

#: probe accuracy of each rule end to end; blocks at once lose two points, one by one three, pairs one
ACCURACY = dict(zip(RULES, (0.90, 0.97, 0.978, 0.96, 0.975, 0.92, 0.91), strict=True))
LOSS = {GLOBAL: 0.0, GREEDY: 0.03, SIMULTANEOUS: 0.02, PAIRS: 0.01}


def made(seeds: int = 3, arms: tuple[str, ...] = tuple(SHOWN)) -> Record:
    rows = list[dict[str, Any]]()
    for seed in range(seeds):
        for arm in arms:
            way, rule = SHOWN[arm]
            at_once = way in (SIMULTANEOUS, PAIRS)
            keeps = {"labels": 0.06, "labels+image": 0.02}.get(rule, 0.03)
            values = {
                "final/probe_acc": ACCURACY.get(rule, 0.8) - LOSS.get(way, 0.0) + 0.001 * seed * (1 + at_once),
                "final/fresh_decoder_mse": keeps + 0.001 * seed,
                "final/fresh_decoder_mse_depth1": keeps / 2 + 0.0001 * seed * (1 + at_once),
                "gflop": 0.0 if arm == RANDOM else 80.0 if arm == LOCKING else 100.0,
                "span_gflop": 0.0 if arm == RANDOM else 40.0 if at_once else 100.0,
                "codes_mb": 300.0 if way == GREEDY else 0.0,
                "peak_mb": 0.0 if arm == RANDOM else 30.0 if way == SIMULTANEOUS else 60.0,
            }
            rows.append({"run": f"{arm}{seed}", "arm": arm, "seed": seed, "status": "finished", **values})
    return Record(pd.DataFrame(rows), None, {}, {}, JOINT)


def test_the_answer_has_three_sentences_with_the_intervals_that_carry_them() -> None:
    text = answer(made().rows, JOINT)
    assert text.count(". ") == 2
    for best, level, kind in (
        ("barlow-twins", "91.20", "8 arms whose blocks learn without labels"),
        ("labels", "96.20", "9 arms whose blocks learn labels"),
    ):
        part = f"`pairs, {best}` ({level} %) is the best of {kind}, and differs from `end-to-end, {best}` by −0.90 points (95 % "
        assert part in text
    assert "of `end-to-end, labels` by +0.00010 (95 % interval " in text
    assert "changes this error by −0.020 in every seed, and the probe by +0.80 points in every seed" in text
    assert (
        "end to end, blocks at once need 50 % of the peak memory and 40 % of the FLOPs one after another, with" in text
    )
    assert "locking saves 20 % of the FLOPs of joint at as many updates and changes the probe by " in text
    assert text.count("interval") >= 3
    assert "nan" not in text


def test_the_answer_leaves_out_what_is_not_measured() -> None:
    assert answer(made(arms=(JOINT, RANDOM)).rows, JOINT).startswith("No answer")
    failed = made().rows.assign(status="failed: it")
    assert answer(failed, JOINT).startswith("No answer")
    few = answer(made(arms=(JOINT, LOCKING)).rows, JOINT)
    assert few.startswith("Locking saves 20 % of the FLOPs of joint")
    single = answer(made(seeds=1).rows, JOINT)
    assert "in a single seed" in single
    assert "interval" not in single
    one = made(arms=(arm_name(GLOBAL, "labels"), arm_name(SIMULTANEOUS, "labels")))
    assert "`simultaneous, labels` (95.20 %) has blocks that learn labels, and differs" in answer(one.rows, JOINT)


def test_the_figure_shows_every_arm_in_every_panel_and_names_its_marks() -> None:
    record = made()
    with style():
        figure = draw_local_learning(record)
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == [title for *_, title in PANELS]
    for axes, (column, *_) in zip(figure.axes, PANELS, strict=True):
        trained = [arm for arm in SHOWN if arm != RANDOM or column == "final/fresh_decoder_mse"]
        assert len(axes.containers) == len(trained)
        for container, arm in zip(axes.containers, trained, strict=True):
            marks, _, bars = container.lines  # type: ignore[attr-defined]
            codes = 300.0 if column == "peak_mb" and SHOWN[arm].way == GREEDY else 0.0
            np.testing.assert_allclose(marks.get_xdata(orig=False), [record.values(arm, column).mean() + codes])
            np.testing.assert_allclose(
                marks.get_ydata(orig=False), [100 * record.values(arm, "final/probe_acc").mean()]
            )
            assert bars
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == [*COLOURS, *(label for _, label in MARKERS.values())]
    assert len({form for form, _ in MARKERS.values()}) == len(MARKERS)
    assert len(set(COLOURS.values())) == len(COLOURS) == len(RULES)


def test_the_figure_shows_the_arms_that_there_are() -> None:
    with style():
        figure = draw_local_learning(made(1, arms=(JOINT, arm_name(SIMULTANEOUS, "labels"))))
        assert figure is not None
        assert [len(axes.containers) for axes in figure.axes] == [2] * 4
        assert not any(container.lines[2] for axes in figure.axes for container in axes.containers)  # type: ignore[attr-defined]
        named = [text.get_text() for text in figure.legends[0].get_texts()]
        assert named == ["reconstruction", "labels", "end to end", "stages at once"]
        assert draw_local_learning(dataclasses.replace(made(), rows=made().rows.assign(status="failed"))) is None
    assert drawn(draw_local_learning, made(arms=(JOINT, RANDOM))) is not None


# Tiny runs

TINY = ("--smoke", "--limit", "120", "--jobs", "1", "--unit", "updates", "--finetune", "8", "--epochs", "3")
TINY += ("--classification", "{lrs: [0.003], checks: 1, updates: 4, images: 20}", "--batch-size", "16")


@pytest.mark.slow
@BOTH
def test_the_study_runs_to_its_page_and_figure(
    study: TrainingStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stacked.tracking.tracker.Tracker.model", lambda *_: None)  # takes more time than training
    labels, twins = arm_name(SIMULTANEOUS, "labels"), arm_name(SIMULTANEOUS, "barlow-twins")
    arms = [JOINT, arm_name(GLOBAL, "labels"), labels, LOCKING, *([COPY] if study is TRANSFORMER else [twins])]
    study = dataclasses.replace(
        study, arms=tuple(map(study.arm, arms))
    )  # the cost of all its arms takes longer to count
    words, out = [*TINY, "--arms", *arms], tmp_path / "out"
    assert main(study, [*words, "--out", str(out), "--store", str(tmp_path / "store")]) == 0
    rows = load_rows(out).set_index("arm")
    assert set(rows["status"]) == {"finished"}
    assert set(rows.index) == set(arms)
    assert taught_arms(load_rows(out)) == {
        arm for arm in arms if arm in PLACES and RULES[PLACES[arm].rule].learns_labels
    }
    assert rows["final/fresh_decoder_mse_depth1"].notna().all()
    assert rows["final/classifier_acc_100"].isna()[labels]
    assert rows["final/classifier_acc_all"].notna().all()
    for arm in arms:
        assert (rows["span_gflop"][arm] < rows["gflop"][arm]) == (arm in (labels, twins)), arm
    assert rows["gflop"][LOCKING] < rows["gflop"][JOINT]
    assert rows["updates"][LOCKING] == rows["updates"][JOINT] == 8
    page = (out / "README.md").read_text(encoding="utf-8")
    for part in (
        "> In the accuracy of a linear probe",
        "GFLOP one after another",
        "fresh linear decoder",
        "Wang et al. 2021",
    ):
        assert part in page
    assert study.prog in page
    assert (out / "figures" / "local_learning.png").stat().st_size > 10_000
