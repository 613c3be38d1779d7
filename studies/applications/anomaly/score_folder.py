"""Anomaly detection in a folder of images: writes scores, a figure of the highest scores with error maps, and the detector."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.cli.overwriting import begins, below, check_own
from stacked.runtime.time_left import RunProgress
from stacked.util.atomic import sweep, write_atomically
from stacked.util.checks import need
from stacked.util.csv_cells import as_text
from stacked.util.errors import printable
from studies.applications.anomaly.generated import FALSE_ALARMS, HELD_OUT

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from stacked.apps.anomaly import Detector
    from stacked.spec import RunSpec
    from studies.design.measurements import Context

#: number of images in the figure
SHOWN = 8
#: the most letters of a name in the figure
MOST_LETTERS = 14
#: names, in any case, of a folder of images without anomalies
GOOD = ("good", "normal", "ok")
FIELDS = ("file", "score", "p_value", "anomalous")


@dataclass(frozen=True)
class Verdict:
    """The results of a detector.

    score, p_value, anomalous: arrays [N]. heat: error maps [H, W] of the least normal images, by index.
    """

    score: NDArray[Any]
    p_value: NDArray[Any]
    anomalous: NDArray[Any]
    heat: dict[int, NDArray[Any]]

    @classmethod
    def of(cls, detector: Detector, images: Tensor, rows: Tensor) -> Verdict:
        """Return the results of a detector on the images with indices `rows`."""
        mine = images[rows]
        score, p_value = detector.score_and_p_value(mine)
        first = worst_first(score, p_value, rows.numpy())[:SHOWN]
        heat = dict(zip(first.tolist(), detector.heat_map(images[first]), strict=True))
        return cls(score, p_value, p_value <= detector.false_alarms, heat)


def score_images(context: Context, spec: RunSpec) -> int:
    """Fit a detector on the images of --data, score those of --judge, write the results, and return the exit code.

    Without --judge the images of --data are scored, each half by a detector that was fitted on the other half; the saved detector
    is fitted on all images, with the held-out fraction and the false-alarm rate of the halves. spec: of the autoencoder.
    """
    import torch

    from stacked.apps.anomaly import Detector

    given, out = context.given, context.out
    own = begins(out / "scores.csv", ",".join(FIELDS[:3]))
    check_own(own, below(out, "scores.csv", "worst.png", "detector.safetensors"))
    sweep(out)
    paths, images = images_of(given.judge or given.data, context)
    normal = images_of(given.data, context)[1] if given.judge else images
    halves = None if given.judge else supported(len(images) // 2, given.held_out, given.false_alarms)
    held_out, false_alarms = halves or supported(len(normal), given.held_out, given.false_alarms)
    detector = Detector(spec, held_out=held_out, false_alarms=false_alarms, device=given.device)
    with RunProgress(["detector"] * (3 if halves else 1), noun="detector") as runs:
        number = runs.begin("of all images of --data", "detector")
        detector.fit(normal)
        found = None if halves else Verdict.of(detector, images, torch.arange(len(images)))
        runs.end(number)
        found = found or cross_fitted(detector, images, runs)
    order = worst_first(found.score, found.p_value, np.arange(len(paths)))
    above = Path(os.path.commonpath([path.parent for path in paths]))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FIELDS)
    for k in order:
        name = paths[k].relative_to(above).as_posix()
        table.writerow((as_text(name), f"{found.score[k]:.6g}", f"{found.p_value[k]:.6g}", int(found.anomalous[k])))
    write_atomically(
        out / "scores.csv", text.getvalue()
    )  # first, because it marks the folder as written by this command
    detector.save(out / "detector.safetensors")
    write_atomically(out / "worst.png", worst(found, order[:SHOWN], paths, images))
    print(
        f"{int(found.anomalous.sum())} of {len(paths)} images are called anomalous; of normal images at most "
        f"{100 * false_alarms:.3g} % would be.\nscores.csv, worst.png and detector.safetensors are in {out}"
    )
    if given.judge:
        auroc = folder_auroc(paths, folder_of(given.judge, context), found)
        if auroc:
            print(auroc)
    return 0


def folder_auroc(paths: list[Path], root: Path, found: Verdict) -> str:
    """Return the AUROC between the images of a folder called good and those of the other folders, as a sentence.

    Return "" if the images are not in several folders.
    """
    from scipy.stats import rankdata
    from sklearn.metrics import roc_auc_score

    tops = [path.relative_to(root).parts[0] if path.parent != root else "" for path in paths]
    names = sorted(set(tops))
    good = [name for name in names if name.lower() in GOOD]
    if len(names) < 2 or "" in names:
        return ""
    shown = [printable(name) for name in names]
    if len(good) != 1:
        return f"No AUROC: exactly one of the folders {', '.join(shown)} must be called {', '.join(GOOD[:-1])} or {GOOD[-1]}"
    bad = np.array([name != good[0] for name in tops])
    auroc = float(roc_auc_score(bad, rankdata(found.score)))
    alarms = [f"{100 * found.anomalous[part].mean():.0f} % of {int(part.sum())} images in" for part in (bad, ~bad)]
    others = ", ".join(name for name in shown if name != good[0])
    return f"AUROC {auroc:.4f} (higher is better): {alarms[0]} {others} are called anomalous, and {alarms[1]} {good[0]}"


def folder_of(name: str, context: Context) -> Path:
    """Return the path of a dataset "folder:PATH"; raise InputError for another name."""
    from stacked.data import apart

    kind, _, path = name.partition(":")
    need(kind == "folder" and bool(path), f"{name!r} is not a folder of images: give folder:PATH")
    name, data_dir = apart(name, context.given.data_dir)
    return Path(data_dir or "") / name.partition(":")[2]


def images_of(name: str, context: Context) -> tuple[list[Path], Tensor]:
    """Return the paths of the files of "folder:PATH", and their images, uint8 [N, C, H, W]."""
    from stacked.data.sources.images.folder import named_images

    given = context.given
    return named_images(folder_of(name, context), given.image_size, given.grey, given.white_level, given.max_megapixels)


def supported(images: int, held_out: float | None, false_alarms: float | None) -> tuple[float, float]:
    """Return the fraction of normal images to hold out, and the false-alarm rate: those asked for if there are enough images.

    If there are too few, more images are held out, up to half of them, unless `held_out` is given; if these are still too few,
    the rate is the lowest that they support. Either change is printed. Raises InputError for fewer than 4 images, and for a
    fraction that leaves fewer than 2 images to calibrate or to train on.
    """
    from stacked.apps.calibration import fewest

    rate = FALSE_ALARMS if false_alarms is None else false_alarms
    share = HELD_OUT if held_out is None else held_out
    for name, value in (("--false-alarms", rate), ("--held-out", share)):
        need(0 < value < 1, f"{name} {value:g} is not allowed: give a number between 0 and 1, as 0.05")
    need(images >= 4, f"{images} images are too few to train on some and calibrate on others: give at least 4")
    asked, needed = round(share * images), fewest(rate)
    held = asked if held_out is not None else min(max(asked, needed), max(asked, images // 2))
    need(
        2 <= held <= images - 2,
        f"--held-out {share:g} of {images} images is {held}: give a share that leaves 2 of them on either side",
    )
    if held != asked:
        shares = f"{100 * held / images:.0f} % in place of {100 * share:.0f} %"
        print(f"{held} of {images} images calibrate ({shares}), since there are few.")
    if held < needed:
        lowest = 1 / (held + 1)
        print(
            f"The false-alarm rate is {100 * lowest:.1f} %, the lowest that {held} calibration images support, in place of "
            f"{100 * rate:.1f} %."
        )
        rate = lowest
    return held / images, rate


def cross_fitted(detector: Detector, images: Tensor, runs: RunProgress) -> Verdict:
    """Return the results on each random half of the images by a detector like this one that was fitted on the other half."""
    import torch

    from stacked.apps.anomaly import Detector
    from stacked.runtime.rng import generator

    order = torch.randperm(len(images), generator=generator(detector.spec.seed, "halves"))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    parts = []
    for mine, other in (halves, halves[::-1]):
        number = runs.begin("of one half, which judges the other", "detector")
        like = Detector(
            detector.spec,
            held_out=detector.held_out,
            false_alarms=detector.false_alarms,
            device=detector.device,
        )
        parts.append(Verdict.of(like.fit(images[other]), images, mine))
        runs.end(number)
    back = np.argsort(torch.cat(halves).numpy())
    score, p_value, anomalous = (
        np.concatenate([getattr(part, name) for part in parts])[back] for name in ("score", "p_value", "anomalous")
    )
    return Verdict(score, p_value, anomalous, parts[0].heat | parts[1].heat)


def worst_first(score: NDArray[Any], p_value: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Return the indices `rows` [N] by ascending p-value, then by descending score; of equal ones the smaller index is first.

    By one detector this is the order of the scores; those of two detectors are not on one scale, but their p-values are.
    """
    return rows[np.lexsort((rows, -score, p_value))]


def shortened(name: str) -> str:
    """Return the end of a name that is too long for the figure, with a mark where it is cut."""
    return name if len(name) <= MOST_LETTERS else f"…{name[1 - MOST_LETTERS :]}"


def worst(found: Verdict, order: NDArray[Any], paths: list[Path], images: Tensor) -> bytes:
    """Return a figure of the images `order` with their error maps as PNG bytes."""
    from studies.figures.style import new_figure, png, style

    with style():
        figure = new_figure(2.8)
        grid = figure.subplots(2, len(order), squeeze=False)
        most = max(float(found.heat[k].max()) for k in order)
        for column, k in enumerate(order):
            shown = images[k].permute(1, 2, 0).numpy()
            grid[0][column].imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=255)
            drawn = grid[1][column].imshow(found.heat[k], cmap="viridis", vmin=0, vmax=most)
            grid[0][column].set_title(shortened(printable(paths[k].name)), fontsize=7)
            grid[1][column].set_xlabel(f"p = {found.p_value[k]:.2g}", fontsize=8)
            for axes in (grid[0][column], grid[1][column]):
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(False)
        figure.colorbar(drawn, ax=grid[1].tolist(), label="squared error", shrink=0.9)
        return png(figure)
