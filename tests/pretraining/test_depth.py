"""The study of depth: its arms and what they cost, its answer and figure from made-up rows, and tiny runs to the page."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import studies.pretraining.depth_lesson_session
from stacked.cost.measuring_cost import classifier_cost
from stacked.cost.phase_cost import phase_cost
from stacked.runs.run import load
from stacked.spec import DataSpec, RunSpec
from studies.depth import main as depth_main
from studies.figures.figures import Record, drawn
from studies.figures.notes import CUT
from studies.figures.style import new_figure, style
from studies.framework.compute_budget import budgets_of, cost_function
from studies.framework.main import main
from studies.framework.training_session import TrainingSession
from studies.framework.training_study import TrainingStudy
from studies.pretraining.depth import DEPTHS, EPOCHS, STUDY
from studies.pretraining.depth_answer import answer
from studies.pretraining.depth_arms import (
    LONGER,
    METHODS,
    MORE,
    PLAIN,
    PRETRAINED,
    autoencoder,
    classifier,
    place,
)
from studies.pretraining.depth_figure import LOOKS, deepest, draw_depth, norm_axis
from studies.pretraining.depth_lesson import LESSON
from studies.statistics.rows import load_curves, load_reference, load_rows

BOTH = pytest.mark.parametrize("study", [STUDY, LESSON], ids=lambda study: study.name)


# Arms


@BOTH
def test_there_is_a_classifier_and_an_autoencoder_of_each_method_and_depth(study: TrainingStudy) -> None:
    depths = sorted({place(arm).depth for arm in study.arm_names})
    places = [(method, depth) for method in METHODS for depth in depths if depth > 1 or not METHODS[method].residual]
    wanted = {name_of(*one) for name_of in (classifier, autoencoder) for one in places}
    assert set(study.arm_names) == wanted
    assert len(study.arms) == len(wanted) == 12 * len(depths) - 2
    base = study.given([]).base
    assert len({arm.spec(base) for arm in study.arms if arm.own_budget}) == sum(arm.own_budget for arm in study.arms)
    for arm in study.arm_names:
        method, depth, is_autoencoder = place(arm)
        assert arm == (autoencoder if is_autoencoder else classifier)(method, depth)
    assert set(LOOKS) == set(METHODS)


@pytest.mark.parametrize("scale", ["default", "quick", "paper"])
def test_arms_differ_in_their_method_alone(scale: str) -> None:
    base = STUDY.given(["--scale", scale]).base
    for arm in STUDY.arms:
        spec, (method, depth, is_autoencoder) = arm.spec(base), place(arm.name)
        assert (spec.stack.depth, {stage.width for stage in spec.stack.stages}) == (depth, {128})
        residual = [dict(stage.options).get("residual", False) for stage in spec.stack.stages]
        assert residual == [method.endswith("residual") and k > 0 for k in range(depth)]
        assert (spec.stack.norm == "batch") == ("batch norm" in method)
        assert (spec.stack.init, {stage.activation for stage in spec.stack.stages}) == (
            ("he", {"relu"}) if method.startswith("ReLU") else ("uniform", {"sigmoid"})
        )
        longer = method == LONGER and not is_autoencoder
        recipe = dataclasses.replace(base.classification, epochs=EPOCHS * (MORE if longer else 1))
        assert spec.classification == (dataclasses.replace(recipe, labels=()) if is_autoencoder else recipe)
        assert dataclasses.replace(spec.optimisation, lr=1.0) == dataclasses.replace(base.optimisation, lr=1.0)
        assert arm.own_budget == (arm.name != autoencoder(LONGER, depth))


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_longer_classifier_has_at_least_the_flops_of_pretraining_and_fine_tuning(depth: int) -> None:
    base, images, shape = STUDY.given([]).base, 10_000, (1, 28, 28)

    def flops(method: str) -> float:
        spec = STUDY.arm(classifier(method, depth)).spec(base)
        growth = sum(
            phase_cost(spec, shape, phase, images, 10).flops for phase in spec.phases(spec.updates_per_epoch(images))
        )
        _, cost = classifier_cost(spec.stack, spec.classification, shape, images, 10)
        updates = round(spec.classification.epochs * (images // spec.classification.batch_size))
        return growth + updates * cost.flops_per_update

    assert flops(PLAIN) < flops(PRETRAINED) <= flops(LONGER) <= 1.5 * flops(PRETRAINED)


def test_a_longer_autoencoder_has_the_flops_of_the_pretrained_one_and_others_the_same_updates() -> None:
    base = STUDY.given(["--data", "digits", "--unit", "updates", "--epochs", "20", "--finetune", "20"]).base
    splits = load(RunSpec(data=DataSpec("digits")))
    places = [(method, depth) for method in METHODS for depth in (1, 3) if depth > 1 or not METHODS[method].residual]
    arms = [STUDY.arm(autoencoder(*one)) for one in places]
    found = budgets_of(STUDY, base, splits, arms, "flops")
    assert list(found) == [arm.name for arm in arms]

    def cost(method: str, depth: int) -> float:
        arm = STUDY.arm(autoencoder(method, depth))
        spec = dataclasses.replace(arm.spec(base), budget=found[arm.name])
        return cost_function(spec, splits, len(splits.train), "flops", "cpu")(spec.phases())

    for depth in (1, 3):
        assert 0.9 * cost(PRETRAINED, depth) < cost(LONGER, depth) <= cost(PRETRAINED, depth)
        assert cost(PLAIN, depth) < 0.6 * cost(PRETRAINED, depth)
        ends = {
            found[autoencoder(method, depth)].end_to_end for method, at in places if method != LONGER and at == depth
        }
        assert ends == {20}


# Answer and figure, from made-up rows


def made(depths: tuple[int, ...] = (1, 3, 10), seeds: int = 3, methods: tuple[str, ...] = tuple(METHODS)) -> Record:
    """A record in which depth costs logistic units without pretraining 3 points, and half of the gradient, a layer."""
    rows, curves = list[dict[str, Any]](), list[dict[str, Any]]()
    for seed in range(seeds):
        for depth in depths:
            for rank, method in enumerate(methods):
                lost = depth if method in (PLAIN, LONGER) else 0
                shared = {"seed": seed, "status": "finished"}
                accuracy = 0.9 + 0.002 * seed + 0.005 * rank - 0.03 * lost
                rows.append(
                    shared
                    | {"run": f"c{seed}{depth}{rank}", "arm": classifier(method, depth)}
                    | {"final/classifier_acc_all": accuracy, "final/recon_mse": 0.23}
                )
                run = {"run": f"a{seed}{depth}{rank}", "arm": autoencoder(method, depth), "seed": seed}
                rows.append(shared | run | {"final/recon_mse": 0.01 * (1 + seed / 20 + lost / 2)})
                for step in (0, 10, 20):
                    norms = {
                        f"eval/grad_norm_{half}{k}": 0.1 * (1 + seed / 9) * 2.0 ** -(lost and 2 * depth - place_of)
                        for half in ("encoder", "decoder")
                        for k in range(1, depth + 1)
                        for place_of in [k if half == "encoder" else 2 * depth + 1 - k]
                    }
                    phase = "fine-tuning" if method == PRETRAINED else "joint"
                    curves.append(run | {"phase": phase, "step": step, "phase_step": step} | norms)
    return Record(pd.DataFrame(rows), pd.DataFrame(curves), {"mean_mse": 0.0675}, {}, STUDY.reference)


def test_the_answer_tells_the_least_and_the_greatest_depth_and_compares_equal_flops() -> None:
    text = answer(made().rows, STUDY.reference)
    assert text.startswith("Classifier accuracy, all labels with 1 and 10 layers: logistic 87.20 % and 60.20 %; ")
    assert (
        "With 10 layers, logistic, pretrained minus logistic, longer, which has at least as many FLOPs, is +30.50 "
        "points in every seed" in text
    )
    assert "Test MSE per pixel with 1 and 10 layers: logistic 0.0155 and 0.0605; " in text
    assert "nan" not in text
    assert answer(made(methods=(PLAIN,)).rows, STUDY.reference).count("layers:") == 2
    failed = made().rows.assign(status="failed: it")
    assert answer(failed, STUDY.reference) == "No answer: no run finished."


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_figure_shows_every_method_in_every_panel(seeds: int) -> None:
    with style():
        figure = draw_depth(made(seeds=seeds))
    assert figure is not None
    accuracy, error, layers, course = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(METHODS)
    for axes, count in ((accuracy, 6), (error, 6)):
        assert len(axes.containers) == count
        assert list(axes.get_xticks()) == [1, 3, 10]
    drawn_layers = [line for line in layers.lines if len(line.get_xdata()) == 20]  # type: ignore[arg-type]
    assert len(drawn_layers) == 5  # longer begins where logistic begins
    plain = next(line for line in drawn_layers if line.get_color() == LOOKS[PLAIN].colour)
    mean = math.exp(np.log([0.1 * (1 + seed / 9) for seed in range(seeds)]).mean())
    np.testing.assert_allclose(plain.get_ydata(), [mean * 2.0 ** -(20 - place_of) for place_of in range(1, 21)])
    assert len(course.lines) == 6
    assert (len(layers.collections), len(course.collections)) == ((5, 6) if seeds == 3 else (0, 0))
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [[], ["mean image"], ["code"], []]
    assert drawn(draw_depth, made(seeds=seeds)) is not None


def test_the_figure_grows() -> None:
    """In a lesson the first runs are of one depth and method."""
    first = made(methods=(PLAIN,), depths=(1,), seeds=1)
    first = dataclasses.replace(first, rows=first.rows[:1], curves=None, reference={})
    with style():
        figure = draw_depth(first)
    assert figure is not None
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [[], *[["not measured"]] * 3]
    assert [len(axes.get_xticks()) for axes in figure.axes] == [1, 0, 0, 0]
    assert drawn(draw_depth, first)
    assert drawn(draw_depth, dataclasses.replace(first, rows=first.rows.assign(status="failed: it"))) is None
    later = made(methods=(PLAIN, PRETRAINED), seeds=1)
    assert later.curves is not None
    assert deepest(later.curves) == 10
    assert deepest(later.curves[later.curves["arm"] != autoencoder(PRETRAINED, 10)]) == 3
    assert drawn(draw_depth, later)


def test_the_figure_of_a_lesson_has_the_level_of_the_mean_image_from_the_first_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = list[Record]()
    monkeypatch.setattr(TrainingSession, "prepare", lambda _: None)
    monkeypatch.setattr(studies.pretraining.depth_lesson_session, "rows_so_far", lambda _: made().rows[:1])
    monkeypatch.setattr(
        studies.pretraining.depth_lesson_session, "drawn", lambda _, record: records.append(record) or b""
    )
    given = LESSON.given(["--data", "digits", "--limit", "100", "--out", str(tmp_path)])
    session = studies.pretraining.depth_lesson_session.LessonSession(LESSON, given)
    session.splits = load(RunSpec(data=DataSpec("digits")))
    session.prepare()
    (tmp_path / "runs.csv").write_text("")
    assert session.drawn() == b""
    images = session.splits.train.inputs.double() / 255
    test = session.splits.test.inputs.double() / 255
    assert records[0].reference["mean_mse"] == pytest.approx(float((test - images.mean(0)).square().mean()), rel=1e-4)


def test_intervals_of_accuracies_that_leave_the_axis_end_in_triangles() -> None:
    study = made(methods=(PLAIN,), depths=(1, 3))
    rows = study.rows
    mine = rows["arm"] == classifier(PLAIN, 3)
    rows.loc[mine, "final/classifier_acc_all"] = [0.1135, 0.1135, 0.7]
    with style():
        figure = draw_depth(study)
    assert figure is not None
    assert CUT in " ".join(figure.get_supxlabel().split())
    bottom, top = figure.axes[0].get_ylim()
    assert sorted(line.get_ydata()[0] for line in figure.axes[0].lines if line.get_gid() == CUT) == [bottom, top]


@pytest.mark.parametrize("least", [0.0, 1e-6])
def test_axes_of_norms_have_powers_of_ten(least: float) -> None:
    axes = new_figure(2.0).subplots()
    norm_axis(axes, np.array([least or 2e-3, 1.0]))
    bottom, top = axes.get_ylim()
    shown = [tick for tick in axes.get_yticks() if bottom <= tick <= top]
    assert len(shown) >= 3
    assert [math.log10(tick) for tick in shown] == pytest.approx([round(math.log10(tick)) for tick in shown])


# Tiny runs

#: a few updates of everything on the smallest data
TINY = ("--data", "digits", "--limit", "100", "--jobs", "1", "--seeds", "1", "--unit", "updates", "--epochs", "3")
TINY += ("--finetune", "4", "--classification", "{lrs: [0.2], checks: 1, updates: 4, images: 20}")


@pytest.fixture
def unexported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting a model takes more time than training it."""
    monkeypatch.setattr("stacked.tracking.tracker.Tracker.model", lambda *_: None)


@pytest.mark.slow
@pytest.mark.usefixtures("unexported")
def test_the_study_runs_to_its_page_and_figure(tmp_path: Path) -> None:
    out, methods = tmp_path / "out", (PRETRAINED, "ReLU, batch norm, residual")
    arms = [name_of(method, 2) for method in methods for name_of in (classifier, autoencoder)]
    assert main(STUDY, [*TINY, "--arms", *arms, "--out", str(out), "--store", str(tmp_path / "store")]) == 0
    rows, curves = load_rows(out), load_curves(out)
    assert list(rows["arm"]) == [arm for arm in STUDY.arm_names if arm in arms]
    assert set(rows["status"]) == {"finished"}
    of_classes = rows["final/classifier_acc_all"].notna()
    assert list(rows["arm"][of_classes]) == [classifier(method, 2) for method in methods]
    for method in methods:
        mine = curves[curves["arm"] == autoencoder(method, 2)].dropna(subset=["eval/grad_norm_encoder1"])
        assert list(mine["phase_step"][:1]) == [0]
        assert (mine[[f"eval/grad_norm_{half}{k}" for half in ("encoder", "decoder") for k in (1, 2)]] > 0).all(
            axis=None
        )
    assert set(curves.loc[curves["eval/grad_norm_encoder1"].notna(), "phase"]) == {"joint", "fine-tuning"}
    page = (out / "README.md").read_text(encoding="utf-8")
    assert "Classifier accuracy, all labels with 2 layers: logistic, pretrained " in page
    assert "for 3 updates. `ReLU`" in page
    assert "4 updates of an autoencoder" in page
    assert (out / "figures" / "depth.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("unexported")
def test_the_lesson_draws_its_figure_after_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawings, references = list[Path](), list[dict[str, float]]()
    write = studies.pretraining.depth_lesson_session.write_atomically

    def noted(path: Path, content: bytes) -> None:
        drawings.append(path)
        references.append(load_reference(path.parent.parent))
        write(path, content)

    monkeypatch.setattr(studies.pretraining.depth_lesson_session, "write_atomically", noted)
    arms = [classifier(PLAIN, 1), autoencoder(PLAIN, 1), autoencoder(PRETRAINED, 2)]
    words = [*TINY, "--arms", *arms, "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert depth_main(["--lesson", *words]) == 0
    figure = tmp_path / "out" / "figures" / "depth.png"
    assert drawings == [figure] * 3
    assert all(0 < reference["mean_mse"] < 1 for reference in references)
    said = capsys.readouterr()
    assert said.err.count(f"the figure grows while networks are trained: {figure}") == 1
    assert "autoencoder" in said.out
    assert f"{classifier(PLAIN, 1)}/s0: classifier " in said.err
    assert f"{autoencoder(PLAIN, 1)}/s0: test MSE " in said.err
    assert "python -m studies.depth --lesson --data digits" in (tmp_path / "out" / "README.md").read_text(
        encoding="utf-8"
    )
    configuration = json.loads((tmp_path / "out" / "configuration.json").read_text(encoding="utf-8"))
    assert json.loads(configuration["base"])["evaluation"]["gradients"] is True
