"""What of images does a code of few values keep: as a map of them, for their nearest neighbours, and for restoring them?

Claims: a deep autoencoder's code of 2 separates the digits better than two principal components (Hinton & Salakhutdinov 2006,
figure 3). Beside them is t-SNE (van der Maaten & Hinton 2008), which only places what it has seen.

Command: python -m studies.projection --out results/projection/mnist
On images of one's own: python -m studies.projection --data folder:PATH; the record's folder then has map.html, map.csv and
encoders.
Expected and cost: results/projection/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stacked.util.checks import need, wholes
from studies.applications.projection.figures import draw_dimensions, draw_maps, draw_solid, page
from studies.applications.training import WAYS, trained
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy
from studies.record.reference import MOST_PCA_VALUES
from studies.record.samples import save_arrays
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.spec import RunSpec

Points = NDArray[np.float64]
#: a spec of a dimension, a seed, and the values of the command line
SpecOf = Callable[[int, int, argparse.Namespace], "RunSpec"]
#: below the code
WIDTHS = (512, 128)
DIMENSIONS = (2, 3, 4, 8, 16, 32, 64)
#: test images that are shown, and whose neighbours are looked at
SHOWN = 2000
NEIGHBOURS, TRUSTED = 5, 12
#: of t-SNE
PERPLEXITY = 30
#: values of the code that t-SNE makes a map of
TSNE_OF = 32
PROTOCOL = f"""\
- **Arms**: codes of every dimension of `PCA`; of a `linear` autoencoder of one stage; and of a deep one, 784-512-128-code with
  rectifiers and a linear code, grown `layer-wise`, {{updates}} updates a stage and then five times as many end to end, or trained
  `joint`ly with as many FLOPs. Adam, learning rate 0.001 with a cosine schedule, batches of 128; the linear one has six times
  {{updates}} updates, at a rate of 0.01.
- `t-SNE of pixels` and `t-SNE of the code` (layer-wise, of {TSNE_OF}) are scikit-learn's, in two dimensions, begun from PCA,
  perplexity 30: they place the test images themselves and cannot place others, nor restore any. The FLOPs of the network whose
  code it is are among those of `layer-wise`.
- **Trustworthiness** (Venna & Kaski 2001; {TRUSTED} neighbours): how rarely neighbours in the code are none among the pixels.
  **k-NN**: how often the {NEIGHBOURS} nearest other codes name the class of an image. Both of {SHOWN:,} test images, evenly
  spread.
  **FVU**: squared error of the reconstruction over the variance, of all test images.
- Nothing was tuned, but for the linear one's rate: of 0.001, 0.003 and 0.01 the last has the least error on validation images at
  2, 16 and 64 dimensions (seed 0). It had first been raised after a look at the error on test images.
"""


def base_spec(dimension: int, seed: int, given: argparse.Namespace) -> RunSpec:
    """A deep autoencoder with a code of so many values."""
    from stacked.spec import Budget, Optimisation, RunSpec, StackSpec

    stages = *StackSpec.of("dense", *WIDTHS).stages, *StackSpec.of("dense", dimension, activation="linear").stages
    return RunSpec(
        policy="greedy+finetune",
        seed=seed,
        stack=StackSpec(stages),
        budget=Budget((given.updates,), 5 * given.updates, "updates"),
        optimisation=Optimisation(batch_size=128, schedule="cosine"),
    )


def linear_spec(dimension: int, seed: int, given: argparse.Namespace) -> RunSpec:
    """A linear autoencoder of one stage."""
    from dataclasses import replace

    from stacked.spec import StackSpec

    spec = base_spec(dimension, seed, given)
    stack = StackSpec.of("dense", dimension, activation="linear", output="linear")
    # its minimum is flat: with the others' rate it would stay far from it
    return replace(spec, stack=stack, optimisation=replace(spec.optimisation, lr=1e-2))


def shown(context: Context) -> tuple[Tensor, Tensor]:
    """The test images that are shown, and their labels."""
    from stacked.evaluation.evaluate import spread

    test = context.splits.test
    index = spread(len(test), SHOWN)
    return test.images[index], test.labels[index]


def scored(arm: str, points: Points, context: Context) -> Iterator[Measurement]:
    """What the neighbours of points, a row for each image that is shown, are worth."""
    from sklearn.manifold import trustworthiness

    images, labels = shown(context)
    name, apart = str(points.shape[1]), distances(images)
    trusted = float(trustworthiness(apart, points, n_neighbors=TRUSTED, metric="precomputed"))
    yield Measurement(arm, name, "trustworthiness", trusted)
    if context.splits.classes:
        yield Measurement(arm, name, "knn", 100 * neighbours_agree(points, labels.numpy()))


def distances(images: Tensor) -> Points:
    """Euclidean distances [N, N] between the pixels of uint8 images."""
    from sklearn.metrics import pairwise_distances

    from stacked.evaluation.evaluate import as_rows
    from stacked.util.chunks import chunks

    parts = chunks(len(images), images[0].numel())
    found = np.empty((len(images), len(images)))
    for some in parts:
        rows = as_rows(images[some])
        for others in parts:
            found[np.ix_(some.numpy(), others.numpy())] = pairwise_distances(rows, as_rows(images[others]))
    return found


def neighbours_agree(points: Points, labels: NDArray[np.int64]) -> float:
    """The share of points whose nearest others, by a vote, have their label."""
    from scipy.stats import mode
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points).kneighbors(return_distance=False)
    return float((mode(labels[near], axis=1).mode == labels).mean())


def keep_maps(context: Context, arm: str, maps: dict[int, Points]) -> None:
    """Keep what can be drawn of an arm's codes, and what it is of."""
    images, labels = shown(context)
    drawn = {f"points_{size}": points.astype(np.float32) for size, points in maps.items() if size <= 3}
    if drawn:
        save_arrays(context.out, arm, drawn)
        save_arrays(
            context.out,
            "images",
            {"images": images, "labels": labels, "classes": np.array(context.splits.classes, "U")},
        )


def sizes(context: Context) -> list[int]:
    """The dimensions asked for, each once."""
    return wholes(context.given.dimensions, "dimensions", 1, context.splits.train.images[0].numel())


def network(arm: str, way: str, of: SpecOf) -> Callable[[Context, int], Iterator[Measurement]]:
    """Codes of autoencoders that are trained in a way; with the first seed they are kept to be drawn."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.evaluation.evaluate import codes, reconstruction

        spent, maps = 0.0, {}
        for size in sizes(context):
            made = trained(context, of(size, seed, context.given), way)
            spent += made.gflop
            maps[size] = codes(made.stack, shown(context)[0], made.stack.depth).double().numpy()
            yield from scored(arm, maps[size], context)
            yield Measurement(arm, str(size), "fvu", reconstruction(made.stack, context.splits.test.images).fvu)
        yield Measurement(arm, "", "gflop", spent)
        if seed == 0:
            keep_maps(context, arm, maps)

    return found


def check(context: Context, methods: Sequence[str]) -> None:
    """Raise InputError where there are too few images for neighbours, t-SNE or principal components, or too many values."""
    count, train = len(shown(context)[0]), context.splits.train.images
    least = 2 * TRUSTED + 1
    need(
        count >= least,
        f"{count} test images are too few, since {TRUSTED} neighbours of each are looked at: give data with {least} or more",
    )
    need(
        count > PERPLEXITY or not {"tsne-code", "tsne-pixels"} & set(methods),
        f"{count} test images are too few for t-SNE with a perplexity of {PERPLEXITY}: give data with {PERPLEXITY + 1} or more, "
        "or leave out the methods tsne-code and tsne-pixels",
    )
    if "pca" in methods:
        few_enough(train)
        need(
            max(sizes(context)) <= len(train),
            f"PCA of {max(sizes(context))} components needs as many training images, and there are {len(train)}: give fewer "
            "--dimensions, or leave out the method pca",
        )


def pca(context: Context, seed: int) -> Iterator[Measurement]:
    """Principal components."""
    from stacked.evaluation.evaluate import Components, as_rows, fitted_pca, row_errors

    train, test = context.splits.train.images, context.splits.test.images
    few_enough(train)
    model = fitted_pca(train, max(sizes(context)))
    points = model.transform(as_rows(shown(context)[0]))
    for size in sizes(context):
        yield from scored("PCA", points[:, :size], context)
        first = Components(model.mean_, model.components_[:size])
        yield Measurement("PCA", str(size), "fvu", row_errors(test, first.restored).fvu)
    if seed == 0:
        keep_maps(context, "PCA", {size: points[:, :size] for size in sizes(context)})


def few_enough(images: Tensor) -> None:
    """Raise InputError where principal components would take too long."""
    values = images[0].numel()
    need(
        values <= MOST_PCA_VALUES,
        f"images of {values:,} values have too many for PCA: leave out the method pca, or give --image-size and --grey",
    )


def tsne(arm: str, of: Callable[[Context, int], NDArray[Any]]) -> Callable[[Context, int], Iterator[Measurement]]:
    """A map that t-SNE makes of what `of` gives."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from sklearn.manifold import TSNE

        values = of(context, seed)
        points = (
            TSNE(2, perplexity=PERPLEXITY, init="pca", random_state=seed)
            .fit_transform(values.astype(np.float32))
            .astype(np.float64)
        )
        yield from scored(arm, points, context)
        if seed == 0:
            keep_maps(context, arm, {2: points})

    return found


def pixels(context: Context, seed: int) -> NDArray[np.float32]:
    """The images that are shown, as they are."""
    import torch

    from stacked.evaluation.evaluate import as_rows

    return as_rows(shown(context)[0], torch.float32)


def layer_wise_codes(context: Context, seed: int) -> Points:
    """Their codes, of an autoencoder that is grown layer-wise."""
    from stacked.evaluation.evaluate import codes

    made = trained(context, base_spec(TSNE_OF, seed, context.given), "layer-wise")
    return codes(made.stack, shown(context)[0], made.stack.depth).double().numpy()


def map_own(context: Context) -> int | None:
    """Of images without classes: a map of all of them; returns the exit code."""
    from studies.applications.projection.embed_folder import map_all

    if context.splits.classes:
        return None
    return map_all(context, [base_spec(size, 0, context.given) for size in sizes(context) if size in (2, 3)])


def more(command: argparse.ArgumentParser) -> None:
    """Options of this study."""
    command.add_argument(
        "--updates", type=int, default=800, metavar="N", help="of each stage; five times as many end to end (800)"
    )
    command.add_argument(
        "--dimensions",
        type=int,
        nargs="+",
        default=list(DIMENSIONS),
        metavar="N",
        help="of the codes (2 3 4 8 16 32 64)",
    )


STUDY = MeasurementStudy(
    name="projection",
    title="Images as a few numbers",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={
        **{way: network(way, way, base_spec) for way in WAYS},
        "linear": network("linear", "joint", linear_spec),
        "pca": pca,
        "tsne-code": tsne("t-SNE of the code", layer_wise_codes),
        "tsne-pixels": tsne("t-SNE of pixels", pixels),
    },
    arms=(*WAYS, "linear", "PCA", "t-SNE of the code", "t-SNE of pixels"),
    measures={
        "knn": Measure("k-NN accuracy (%)", "higher", decimals=2),
        "trustworthiness": Measure("trustworthiness", "higher", decimals=4),
        "fvu": Measure("FVU", "lower", decimals=4),
    },
    conditions="dimensions",
    drawings={
        "maps": Drawing(
            f"{SHOWN:,} test images in two dimensions (seed 0), each in its class's colour, the class named at the median of its "
            "images; the farthest are cut off.",
            draw_maps,
        ),
        "dimensions": Drawing(
            "What codes keep by their dimension, means over seeds with 95 % intervals; t-SNE in two dimensions alone.",
            draw_dimensions,
        ),
        "solid": Drawing("The same images in three dimensions.", draw_solid),
    },
    files={"map.html": page},
    options=more,
    smoke={"updates": 20, "dimensions": [2, 3]},
    instead=map_own,
    check=check,
)
