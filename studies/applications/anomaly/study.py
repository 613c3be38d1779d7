"""Does an autoencoder that has only seen one class of images tell the others from it?

Claims: none of a paper's is held beside the rows; what they are compared with is PCA's reconstruction error, an isolation
forest (Liu, Ting & Zhou 2008) and PyOD's autoencoder.

Command: python -m studies.anomaly --out results/anomaly/mnist
         python -m studies.anomaly --data fashion-mnist --out results/anomaly/fashion-mnist
On images of one's own: python -m studies.anomaly --data folder:NORMAL [--judge folder:NEW]; where NEW has a folder called good
and others, the AUROC is told.
Expected and cost: results/anomaly/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stacked.util.checks import need
from stacked.util.errors import Diverged
from studies.applications.anomaly.figures import draw_by_class, draw_heat
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy
from studies.record.samples import save_arrays
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.apps.anomaly import Detector
    from stacked.spec import RunSpec

OURS, FALSE_ALARMS = ("reconstruction", "density", "both"), 0.05
#: the share of the normal images that calibrate
HELD_OUT = 0.2
#: images of a class that are trained on, calibration included
MOST = 2000
#: components that PCA keeps: the share of the variance of the normal images that they explain
EXPLAINED = 0.9
PROTOCOL = f"""\
- **Task**: each class in turn is the normal one. A method is fitted on {MOST:,} of its training images at most, drawn by the
  seed, and scores all test images; the images of all other classes are the anomalies. No method sees one before. AUROC: the
  chance that an anomaly scores higher than a normal image. AUPRC: average precision with anomalies as positives, nine tenths of
  the test images, which is also what guessing gives.
- **Arms**: `layer-wise` and `joint` are `stacked.Detector` on two convolutional stages (16 and 32 channels) and a
  linear code of 32, grown stage by stage and then trained end to end, {{updates}} updates each, or trained jointly with as many
  FLOPs; masking of 20 % of what a stage reads; Adam, learning rate 0.001, batches of 64, a fifth of the images held out to
  calibrate. They were chosen by AUROC on validation images of MNIST, classes 2, 5 and 8, one other seed: of codes of 32 and
  128, and of 256 values in a third convolution, of learning rates of 0.001 and 0.003, and of 300 and 900 updates, between which
  the default of 600 lies. Their scores: `error` of the reconstruction, `density` of the code, or `both`. `PCA`: the error of as
  many components as explain 90 % of the variance; `isolation forest`: scikit-learn's, on pixels, with its defaults; `PyOD
  autoencoder`: its defaults (dense, 64-32), on pixels. Of these nothing was tuned, and their cost is not equalised: their
  seconds are told.
- **False alarms**: the share of normal test images that are called anomalous at a rate of {FALSE_ALARMS:.0%}, set on the images
  that are held out (methods of others: on a fifth of theirs, as here).
"""


def base_spec(policy: str, seed: int, given: argparse.Namespace) -> RunSpec:
    """The detector's own spec, with the policy and the updates asked for."""
    from stacked.apps.anomaly import default_spec
    from stacked.spec import Budget

    return replace(default_spec(), policy=policy, seed=seed, budget=Budget((given.updates,), given.updates, "updates"))


def classes(context: Context, seed: int) -> Iterator[tuple[str, Tensor, NDArray[np.bool_]]]:
    """Each class with its training images, drawn by the seed, and which test images are of another."""
    import torch

    from stacked.runtime.rng import generator

    splits = context.splits
    for number, name in enumerate(splits.classes):
        mine = torch.nonzero(splits.train.labels == number)[:, 0]
        drawn = torch.randperm(len(mine), generator=generator(seed, "normal images", number))[:MOST]
        yield name, splits.train.images[mine[drawn]], (splits.test.labels != number).numpy()


def check(context: Context, methods: Sequence[str]) -> None:
    """Raise InputError for a class of which there are too few images to calibrate with, or that none or all test images have."""
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
            f"{tested[number]} of {len(splits.test)} test images are of class {name!r}, and there must be some of it and some of "
            "others: give both, or give --data folder:NORMAL, without classes, and --judge folder:NEW",
        )


def scored(
    arm: str, name: str, scores: NDArray[np.float64], other: NDArray[np.bool_], threshold: float
) -> Iterator[Measurement]:
    """What scores of the test images are worth; Diverged for some that are not finite, which no rank has a place for."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not (np.isfinite(scores).all() and np.isfinite(threshold)):
        raise Diverged(f"scores of {arm!r} with normal class {name!r} are not finite")
    yield Measurement(arm, name, "auroc", float(roc_auc_score(other, scores)))
    yield Measurement(arm, name, "auprc", float(average_precision_score(other, scores)))
    yield Measurement(arm, name, "false_alarms", float((scores[~other] > threshold).mean()))
    yield Measurement(arm, name, "detected", float((scores[other] > threshold).mean()))


def detector(way: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """Our detector, trained in a way; one training gives all three scores."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.apps.anomaly import Detector
        from studies.applications.training import equal

        spent, shown = 0.0, []
        for name, normal, other in classes(context, seed):
            base = base_spec("greedy+finetune", seed, context.given)
            spec, gflop = equal(base, way, context.splits, len(normal) - round(HELD_OUT * len(normal)))
            spent += gflop
            fitted = Detector(spec, held_out=HELD_OUT, device=context.given.device).fit(normal)
            for score in OURS:
                one = fitted.scored_by(score)
                yield from scored(
                    f"{way}, {'error' if score == 'reconstruction' else score}",
                    name,
                    one.score(context.splits.test.images),
                    other,
                    one.threshold,
                )
            shown.append(typical(fitted, context.splits.test.images, other))
        if seed == 0:
            images, heat = (np.stack(parts, 1) for parts in zip(*shown, strict=True))
            save_arrays(
                context.out, way, {"images": images, "heat": heat, "classes": np.array(context.splits.classes, "U")}
            )
        for score in OURS:
            yield Measurement(f"{way}, {'error' if score == 'reconstruction' else score}", "", "gflop", spent)

    return found


def typical(detector: Detector, images: Tensor, other: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A normal test image and an anomalous one, each that of the median score, [2, C, H, W], and their errors [2, H, W]."""
    scores = detector.score(images)
    chosen = [np.flatnonzero(part)[np.argsort(scores[part])[part.sum() // 2]] for part in (~other, other)]
    return images[chosen].numpy(), detector.heat_map(images[chosen])


Rows = NDArray[np.float64]
Score = Callable[[Rows], Rows]


def rival(arm: str, fit: Callable[[Rows, int], Score]) -> Callable[[Context, int], Iterator[Measurement]]:
    """A method of others on rows of pixels in 0..1: `fit` gives the function that scores rows."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.evaluation.evaluate import as_rows
        from stacked.util.chunks import chunks

        test = context.splits.test.images
        parts = chunks(len(test), test[0].numel())
        for name, normal, other in classes(context, seed):
            pixels = as_rows(normal)
            held = round(HELD_OUT * len(pixels))
            score = fit(pixels[held:], seed)
            held_out_scores = np.sort(score(pixels[:held]))
            scores = np.concatenate([score(as_rows(test[index])) for index in parts])
            yield from scored(arm, name, scores, other, held_out_scores[held - int(FALSE_ALARMS * (held + 1) + 1e-9)])

    return found


def pca(rows: Rows, seed: int) -> Score:
    """The error of principal components."""
    from sklearn.decomposition import PCA

    model = PCA(EXPLAINED, svd_solver="full").fit(rows)
    return lambda given: np.square(model.inverse_transform(model.transform(given)) - given).mean(1)


def forest(rows: Rows, seed: int) -> Score:
    """How early random splits isolate a row."""
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(random_state=seed).fit(rows)
    return lambda given: -model.score_samples(given)


def pyod(rows: Rows, seed: int) -> Score:
    """PyOD's autoencoder."""
    from pyod.models.auto_encoder import AutoEncoder

    model = AutoEncoder(random_state=seed, verbose=0).fit(rows)
    return model.decision_function


def detect(context: Context) -> int | None:
    """On images without classes: fit a detector on them, score those of --judge, and write what came of it."""
    from studies.applications.anomaly.score_folder import score_images

    if context.splits.classes:
        need(
            context.given.judge is None,
            f"--judge is for images without classes, and {context.splits.name} has {len(context.splits.classes)}: "
            "give --data folder:PATH of normal images, or leave --judge out",
        )
        return None
    return score_images(context, base_spec("greedy+finetune", 0, context.given))


def more(command: argparse.ArgumentParser) -> None:
    """Options of this study."""
    command.add_argument("--updates", type=int, default=600, metavar="N", help="of each stage, and end to end (600)")
    command.add_argument(
        "--judge", default=None, metavar="folder:PATH", help="images to be judged by those of --data, which are normal"
    )


STUDY = MeasurementStudy(
    name="anomaly",
    title="Anomaly detection by what an autoencoder has not learnt",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={
        "layer-wise": detector("layer-wise"),
        "joint": detector("joint"),
        "pca": rival("PCA", pca),
        "forest": rival("isolation forest", forest),
        "pyod": rival("PyOD autoencoder", pyod),
    },
    extras={"pyod": "pyod"},
    arms=(
        "layer-wise, both",
        "layer-wise, error",
        "layer-wise, density",
        "joint, both",
        "joint, error",
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
    },
    conditions="normal class",
    drawings={
        "auroc": Drawing(
            "AUROC for each normal class and each arm, the mean over seeds; the thick mark is the mean over classes with its "
            "95 % interval over seeds.",
            draw_by_class,
        ),
        "heat": Drawing(
            "For each normal class a normal test image and an anomalous one, each that of the median score of the layer-wise "
            "detector, and where the error of its reconstruction lies: brightness is its root.",
            draw_heat,
        ),
    },
    options=more,
    smoke={"updates": 20},
    instead=detect,
    check=check,
)
