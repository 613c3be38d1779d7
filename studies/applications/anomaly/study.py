"""Can an autoencoder that was trained on one class of images detect images of other classes?

Claims: no claim of a paper is tested. The baselines are the reconstruction error of PCA, an isolation forest (Liu, Ting & Zhou
2008) and PyOD's autoencoder.

Command: python -m studies.anomaly --out results/anomaly/mnist
         python -m studies.anomaly --data fashion-mnist --out results/anomaly/fashion-mnist
On your own images: python -m studies.anomaly --data folder:NORMAL [--judge folder:NEW]. If NEW has a folder called good and other
folders, the AUROC is printed.
Expected and cost: results/anomaly/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stacked.runtime.progress import each
from stacked.util.checks import need
from stacked.util.errors import Diverged
from studies.applications.anomaly.figures import draw_by_class, draw_generated, draw_heat
from studies.applications.anomaly.generated import COUNT, FALSE_ALARMS, HELD_OUT, generated
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy
from studies.record.samples import save_arrays
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.apps.anomaly import Detector
    from stacked.spec import RunSpec

OURS = ("reconstruction", "density", "both")
#: largest number of images of a class that are used, including those for calibration
MOST = 2000
#: fraction of the variance of the normal images that the components of PCA explain
EXPLAINED = 0.9
PROTOCOL = f"""\
- **Task**: each class in turn is the normal class. A method is fitted on at most {MOST:,} of its training images, which the seed
  samples, and scores all test images. The images of all other classes are the anomalies; no method is trained on them. AUROC:
  the probability that an anomaly has a higher score than a normal image. AUPRC: average precision with anomalies as positives;
  they are nine tenths of the test images, which is also the AUPRC of random scores.
- **Arms**: `layer-wise` and `joint` are `stacked.Detector` with two convolutional stages (16 and 32 channels) and a linear code
  of 32 values. `layer-wise` is grown stage by stage and then trained end to end, with {{updates}} updates for each stage and end
  to end; `joint` is trained jointly with as many FLOPs. 20 % of the input of a stage is masked; Adam, learning rate 0.001,
  batches of 64; a fifth of the images is held out for calibration. These settings were chosen by AUROC on validation images of
  MNIST for the classes 2, 5 and 8, with one other seed. Tried were codes of 32 and 128 values and of 256 values in a third
  convolution, learning rates of 0.001 and 0.003, and 300 and 900 updates; the default of 600 updates lies in between. The score
  is the error of the `reconstruction`, the `density` of the code, or `both`: the larger of the two after their logarithms were
  standardised by the median and the 90 % quantile of the held-out images. To take the larger was chosen on the same validation
  images; the median and the quantile were not. `PCA`: the error of the components that explain
  90 % of the variance. `isolation forest`: that of scikit-learn on pixels, with its defaults. `PyOD autoencoder`: on pixels, with
  its defaults (dense, 64-32). These baselines were not tuned, and their cost is not made equal; the table lists their seconds.
- **False alarms**: the fraction of normal test images that are called anomalous. The threshold is set for a rate of
  {FALSE_ALARMS:.0%} on the images that are held out (for the baselines, also a fifth).
- **Generated anomalies**: {COUNT} images of each of five kinds, which were not used to choose anything: normal test images with
  black and white exchanged (`inverted`) or with their pixels in random order (`shuffled`), images of one value (`constant`),
  `noise`, and a `checkerboard` of two values. The measure is the fraction that is called anomalous.
"""


def base_spec(policy: str, seed: int, given: argparse.Namespace) -> RunSpec:
    """Return the default spec of the detector with the policy, the seed and the number of updates."""
    from stacked.apps.anomaly import default_spec
    from stacked.spec import Budget

    return replace(default_spec(), policy=policy, seed=seed, budget=Budget((given.updates,), given.updates, "updates"))


def classes(context: Context, seed: int) -> Iterator[tuple[str, Tensor, NDArray[np.bool_]]]:
    """Yield each class with its training images, sampled by the seed, and a mask [N] of test images of other classes."""
    import torch

    from stacked.runtime.rng import generator

    splits = context.splits
    for number, name in enumerate(each(splits.classes, "normal classes")):
        mine = torch.nonzero(splits.train.labels == number)[:, 0]
        drawn = torch.randperm(len(mine), generator=generator(seed, "normal images", number))[:MOST]
        yield name, splits.train.inputs[mine[drawn]], (splits.test.labels != number).numpy()


def check(context: Context, methods: Sequence[str]) -> None:
    """Raise InputError if a class has too few images for calibration, or if no or all test images are of a class."""
    import torch

    from stacked.apps.anomaly import check_count

    splits = context.splits
    trained, tested = (
        torch.bincount(part.labels[part.labels >= 0], minlength=len(splits.classes))
        for part in (splits.train, splits.test)
    )
    for number, name in enumerate(splits.classes):
        check_count(min(int(trained[number]), MOST), HELD_OUT, FALSE_ALARMS, f"training images of class {name!r}")
        need(
            0 < int(tested[number]) < len(splits.test),
            f"{tested[number]} of {len(splits.test)} test images are of class {name!r}, but there must be test images of "
            "this and of other classes: add them, or give --data folder:NORMAL, without classes, and --judge folder:NEW",
        )


#: scores [N] of uint8 images, and which are called anomalous [N]
Judge = Callable[["Tensor"], tuple[NDArray[np.float64], NDArray[np.bool_]]]


def judged(
    context: Context, seed: int, arm: str, name: str, other: NDArray[np.bool_], judge: Judge
) -> Iterator[Measurement]:
    """Yield the measures of a judge, fitted on the normal class `name`, on test images and on generated anomalies.

    other: mask [N] of the anomalies among the test images. Raises Diverged if a score of a test image is not finite.
    """
    import torch
    from sklearn.metrics import average_precision_score, roc_auc_score

    images = context.splits.test.inputs
    scores, is_alarm = judge(images)
    if not np.isfinite(scores).all():
        raise Diverged(f"scores of {arm!r} with normal class {name!r} are not finite")
    yield Measurement(arm, name, "auroc", float(roc_auc_score(other, scores)))
    yield Measurement(arm, name, "auprc", float(average_precision_score(other, scores)))
    yield Measurement(arm, name, "false_alarms", float(is_alarm[~other].mean()))
    yield Measurement(arm, name, "detected", float(is_alarm[other].mean()))
    kinds = generated(images[torch.from_numpy(np.flatnonzero(~other)[:COUNT])], seed)
    shares = {kind: float(judge(made)[1].mean()) for kind, made in kinds.items()}
    yield Measurement(arm, name, "generated", float(np.mean(list(shares.values()))))
    for kind, share in shares.items():
        yield Measurement(arm, name, f"detected_{kind}", share)


def judge_of(detector: Detector) -> Judge:
    """The judge that a detector is."""

    def judge(images: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        scores, p_values = detector.score_and_p_value(images)
        return scores, p_values <= detector.false_alarms

    return judge


def detector(way: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures `stacked.Detector`, trained in a `way`; one training gives all three scores."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.apps.anomaly import Detector
        from studies.applications.training import equal_flops_spec

        spent, shown = 0.0, []
        for name, normal, other in classes(context, seed):
            base = base_spec("greedy+finetune", seed, context.given)
            spec, gflop = equal_flops_spec(base, way, context.splits, len(normal) - round(HELD_OUT * len(normal)))
            spent += gflop
            fitted = Detector(spec, false_alarms=FALSE_ALARMS, held_out=HELD_OUT, device=context.given.device).fit(
                normal
            )
            for score in OURS:
                yield from judged(context, seed, f"{way}, {score}", name, other, judge_of(fitted.scored_by(score)))
            shown.append(typical(fitted, context.splits.test.inputs, other))
        if seed == 0:
            images, heat = (np.stack(parts, 1) for parts in zip(*shown, strict=True))
            save_arrays(
                context.out, way, {"images": images, "heat": heat, "classes": np.array(context.splits.classes, "U")}
            )
        for score in OURS:
            yield Measurement(f"{way}, {score}", "", "gflop", spent)

    return found


def typical(detector: Detector, images: Tensor, other: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the normal and the anomalous test image of median score, [2, C, H, W], and their error maps [2, H, W]."""
    scores = detector.score(images)
    chosen = [np.flatnonzero(part)[np.argsort(scores[part])[part.sum() // 2]] for part in (~other, other)]
    return images[chosen].numpy(), detector.heat_map(images[chosen])


Rows = NDArray[np.float64]
Score = Callable[[Rows], Rows]


def judge_by(score: Score, threshold: float) -> Judge:
    """Return the judge that calls an image anomalous if its score exceeds the threshold."""
    from stacked.evaluation.references import as_rows
    from stacked.util.chunks import chunks

    def judge(images: Tensor) -> tuple[Rows, NDArray[np.bool_]]:
        parts = chunks(len(images), images[0].numel())
        scores = np.concatenate([score(as_rows(images[index])) for index in parts])
        return scores, scores > threshold

    return judge


def baseline(arm: str, fit: Callable[[Rows, int], Score]) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures a baseline on pixels.

    fit: function of rows [N, D] in [0, 1] and a seed that returns a function from rows to scores [N].
    """

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.evaluation.references import as_rows

        for name, normal, other in classes(context, seed):
            pixels = as_rows(normal)
            held = round(HELD_OUT * len(pixels))
            score = fit(pixels[held:], seed)
            held_out_scores = np.sort(score(pixels[:held]))
            threshold = held_out_scores[held - int(FALSE_ALARMS * (held + 1) + 1e-9)]
            if not np.isfinite(threshold):
                raise Diverged(f"scores of {arm!r} for held-out images of class {name!r} are not finite")
            yield from judged(context, seed, arm, name, other, judge_by(score, threshold))

    return found


def pca(rows: Rows, seed: int) -> Score:
    """Fit PCA; the score is the reconstruction error."""
    from sklearn.decomposition import PCA

    model = PCA(EXPLAINED, svd_solver="full").fit(rows)
    return lambda x: np.square(model.inverse_transform(model.transform(x)) - x).mean(1)


def forest(rows: Rows, seed: int) -> Score:
    """Fit an isolation forest."""
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(random_state=seed).fit(rows)
    return lambda x: -model.score_samples(x)


def pyod(rows: Rows, seed: int) -> Score:
    """Fit PyOD's autoencoder."""
    from pyod.models.auto_encoder import AutoEncoder

    model = AutoEncoder(random_state=seed, verbose=0).fit(rows)
    return model.decision_function


def detect_in_folder(context: Context) -> int | None:
    """If the images have no classes, fit a detector on them, score those of --judge and return the exit code; else None."""
    from studies.applications.anomaly.score_folder import score_images

    if context.splits.classes:
        for option in ("judge", "false_alarms", "held_out"):
            need(
                getattr(context.given, option) is None,
                f"--{option.replace('_', '-')} needs --data without classes, but {context.splits.name} has "
                f"{len(context.splits.classes)} classes: give --data folder:PATH of normal images, or leave the option out",
            )
        return None
    return score_images(context, base_spec("greedy+finetune", 0, context.given))


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.add_argument(
        "--updates", type=int, default=600, metavar="N", help="updates of each stage, and end to end (600)"
    )
    command.add_argument(
        "--judge",
        default=None,
        metavar="folder:PATH",
        help="images to score with a detector that is fitted on --data, which are normal images",
    )
    command.add_argument(
        "--false-alarms",
        type=float,
        default=None,
        metavar="X",
        help=f"share of a folder's normal images that may be called anomalous, or the least that so few images support "
        f"({FALSE_ALARMS})",
    )
    command.add_argument(
        "--held-out",
        type=float,
        default=None,
        metavar="X",
        help=f"share of a folder's normal images that calibrate and are not trained on ({HELD_OUT}, or as many as the rate "
        "needs, up to half)",
    )


STUDY = MeasurementStudy(
    name="anomaly",
    title="Anomaly detection by the reconstruction error and the code of an autoencoder",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={
        "layer-wise": detector("layer-wise"),
        "joint": detector("joint"),
        "pca": baseline("PCA", pca),
        "forest": baseline("isolation forest", forest),
        "pyod": baseline("PyOD autoencoder", pyod),
    },
    extras={"pyod": "pyod"},
    arms=(
        "layer-wise, both",
        "layer-wise, reconstruction",
        "layer-wise, density",
        "joint, both",
        "joint, reconstruction",
        "joint, density",
        "PCA",
        "isolation forest",
        "PyOD autoencoder",
    ),
    measures={
        "auroc": Measure("AUROC", "higher", decimals=4),
        "auprc": Measure("AUPRC", "higher", decimals=4),
        "detected": Measure("anomalies detected", "higher", decimals=3),
        "false_alarms": Measure("false alarms", "lower", decimals=3),
        "generated": Measure("generated anomalies detected", "higher", decimals=3),
    },
    conditions="normal class",
    drawings={
        "auroc": Drawing(
            "AUROC (higher is better) of each arm for each normal class (ticks), mean over seeds. The diamond is the mean over "
            "classes, with its 95 % interval over seeds.",
            draw_by_class,
        ),
        "generated": Drawing(
            "Share of the generated anomalies of each kind that each arm calls anomalous, at a false-alarm rate of "
            f"{FALSE_ALARMS:.0%} (dotted): the mean over normal classes, with its 95 % interval over seeds.",
            draw_generated,
        ),
        "heat": Drawing(
            "For each normal class, the normal and the anomalous test image of median score by the layer-wise detector, with "
            "maps of the reconstruction error (brightness: square root of the error).",
            draw_heat,
        ),
    },
    options=add_options,
    smoke={"updates": 20},
    instead=detect_in_folder,
    check=check,
)
