"""Anomalies among a user's own images: a table of scores, the worst of them with maps of their errors, and the detector."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.cli.overwriting import begins, below, check_own
from stacked.runtime.time_left import Runs
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

#: images that are shown
SHOWN = 8
#: what a folder of images without anomalies may be called, in capitals or not
GOOD = ("good", "normal", "ok")
FIELDS = ("file", "score", "p_value", "anomalous")


@dataclass(frozen=True)
class Verdict:
    """Of each image its score, its p-value, and whether it is anomalous [N]; of the worst, by index, where the error is."""

    score: NDArray[Any]
    p_value: NDArray[Any]
    anomalous: NDArray[Any]
    heat: dict[int, NDArray[Any]]

    @classmethod
    def of(cls, detector: Detector, images: Tensor, rows: Tensor) -> Verdict:
        """That of a detector on the images `rows`."""
        mine = images[rows]
        score, p_value = detector.score_and_p_value(mine)
        first = worst_first(score, rows.numpy())[:SHOWN]
        heat = dict(zip(first.tolist(), detector.heat_map(images[first]), strict=True))
        return cls(score, p_value, p_value <= detector.false_alarms, heat)


def score_images(context: Context, spec: RunSpec) -> int:
    """Fit a detector on the images of --data, score those of --judge, and write what came of it; returns the exit code.

    Without --judge the images of --data themselves are scored, each by a detector that was fitted on the other half of them;
    the detector that is kept is fitted on all, with the held-out share and the false-alarm rate of the halves.
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
    with Runs(["detector"] * (3 if halves else 1), noun="detector") as runs:
        number = runs.begin("of all images of --data", "detector")
        detector.fit(normal)
        found = None if halves else Verdict.of(detector, images, torch.arange(len(images)))
        runs.end(number)
        found = found or crossed(detector, images, runs)
    order = worst_first(found.score, np.arange(len(paths)))
    above = Path(os.path.commonpath([path.parent for path in paths]))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FIELDS)
    for k in order:
        name = paths[k].relative_to(above).as_posix()
        table.writerow((as_text(name), f"{found.score[k]:.6g}", f"{found.p_value[k]:.6g}", int(found.anomalous[k])))
    write_atomically(out / "scores.csv", text.getvalue())  # first: by it the folder is known as ours
    detector.save(out / "detector.safetensors")
    write_atomically(out / "worst.png", worst(found, order[:SHOWN], paths, images))
    print(
        f"{int(found.anomalous.sum())} of {len(paths)} images are anomalous, of normal ones at most "
        f"{100 * false_alarms:.3g} % would be called so.\nscores.csv, worst.png and detector.safetensors are in {out}"
    )
    if given.judge:
        told = told_apart(paths, folder_of(given.judge, context), found)
        if told:
            print(told)
    return 0


def told_apart(paths: list[Path], root: Path, found: Verdict) -> str:
    """How well scores tell images in a folder called good from those in the others; "" where folders do not say which are."""
    from scipy.stats import rankdata
    from sklearn.metrics import roc_auc_score

    tops = [path.relative_to(root).parts[0] if path.parent != root else "" for path in paths]
    names = sorted(set(tops))
    good = [name for name in names if name.lower() in GOOD]
    if len(names) < 2 or "" in names:
        return ""
    if len(good) != 1:
        return (
            f"No AUROC: of the folders {', '.join(names)} one would have to be called {' or '.join(GOOD)}, and is not"
        )
    bad = np.array([name != good[0] for name in tops])
    auroc = float(roc_auc_score(bad, rankdata(found.score)))
    return (
        f"AUROC {auroc:.4f}: {int(bad.sum())} images in {', '.join(name for name in names if name != good[0])}, of which "
        f"{found.anomalous[bad].mean():.0%} are called anomalous, against {int((~bad).sum())} in {good[0]}, of which "
        f"{found.anomalous[~bad].mean():.0%} are"
    )


def folder_of(name: str, context: Context) -> Path:
    """The folder that "folder:PATH" names."""
    from stacked.data.sources.folder import apart

    kind, _, path = name.partition(":")
    need(kind == "folder" and bool(path), f"{name!r} is no folder of images: give folder:PATH")
    name, data_dir = apart(name, context.given.data_dir)
    return Path(data_dir or "") / name.partition(":")[2]


def images_of(name: str, context: Context) -> tuple[list[Path], Tensor]:
    """The files of "folder:PATH" and their images."""
    from stacked.data.sources.folder import named_images

    given = context.given
    return named_images(folder_of(name, context), given.image_size, given.grey, given.white_level, given.max_megapixels)


def supported(images: int, held_out: float | None, false_alarms: float | None) -> tuple[float, float]:
    """The share of normal images to hold out and the false-alarm rate, which are those asked for if there are enough images.

    If there are too few, more are held out, up to half of them, unless a share was asked for; if these are too few as well, the
    rate is the lowest that they support. Either is told. Raises InputError for fewer than 4 images, or a share of none.
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
        print(
            f"{held} of {images} images calibrate ({held / images:.0%} in place of {share:.0%}), since there are few."
        )
    if held < needed:
        lowest = 1 / (held + 1)
        print(
            f"The false-alarm rate is {lowest:.1%}, the lowest that {held} calibration images support, in place of {rate:.1%}."
        )
        rate = lowest
    return held / images, rate


def crossed(detector: Detector, images: Tensor, runs: Runs) -> Verdict:
    """The verdict on each half of the images, drawn by the spec's seed, by a detector like this one fitted on the other half."""
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


def worst_first(score: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """The images `rows` by their scores, the highest first; of equal ones the first."""
    return rows[np.lexsort((rows, -score))]


def worst(found: Verdict, order: NDArray[Any], paths: list[Path], images: Tensor) -> bytes:
    """The images of highest score above maps of their errors, as PNG bytes."""
    from studies.figures.style import new_figure, png, style

    with style():
        figure = new_figure(2.8)
        grid = figure.subplots(2, len(order), squeeze=False)
        most = max(float(found.heat[k].max()) for k in order)
        for column, k in enumerate(order):
            shown = images[k].permute(1, 2, 0).numpy()
            grid[0][column].imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=255)
            drawn = grid[1][column].imshow(found.heat[k], cmap="viridis", vmin=0, vmax=most)
            grid[0][column].set_title(printable(paths[k].name[-14:]), fontsize=7)
            grid[1][column].set_xlabel(f"p = {found.p_value[k]:.2g}", fontsize=8)
            for axes in (grid[0][column], grid[1][column]):
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(False)
        figure.colorbar(drawn, ax=grid[1].tolist(), label="squared error", shrink=0.9)
        return png(figure)
