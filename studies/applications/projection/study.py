"""How much of an image does a code of few values preserve: as a map, for nearest neighbours, and for reconstruction?

Claims: a code of 2 values of a deep autoencoder separates the digits better than two principal components (Hinton &
Salakhutdinov 2006, figure 3). Another baseline is t-SNE (van der Maaten & Hinton 2008), which cannot map new images.

Command: python -m studies.projection --out results/projection/mnist
On your own images: python -m studies.projection --data folder:PATH. The folder of the record then has map.html, map.csv and
encoders.
Expected and cost: results/projection/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stacked.runtime.progress import Bar, each
from stacked.util.checks import need, wholes
from studies.applications.projection.figures import draw_dimensions, draw_maps, draw_solid, page
from studies.applications.training import WAYS, train_stack
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
#: function of a dimension, a seed and the parsed command line that returns a spec
SpecOf = Callable[[int, int, argparse.Namespace], "RunSpec"]
#: widths of the stages before the code
WIDTHS = (512, 128)
DIMENSIONS = (2, 3, 4, 8, 16, 32, 64)
#: number of test images that are shown and whose neighbours are measured
SHOWN = 2000
#: numbers of neighbours of k-NN, and of trustworthiness
NEIGHBOURS, TRUSTED = 5, 12
#: perplexity of t-SNE
PERPLEXITY = 30
#: number of values of the code that t-SNE maps
TSNE_OF = 32
PROTOCOL = f"""\
- **Arms**: codes of every dimension. `PCA`: principal components. `linear`: a linear autoencoder with one stage. `layer-wise` and
  `joint`: a deep autoencoder, 784-512-128-code, with ReLU units and a linear code. `layer-wise` is grown with {{updates}} updates
  for each stage and then trained end to end with five times as many; `joint` is trained jointly with as many FLOPs. Adam,
  learning rate 0.001 with a cosine schedule, batches of 128. `linear` has six times {{updates}} updates and a learning rate of
  0.01.
- `t-SNE of pixels` and `t-SNE of the code` (of {TSNE_OF} values, trained layer-wise): scikit-learn's t-SNE in two dimensions,
  initialised with PCA, perplexity 30. It is fitted on the test images themselves; it cannot map other images or restore any. The
  FLOPs of the network whose code is mapped are included in those of `layer-wise`.
- **Trustworthiness** (Venna & Kaski 2001; {TRUSTED} neighbours): the degree to which neighbours in the code are also neighbours
  in pixel space. **k-NN**: accuracy of the class predicted by the {NEIGHBOURS} nearest other codes. Both are of {SHOWN:,} evenly
  spaced test images. **FVU**: squared error of the reconstruction divided by the variance, on all test images.
- Nothing was tuned except the learning rate of `linear`: of 0.001, 0.003 and 0.01, the last has the lowest error on validation
  images with 2, 16 and 64 dimensions (seed 0). Before that, it had been raised after seeing the error on test images.
"""


def base_spec(dimension: int, seed: int, given: argparse.Namespace) -> RunSpec:
    """Return the spec of a deep autoencoder with a code of `dimension` values."""
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
    """Return the spec of a linear autoencoder with one stage."""
    from dataclasses import replace

    from stacked.spec import StackSpec

    spec = base_spec(dimension, seed, given)
    stack = StackSpec.of("dense", dimension, activation="linear", output="linear")
    # its minimum is flat: with the learning rate of the other arms it would stay far from the minimum
    return replace(spec, stack=stack, optimisation=replace(spec.optimisation, lr=1e-2))


def shown(context: Context) -> tuple[Tensor, Tensor]:
    """Return the test images that are shown, and their labels."""
    from stacked.evaluation.evaluate import spread

    test = context.splits.test
    index = spread(len(test), SHOWN)
    return test.inputs[index], test.labels[index]


def scored(arm: str, points: Points, context: Context) -> Iterator[Measurement]:
    """Yield trustworthiness and k-NN accuracy of points [N, D], one for each shown image."""
    from sklearn.manifold import trustworthiness

    images, labels = shown(context)
    name, pixel_distances = str(points.shape[1]), distances(images)
    trusted = float(trustworthiness(pixel_distances, points, n_neighbors=TRUSTED, metric="precomputed"))
    yield Measurement(arm, name, "trustworthiness", trusted)
    if context.splits.classes:
        yield Measurement(arm, name, "knn", 100 * neighbours_agree(points, labels.numpy()))


def distances(images: Tensor) -> Points:
    """Return Euclidean distances [N, N] between the pixels of uint8 images."""
    from sklearn.metrics import pairwise_distances

    from stacked.evaluation.references import as_rows
    from stacked.util.chunks import chunks

    parts = chunks(len(images), images[0].numel())
    found = np.empty((len(images), len(images)))
    for some in each(parts, "distances", "parts"):
        rows = as_rows(images[some])
        for others in parts:
            found[np.ix_(some.numpy(), others.numpy())] = pairwise_distances(rows, as_rows(images[others]))
    return found


def neighbours_agree(points: Points, labels: NDArray[np.int64]) -> float:
    """Return the fraction of points whose nearest neighbours have the same label, by majority vote."""
    from scipy.stats import mode
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points).kneighbors(return_distance=False)
    return float((mode(labels[near], axis=1).mode == labels).mean())


def save_maps(context: Context, arm: str, maps: dict[int, Points]) -> None:
    """Save the codes of an arm with 2 or 3 dimensions, and the shown images with their labels."""
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
    """Return the dimensions of --dimensions without duplicates."""
    return wholes(context.given.dimensions, "dimensions", 1, context.splits.train.inputs[0].numel())


def network(arm: str, way: str, of: SpecOf) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures codes of autoencoders, trained in a `way`; those of the first seed are saved.

    of: function that returns the spec of a dimension.
    """

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.evaluation.evaluate import codes, reconstruction

        spent, maps = 0.0, {}
        for size in each(sizes(context), "dimensions"):
            made = train_stack(context, of(size, seed, context.given), way)
            spent += made.gflop
            maps[size] = codes(made.stack, shown(context)[0], made.stack.depth).double().numpy()
            yield from scored(arm, maps[size], context)
            yield Measurement(arm, str(size), "fvu", reconstruction(made.stack, context.splits.test.inputs).fvu)
        yield Measurement(arm, "", "gflop", spent)
        if seed == 0:
            save_maps(context, arm, maps)

    return found


def check(context: Context, methods: Sequence[str]) -> None:
    """Raise InputError if there are too few images for neighbours, t-SNE or PCA, or too many values for PCA."""
    count, train = len(shown(context)[0]), context.splits.train.inputs
    least = 2 * TRUSTED + 1
    need(
        count >= least,
        f"{count} test images are too few to measure {TRUSTED} neighbours of each: give data with {least} or more",
    )
    need(
        count > PERPLEXITY or not {"tsne-code", "tsne-pixels"} & set(methods),
        f"{count} test images are too few for t-SNE with a perplexity of {PERPLEXITY}: give data with {PERPLEXITY + 1} or more, "
        "or leave out the methods tsne-code and tsne-pixels",
    )
    if "pca" in methods:
        check_pca_values(train)
        need(
            max(sizes(context)) <= len(train),
            f"PCA with {max(sizes(context))} components needs as many training images, but there are {len(train)}: give smaller "
            "--dimensions, or leave out the method pca",
        )


def pca(context: Context, seed: int) -> Iterator[Measurement]:
    """Measure PCA."""
    from stacked.evaluation.references import Components, as_rows, fitted_pca, row_errors

    train, test = context.splits.train.inputs, context.splits.test.inputs
    check_pca_values(train)
    model = fitted_pca(train, max(sizes(context)))
    points = model.transform(as_rows(shown(context)[0]))
    for size in each(sizes(context), "dimensions"):
        yield from scored("PCA", points[:, :size], context)
        first = Components(model.mean_, model.components_[:size])
        yield Measurement("PCA", str(size), "fvu", row_errors(test, first.restored).fvu)
    if seed == 0:
        save_maps(context, "PCA", {size: points[:, :size] for size in sizes(context)})


def check_pca_values(images: Tensor) -> None:
    """Raise InputError if PCA of the images would take too long."""
    values = images[0].numel()
    need(
        values <= MOST_PCA_VALUES,
        f"PCA of images of {values:,} values takes too long (at most {MOST_PCA_VALUES:,}): leave out the method pca, or give "
        "--image-size and --grey",
    )


def tsne(arm: str, of: Callable[[Context, int], NDArray[Any]]) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures a t-SNE map of the rows that `of` returns."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from sklearn.manifold import TSNE

        values = of(context, seed)
        with Bar("t-SNE", None):
            points = (
                TSNE(2, perplexity=PERPLEXITY, init="pca", random_state=seed)
                .fit_transform(values.astype(np.float32))
                .astype(np.float64)
            )
        yield from scored(arm, points, context)
        if seed == 0:
            save_maps(context, arm, {2: points})

    return found


def pixels(context: Context, seed: int) -> NDArray[np.float32]:
    """Return the pixels of the shown images as rows."""
    import torch

    from stacked.evaluation.references import as_rows

    return as_rows(shown(context)[0], torch.float32)


def layer_wise_codes(context: Context, seed: int) -> Points:
    """Return the codes of the shown images by an autoencoder that is trained layer-wise."""
    from stacked.evaluation.evaluate import codes

    made = train_stack(context, base_spec(TSNE_OF, seed, context.given), "layer-wise")
    return codes(made.stack, shown(context)[0], made.stack.depth).double().numpy()


def map_folder(context: Context) -> int | None:
    """If the images have no classes, write a map of all images and return the exit code; else return None."""
    from studies.applications.projection.embed_folder import map_all

    if context.splits.classes:
        return None
    return map_all(context, [base_spec(size, 0, context.given) for size in sizes(context) if size in (2, 3)])


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.add_argument(
        "--updates",
        type=int,
        default=800,
        metavar="N",
        help="updates of each stage, and five times as many end to end (800)",
    )
    command.add_argument(
        "--dimensions",
        type=int,
        nargs="+",
        default=list(DIMENSIONS),
        metavar="N",
        help="dimensions of the codes (2 3 4 8 16 32 64)",
    )


STUDY = MeasurementStudy(
    name="projection",
    title="Images as codes of a few values",
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
            f"{SHOWN:,} test images in two dimensions (seed 0), coloured by class. The name of each class is near the median "
            "of its images; outliers are not shown.",
            draw_maps,
        ),
        "dimensions": Drawing(
            "k-NN accuracy and trustworthiness (higher is better) and FVU (lower is better) by dimension of the code, means over "
            "seeds with 95 % intervals; t-SNE only in two dimensions.",
            draw_dimensions,
        ),
        "solid": Drawing("The same images in three dimensions.", draw_solid),
    },
    files={"map.html": page},
    options=add_options,
    smoke={"updates": 20, "dimensions": [2, 3]},
    instead=map_folder,
    check=check,
)
