"""Studies of uses: the harness on methods that are quick, and the study of anomalies in its smoke form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score

from stacked import data
from stacked.runtime import environment
from stacked.tracking.backend.store import open_store
from studies.applications.anomaly import study as anomaly
from studies.applications.anomaly.generated import KINDS, generated
from studies.design.measurements import Context, Measurement
from studies.framework.main import main
from studies.measuring.page import differences, report, summary, wide
from studies.measuring.study import MeasurementStudy
from studies.statistics.measurement_rows import load
from studies.statistics.measures import Measure
from tests.helpers.images import folder_of_classes

CALLS: list[tuple[str, int]] = []


def method(arm: str, shift: float):
    def found(context: Context, seed: int) -> Iterator[Measurement]:
        CALLS.append((arm, seed))
        for number, condition in enumerate(("few", "many")):
            yield Measurement(arm, condition, "score", shift + seed + number + len(context.splits.classes))
            yield Measurement(arm, condition, "loss", 0.5)

    return found


DEMO = MeasurementStudy(
    name="demo",
    title="A demonstration",
    question="Which is best?",
    protocol="- **Protocol**: {seeds} seeds.",
    methods={"ours": method("ours", 1.0), "theirs": method("theirs", 0.25), "absent": method("absent", 0.0)},
    arms=("ours", "theirs"),
    measures={"score": Measure("score", "higher", decimals=2), "loss": Measure("loss", "lower", decimals=3)},
    conditions="how many",
    drawings={},
    extras={"absent": "a_package_that_is_not_there"},
)


@pytest.fixture
def place(tmp_path: Path) -> list[str]:
    CALLS.clear()
    return ["--data", "digits", "--seeds", "3", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]


@pytest.mark.slow
def test_methods_are_measured_once_and_reported(
    place: list[str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(DEMO, place) == 0
    told = capsys.readouterr()
    assert "absent is left out, because it needs a_package_that_is_not_there" in told.err
    assert [(arm, seed) for seed in range(3) for arm in ("ours", "theirs")] == CALLS
    rows = load(tmp_path / "out")
    table = wide(rows)
    assert list(table["score"]) == [11.5, 12.5, 13.5, 10.75, 11.75, 12.75]
    assert "| ours | 3 | 12.50 (10.02 to 14.98) | 0.500 | – | 0 |" in summary(DEMO, rows)
    assert "| theirs | 3 | -0.75 | – | – |" in differences(DEMO, rows)
    page = (tmp_path / "out" / "README.md").read_text()
    lines = told.out.splitlines()
    assert [line.split() for line in lines if line.startswith(("ours ", "theirs "))] == [
        ["ours", "3", "12.50", "(10.02", "to", "14.98)", "0.500", "–", "0"],
        ["theirs", "3", "11.75", "(9.27", "to", "14.23)", "0.500", "–", "0"],
    ]
    assert lines[-2] == f"All tables and the protocol: {tmp_path}/out/README.md; figures: {tmp_path}/out/figures"
    assert lines[-1].startswith("In MLflow, ")
    assert [line for line in told.err.splitlines() if line.startswith("run ")][:2] == [
        "run 1 of 6 (ours, seed 0)",
        "run 2 of 6 (theirs, seed 0)",
    ]
    assert "| few | 12.00" in page
    assert "- **Protocol**: 3 seeds." in page
    assert str(tmp_path) not in page
    runs = MlflowClient(open_store(tmp_path / "store").uri).search_runs(["1"], "tags.kind = 'use'")
    assert sorted((run.data.tags["arm"], run.data.tags["seed"], run.data.metrics["final/score"]) for run in runs) == [
        (arm, str(seed), value + seed) for arm, value in (("ours", 11.5), ("theirs", 10.75)) for seed in range(3)
    ]


@pytest.mark.slow
def test_what_is_recorded_is_not_measured_again(place: list[str], tmp_path: Path) -> None:
    few = [*place[:2], "--seeds", "2", *place[4:]]
    assert main(DEMO, [*few, "--methods", "theirs"]) == 0
    before = (tmp_path / "out" / "rows.csv").read_text()
    assert main(DEMO, place) == 0
    assert CALLS == [("theirs", 0), ("theirs", 1), ("ours", 0), ("ours", 1), ("ours", 2), ("theirs", 2)]
    after = (tmp_path / "out" / "rows.csv").read_text().splitlines()
    assert set(before.splitlines()) <= set(after)
    assert [line.split(",")[:2] for line in after[1::5]] == [[m, s] for s in "012" for m in ("ours", "theirs")]


@pytest.mark.slow
def test_rows_of_another_commit_are_told_of_where_more_are_measured(
    place: list[str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "code_identity", lambda: ("0123456789", False))
    assert main(DEMO, [*place[:2], "--seeds", "1", *place[4:], "--methods", "ours"]) == 0
    assert main(DEMO, [*place, "--methods", "ours"]) == 0  # more of the same commit
    assert "will be added to them" not in capsys.readouterr().err
    monkeypatch.setattr(environment, "code_identity", lambda: ("abcdef0123", True))
    assert main(DEMO, [*place, "--methods", "ours"]) == 0  # the page alone
    assert "will be added to them" not in capsys.readouterr().err
    assert main(DEMO, place) == 0
    assert (
        "holds rows of commit 0123456; rows of commit abcdef0+changes will be added to them" in capsys.readouterr().err
    )
    assert set(load(tmp_path / "out")["commit"]) == {"0123456", "abcdef0+changes"}


@pytest.mark.slow
def test_rows_of_something_else_are_not_mixed_in(place: list[str], tmp_path: Path, capsys: Any) -> None:
    assert main(DEMO, place) == 0
    assert main(DEMO, [*place, "--limit", "300"]) == 2
    assert "limit is None there and 300 here" in capsys.readouterr().err
    (tmp_path / "out" / "rows.csv").write_text("method,seed\n")
    assert main(DEMO, place) == 2
    assert "must have exactly the columns" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "0"], "seeds 0"),
        (["--methods", "guess"], "method 'guess'"),
        (["--data", "mnits"], "mnits"),
        (["--out", "a\udcff"], "out"),
    ],
)
def test_bad_words_are_said_in_a_line(words: list[str], says: str, place: list[str], capsys: Any) -> None:
    assert main(DEMO, [*place, *words]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


@pytest.mark.slow
def test_a_condition_is_no_formula_in_the_rows_and_itself_in_the_page(place: list[str], tmp_path: Path) -> None:
    ours = {"ours": lambda *_: [Measurement("ours", "=few", "score", 1.0)]}
    use = replace(DEMO, methods=ours, arms=("ours",), extras={})
    assert main(use, place) == 0
    assert "ours,0,ours,'=few,score,1," in (tmp_path / "out" / "rows.csv").read_text()
    assert set(load(tmp_path / "out")["condition"]) == {"=few", ""}
    assert main(use, place) == 0


def test_a_page_of_one_seed_has_no_intervals(place: list[str], tmp_path: Path) -> None:
    assert main(DEMO, [*place, "--seeds", "1"]) == 0
    rows = load(tmp_path / "out")
    assert "| ours | 1 | 11.50 | 0.500 |" in summary(DEMO, rows)
    assert "–" in differences(DEMO, rows)


@pytest.mark.slow
def test_the_anomaly_study_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = anomaly.classes
    monkeypatch.setattr(anomaly, "classes", lambda *given: islice(every(*given), 3))
    words = ["--smoke", "--updates", "5", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(anomaly.STUDY, [*words, "--methods", "layer-wise", "joint", "pca", "forest"]) == 0
    rows = load(tmp_path / "out")
    scores = rows[rows["measure"] == "auroc"]
    assert len(scores) == 3 * 8
    assert scores["value"].between(0, 1).all()
    assert scores[scores["arm"] == "PCA"]["value"].mean() > 0.97
    for name in ("auroc", "generated"):
        assert (tmp_path / "out" / "figures" / f"{name}.png").stat().st_size > 10_000
    kinds = rows[rows["measure"].str.startswith("detected_")].groupby(["arm", "condition"])["value"].mean()
    means = rows[rows["measure"] == "generated"].set_index(["arm", "condition"])["value"]
    assert (kinds - means).abs().max() < 1e-6
    assert means["layer-wise, both"].mean() > 0.9


def test_generated_anomalies_are_what_their_names_say() -> None:
    normal = torch.randint(256, (40, 3, 12, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = generated(normal, 5)
    assert tuple(made) == KINDS
    assert all(images.shape == normal.shape and images.dtype == torch.uint8 for images in made.values())
    assert torch.equal(made["inverted"], 255 - normal)
    assert not torch.equal(made["shuffled"], normal)
    pixels, moved = (images.flatten(2).transpose(1, 2).tolist() for images in (normal, made["shuffled"]))
    assert [sorted(image) for image in pixels] == [sorted(image) for image in moved]  # each with its three channels
    counts = {kind: [len(image.unique()) for image in made[kind]] for kind in KINDS}
    assert set(counts["constant"]) == {1}
    assert max(counts["checkerboard"]) == 2
    board = made["checkerboard"][:, 0]
    size = next(n for n in range(1, 9) if bool(board[0, 0, n] != board[0, 0, 0]))
    assert torch.equal(board[0, size:], board[0, :1, :1].add(board[0, 0, size]).sub(board[0, : 12 - size]))
    assert max(counts["noise"]) > 200
    again = generated(normal, 5)
    assert all(torch.equal(again[kind], made[kind]) for kind in KINDS)
    assert not torch.equal(generated(normal, 6)["noise"], made["noise"])


def test_pca_is_judged_as_scikit_learn_would(tmp_path: Path) -> None:
    """Fitted on four fifths of the normal images; called anomalous is what exceeds 95 % of the last fifth, conformally."""
    splits = data.load("digits")
    context = Context(splits, anomaly.argparse.Namespace(device="cpu", updates=5), tmp_path)
    found = {(one.condition, one.measure): one.value for one in anomaly.STUDY.methods["pca"](context, 0)}
    test = splits.test.inputs.flatten(1).numpy() / 255
    labels = splits.test.labels.numpy()
    for number, (name, normal, other) in enumerate(anomaly.classes(context, 0)):
        assert np.array_equal(other, labels != number)
        pixels = normal.flatten(1).numpy() / 255
        held = round(0.2 * len(pixels))
        model = PCA(0.9).fit(pixels[held:])

        def error(rows: Any, model: PCA = model) -> Any:
            return np.square(model.inverse_transform(model.transform(rows)) - rows).mean(1)

        scores, kept = error(test), error(pixels[:held])
        p = (1 + (kept[None, :] >= scores[:, None]).sum(1)) / (held + 1)
        assert found[name, "auroc"] == pytest.approx(roc_auc_score(other, scores), abs=1e-6)
        assert found[name, "auprc"] == pytest.approx(average_precision_score(other, scores), abs=1e-6)
        assert found[name, "detected"] == pytest.approx((p[other] <= 0.05).mean(), abs=1e-9)
        assert found[name, "false_alarms"] == pytest.approx((p[~other] <= 0.05).mean(), abs=1e-9)


def test_an_interval_that_its_decimals_do_not_show_is_left_out() -> None:
    from studies.measuring.page import interval

    digits = Measure("a share", decimals=3)
    assert interval(pd.Series([0.75302, 0.75303, 0.75304]), digits) == "0.753"
    assert interval(pd.Series([0.752, 0.753, 0.754]), digits) == "0.753 (0.751 to 0.755)"
    assert interval(pd.Series([0.753]), digits) == interval(pd.Series([0.753, 0.753, 0.753]), digits) == "0.753"
    assert interval(pd.Series([float("nan")]), digits) == "\u2013"
    assert interval(pd.Series([-0.00001, 0.0, 0.0]), digits) == "0.000"


@pytest.mark.slow
def test_drawings_without_data_are_left_out(place: list[str], tmp_path: Path) -> None:
    from studies.design.drawing import Drawing

    use = replace(DEMO, drawings={"nothing": Drawing("Nothing.", lambda rows, out: None)})
    assert main(DEMO, place) == 0
    assert "Nothing." not in report(use, tmp_path / "out", "command", "made", {"seeds": 3})


@pytest.mark.slow
def test_what_is_not_defined_is_blank_and_told(place: list[str], tmp_path: Path, capsys: Any) -> None:
    """Of one arm under one condition: means of all arms leave that condition out."""

    def ours(context: Context, seed: int) -> Iterator[Measurement]:
        for found in DEMO.methods["ours"](context, seed):
            undefined = (found.condition, found.measure) == ("few", "score")
            yield found._replace(value=float("nan")) if undefined else found

    use = replace(DEMO, methods={**DEMO.methods, "ours": ours})
    assert main(use, place) == 0
    assert "ours/s0: some values of score are not defined; their cells are blank" in capsys.readouterr().err
    lines = (tmp_path / "out" / "rows.csv").read_text().splitlines()
    assert sum(line.split(",")[5] == "" for line in lines) == 3
    assert load(tmp_path / "out")["value"].notna().all()
    page = (tmp_path / "out" / "README.md").read_text()
    assert "Values that are not defined are left out: score (ours)." in page
    assert "how many: many)" in page  # over which alone arms are compared
    assert main(use, place) == 0  # and goes on from there


def test_classes_without_enough_images_to_calibrate_with_are_refused_before_training(
    tmp_path: Path, capsys: Any
) -> None:
    folder = folder_of_classes(tmp_path / "images", many=130, few=60)
    words = [
        "--data",
        f"folder:{folder}",
        "--grey",
        "--image-size",
        "8",
        "--updates",
        "3",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(anomaly.STUDY, [*words, "--methods", "pca"]) == 2
    told = "9 held-out images are too few for a false-alarm rate of 0.05: give at least 19 of them, which takes 95 training "
    assert told + "images of class 'few' instead of 46" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_test_images_of_one_class_alone_are_refused(tmp_path: Path, capsys: Any) -> None:
    folder_of_classes(tmp_path / "images" / "train", a=120, b=120)
    folder_of_classes(tmp_path / "images" / "test", a=20)
    words = ["--data", f"folder:{tmp_path / 'images'}", "--grey", "--image-size", "8", "--updates", "3"]
    assert main(anomaly.STUDY, [*words, "--out", str(tmp_path / "out")]) == 2
    assert (
        "20 of 20 test images are of class 'a', but there must be test images of this and of other classes"
        in capsys.readouterr().err
    )


@pytest.mark.slow
def test_options_that_came_later_had_their_defaults(place: list[str], tmp_path: Path) -> None:
    assert main(DEMO, place) == 0
    path = tmp_path / "out" / "configuration.json"
    then = json.loads(path.read_text())
    del then["grey"], then["checksum"]  # of before both
    path.write_text(json.dumps(then))
    assert main(DEMO, place) == 0
    assert main(DEMO, [*place, "--grey"]) == 2
