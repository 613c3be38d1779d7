"""Anomalies among the images of a folder: the table of scores, the detector, and what few images support."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from stacked import InputError, data
from stacked.apps.anomaly import Detector
from stacked.data.sources.images.folder import named_images
from stacked.runtime.rng import generator
from stacked.runtime.time_left import RunProgress
from studies.applications.anomaly import study as anomaly
from studies.applications.anomaly.score_folder import Verdict, folder_auroc, shortened, supported
from studies.framework.main import main
from tests.helpers.images import folder_of_classes


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Zeros to be normal; zeros and others to be judged."""
    place, splits = tmp_path_factory.mktemp("images"), data.load("digits")
    for name, part, kept in (("normal", splits.train, (0,)), ("new", splits.test, (0, 1, 4))):
        deep = "deep" if name == "new" else "."
        (place / name / "deep").mkdir(parents=True)
        for k, (image, label) in enumerate(zip(part.inputs, part.labels.tolist(), strict=True)):
            if label in kept:
                Image.fromarray(image[0].numpy()).save(place / name / (deep if k % 2 else ".") / f"{label}-{k}.png")
    return place


def test_a_folder_is_judged(folders: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["--data", f"folder:{folders / 'normal'}", "--judge", f"folder:{folders / 'new'}", "--grey"]
    assert main(anomaly.STUDY, [*words, "--image-size", "8", "--updates", "60", "--out", str(tmp_path)]) == 0
    with (tmp_path / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    paths, images = named_images(folders / "new", 8, True)
    assert sorted(line["file"] for line in lines) == sorted(p.relative_to(folders / "new").as_posix() for p in paths)
    scores = [float(line["score"]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    p_values = [float(line["p_value"]) for line in lines]
    assert p_values == sorted(p_values)
    again = Detector.load(tmp_path / "detector.safetensors")
    by_name = dict(zip((p.relative_to(folders / "new").as_posix() for p in paths), again.score(images), strict=True))
    assert [by_name[line["file"]] for line in lines] == pytest.approx(scores, rel=1e-4, abs=1e-5)
    assert Image.open(tmp_path / "worst.png").width > 1000
    anomalous = sum(int(line["anomalous"]) for line in lines)
    assert f"{anomalous} of {len(lines)} images are called anomalous" in capsys.readouterr().out


@pytest.mark.slow
def test_a_folder_is_judged_by_halves_without_another(folders: Path, tmp_path: Path) -> None:
    words = ["--data", f"folder:{folders / 'normal'}", "--grey", "--image-size", "8", "--updates", "5"]
    from studies.applications.anomaly import score_folder

    many = tmp_path / "many"
    many.mkdir()
    for k, image in enumerate(data.load("digits").train.inputs[:220]):
        Image.fromarray(image[0].numpy()).save(many / f"{k:03}.png")
    words[1] = f"folder:{many}"
    assert main(anomaly.STUDY, [*words, "--out", str(tmp_path / "out")]) == 0
    rows = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert len(rows) == 220
    _, images = named_images(many, 8, True)
    spec = anomaly.base_spec("greedy+finetune", 0, anomaly.argparse.Namespace(updates=5))
    with RunProgress(["detector"] * 2) as runs:
        found = score_folder.cross_fitted(Detector(spec), images, runs)
    order = np.lexsort((-found.score, found.p_value))  # scores of two detectors are not on one scale
    assert found.p_value[order] == pytest.approx(rows["p_value"].to_numpy(), rel=1e-4)
    assert found.score[order] == pytest.approx(rows["score"].to_numpy(), rel=1e-4)
    halves = torch.randperm(220, generator=generator(0, "halves"))
    first, second = halves[:110], halves[110:]
    for mine, other in ((first, second), (second, first)):  # by one that has not seen them
        judging = Detector(spec).fit(images[other])
        assert np.array_equal(found.score[mine], judging.score(images[mine]))
        drawn = sorted(set(mine.tolist()) & set(found.heat))
        assert len(drawn) == score_folder.SHOWN  # maps of errors are kept of the worst alone
        assert min(found.score[drawn]) >= sorted(found.score[mine])[-score_folder.SHOWN]
        for k in drawn:
            np.testing.assert_allclose(found.heat[k], judging.heat_map(images[k : k + 1])[0], atol=1e-6)
    assert set(order[: score_folder.SHOWN]) <= set(found.heat)


def test_a_judge_that_is_no_folder_is_refused(folders: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["--data", f"folder:{folders / 'normal'}", "--grey", "--image-size", "8", "--out", str(tmp_path)]
    assert main(anomaly.STUDY, [*words, "--judge", "digits"]) == 2
    assert re.search("'digits' is not a folder of images: give folder:PATH", capsys.readouterr().err)


def test_a_judge_beside_classes_is_refused(tmp_path: Path, capsys: Any) -> None:
    assert main(anomaly.STUDY, ["--smoke", "--judge", "folder:new", "--out", str(tmp_path)]) == 2
    assert "--judge needs --data without classes, but digits has 10 classes: give --data" in capsys.readouterr().err
    assert main(anomaly.STUDY, ["--smoke", "--false-alarms", "0.1", "--out", str(tmp_path)]) == 2
    assert "--false-alarms needs --data without classes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_with_one_class_is_judged(folders: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "bottles").mkdir()
    (tmp_path / "bottles" / "good").symlink_to(folders / "normal")
    words = ["--data", f"folder:{tmp_path / 'bottles'}", "--judge", f"folder:{folders / 'new'}", "--grey"]
    with pytest.warns(UserWarning, match="are in one folder, 'good': they are read as images without classes"):
        assert main(anomaly.STUDY, [*words, "--image-size", "8", "--updates", "3", "--out", str(tmp_path)]) == 0
    assert "images are called anomalous" in capsys.readouterr().out


@pytest.mark.slow
def test_folders_good_and_others_give_an_auroc(folders: Path, tmp_path: Path, capsys: Any) -> None:
    new = folder_of_classes(tmp_path / "new", Good=30, crack=20, hole=15)
    words = ["--data", f"folder:{folders / 'normal'}", "--judge", f"folder:{new}", "--grey", "--image-size", "8"]
    words += ["--updates", "60", "--out", str(tmp_path / "out")]
    assert main(anomaly.STUDY, words) == 0
    rows = pd.read_csv(tmp_path / "out" / "scores.csv")
    bad = ~rows["file"].str.startswith("Good")
    expected = roc_auc_score(bad, rows["score"])
    assert expected > 0.8
    shares = [round(100 * rows["anomalous"][part].mean()) for part in (bad, ~bad)]
    assert (
        f"AUROC {expected:.4f} (higher is better): {shares[0]} % of 35 images in crack, hole are called anomalous, and "
        f"{shares[1]} % of 30 images in Good\n"
    ) in capsys.readouterr().out
    (new / "Good").rename(new / "fine")
    assert main(anomaly.STUDY, words) == 0
    assert "No AUROC: exactly one of the folders crack, fine, hole must be called good" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("images", "held_out", "false_alarms", "settled", "says"),
    [
        (100, None, None, (20, 0.05), ""),
        (60, None, None, (19, 0.05), "19 of 60 images calibrate (32 % in place of 20 %), since there are few.\n"),
        (
            60,
            None,
            0.01,
            (30, 1 / 31),
            "The false-alarm rate is 3.2 %, the lowest that 30 calibration images support, in place of 1.0 %",
        ),
        (
            60,
            0.2,
            None,
            (12, 1 / 13),
            "The false-alarm rate is 7.7 %, the lowest that 12 calibration images support, in place of 5.0 %",
        ),
        (30, None, 0.1, (9, 0.1), "9 of 30 images calibrate (30 % in place of 20 %)"),
        (4, None, None, (2, 1 / 3), "The false-alarm rate is 33.3 %"),
        (1000, 0.5, 0.001, (500, 1 / 501), "The false-alarm rate is 0.2 %"),
    ],
)
def test_few_images_calibrate_with_more_of_them_or_at_a_higher_rate(
    images: int,
    held_out: float | None,
    false_alarms: float | None,
    settled: tuple[int, float],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    share, rate = supported(images, held_out, false_alarms)
    assert (round(share * images), rate) == settled
    told = capsys.readouterr().out
    assert says in told if says else not told


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((3, None, None), "3 images are too few to train on some and calibrate on others: give at least 4"),
        ((60, None, 0.0), "--false-alarms 0 is not allowed: give a number between 0 and 1"),
        ((60, 1.5, None), "--held-out 1.5 is not allowed"),
        ((60, 0.99, None), "--held-out 0.99 of 60 images is 59: give a share that leaves 2 of them on either side"),
        ((60, 0.01, None), "--held-out 0.01 of 60 images is 1"),
        ((60, float("nan"), None), "--held-out nan is not allowed"),
    ],
)
def test_what_leaves_nothing_to_train_on_or_to_calibrate_with_is_refused(given: Any, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        supported(*given)


@pytest.mark.slow
@pytest.mark.parametrize("judge", [True, False])
def test_sixty_images_are_enough(judge: bool, folders: Path, tmp_path: Path, capsys: Any) -> None:
    folder = folder_of_classes(tmp_path / "images", a=60)
    words = ["--data", f"folder:{folder / 'a'}", "--grey", "--image-size", "8", "--updates", "3"]
    words += ["--judge", f"folder:{folders / 'new'}"] if judge else []
    assert main(anomaly.STUDY, [*words, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    detector = Detector.load(tmp_path / "out" / "detector.safetensors")
    if judge:
        assert "19 of 60 images calibrate (32 % in place of 20 %), since there are few" in told
        assert "of normal images at most 5 % would be" in told
        assert detector.calibration.held.shape == (2, 19)
    else:
        assert "15 of 30 images calibrate" in told
        assert "of normal images at most 6.25 % would be" in told
        assert detector.false_alarms == 1 / 16
        assert pd.read_csv(tmp_path / "out" / "scores.csv")["p_value"].min() >= 1 / 16 - 1e-6


def test_the_rate_and_the_share_that_are_asked_for_are_kept(folders: Path, tmp_path: Path, capsys: Any) -> None:
    folder = folder_of_classes(tmp_path / "images", a=60)
    words = [
        "--data",
        f"folder:{folder / 'a'}",
        "--grey",
        "--image-size",
        "8",
        "--updates",
        "3",
        "--false-alarms",
        "0.2",
    ]
    words += ["--judge", f"folder:{folders / 'new'}", "--held-out", "0.25", "--out", str(tmp_path / "out")]
    assert main(anomaly.STUDY, words) == 0
    assert "of normal images at most 20 % would be" in capsys.readouterr().out
    detector = Detector.load(tmp_path / "out" / "detector.safetensors")
    assert (detector.false_alarms, detector.calibration.held.shape) == (0.2, (2, 15))


def test_a_long_name_has_a_mark_where_it_is_cut() -> None:
    assert shortened("photograph.png") == "photograph.png"
    assert shortened("photograph-07.png") == "…ograph-07.png"


def test_names_of_folders_do_not_control_a_terminal() -> None:
    found = Verdict(np.array([0.0, 1.0]), np.array([1.0, 0.1]), np.array([False, True]), {})
    for good in ("good", "other"):
        paths = [Path("x", good, "a.png"), Path("x", "bad\x1b[2J\n", "b.png")]
        said = folder_auroc(paths, Path("x"), found)
        assert "bad\\x1b[2J\\n" in said
        assert said.isprintable()
