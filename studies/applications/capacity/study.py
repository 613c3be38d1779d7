"""At which width of the code does an autoencoder begin to copy its input, and which regularisers prevent it?

Claims: no claim of a paper is tested. A code as wide as the input can copy it; corruption (Vincent et al. 2010), sparsity (Ng
2011) and contraction (Rifai et al. 2011) are meant to prevent it.

Command: python -m studies.capacity --out results/capacity/mnist
Expected and cost: results/capacity/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from stacked.runtime.progress import each
from stacked.util.checks import need, wholes
from studies.applications.capacity.figures import answer, draw_filters, draw_widths
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy
from studies.record.reference import MOST_PCA_VALUES
from studies.record.samples import save_arrays
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.spec import RunSpec
    from stacked.training.codes import StoredInputs

    Function = Callable[[Tensor], Tensor]

WIDTHS = (1, 4, 16, 64, 256, 784, 1568)
#: standard deviation of the noise on test images
NOISE = 0.25
#: largest number of measured images, and of their bytes as float32; number of images whose codes are probed
IMAGES, MOST_BYTES, PROBED = 2000, 2**27, 5000
#: the regulariser of each arm, as fields of the optimisation
REGULARISERS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "masking": {"corruption": "masking", "corruption_level": (0.05,)},
    "noise": {"corruption": "gaussian", "corruption_level": (NOISE,)},
    "sparsity": {"penalties": {"l1": 0.3}},
    "contraction": {"penalties": {"contractive": 0.0003}},
}
#: number of units whose weights are shown
UNITS = 10
PCA = "PCA"
#: measures that are also given for the width nearest to the number of pixels
WIDE = ("denoised_fvu", "copied")
PROTOCOL = f"""\
- **Arms**: one dense stage from the pixels of {{data}} to a code of tanh units, with a linear decoder; Adam, learning rate 0.003
  with a cosine schedule, batches of 128, {{updates:,}} updates, {{limit:,}} training images. `plain`: no regulariser. `masking`:
  5 % of the pixels are masked. `noise`: Gaussian noise with a standard deviation of {NOISE}. `sparsity`: a penalty on the mean
  absolute value of the code, weight 0.3. `contraction`: a penalty on the squared norm of the Jacobian, summed over units, weight
  0.0003. All arms see the same number of images; the additional cost of a penalty is in the seconds but not in the GFLOP. `PCA`:
  as many principal components as the code has units, at most the number of pixels.
- **FVU**: fraction of variance unexplained of training images, of test images, and of test images with Gaussian noise of a
  standard deviation of {NOISE} (as in the arm `noise`) against the clean images; at most {IMAGES:,} images each. The noise is
  added only to pixels that vary in the training images: weights of constant pixels are never trained, so noise there would
  measure the initial weights.
- **Copied**: the fraction of that noise that remains in the reconstruction. It is 1 for a perfect copy. For a linear autoencoder,
  such as PCA, it is the trace of its matrix divided by the number of noisy pixels.
- **Probe**: accuracy on test images of ridge regression on standardised codes of {PROBED:,} training images. A wider code gives
  the probe more weights.
- **Settings chosen on validation images**: the activation and the learning rate, such that codes of 4 and 16 units come near to
  PCA with as many components (codes of logistic or ReLU units did not in 1,500 updates). Levels and weights were chosen by the
  FVU of noisy images at a width of 784 after 1,500 updates, with another seed, from masking of 3, 5, 10, 30, 50 and 70 %,
  sparsity weights of 0.001, 0.01, 0.03, 0.1, 0.3, 1, 3 and 10, and contraction weights of 0.0001, 0.0003, 0.001, 0.003 and 0.01.
  The best values at other widths may differ. Winner-take-all codes of 5, 30 and 70 % were tried and not used.
- **Chosen after seeing test results**: how copying is measured. A first record with logistic codes was stopped after one seed,
  because its codes of 1 to 16 units learnt nothing, and no code restored images with shuffled pixels. A second record was
  complete when PCA was added; this showed that its noise, which was on all pixels, measured weights that are never trained.
"""


def spec_of(regulariser: str, width: int, seed: int, updates: int) -> RunSpec:
    """Return the spec of one stage of a width, trained with a regulariser."""
    from stacked.spec import Budget, Optimisation, RunSpec, StackSpec

    return RunSpec(
        policy="joint",
        seed=seed,
        stack=StackSpec.of("dense", width, activation="tanh", output="linear"),
        budget=Budget(None, updates, "updates"),
        optimisation=replace(Optimisation(batch_size=128, lr=3e-3, schedule="cosine"), **REGULARISERS[regulariser]),
    )


def varied_noise(images: Tensor, training: Tensor, seed: int) -> Tensor:
    """Return `images` (floats) with Gaussian noise on the pixels that are not constant in the `training` images.

    The weights of constant pixels are never trained; noise on these pixels would measure the initial weights, not copying.
    """
    from stacked.components.corruption import gaussian
    from stacked.runtime.rng import generator

    varies = training.amax(0) != training.amin(0)
    return gaussian(images, NOISE, generator(seed, "denoising")).x.where(varies, images)


def fvu(restored: Tensor, images: Tensor) -> float:
    """Return the squared error of the reconstruction divided by the variance of `images`; NaN if all images are equal."""
    import torch

    from stacked.evaluation.evaluate import varies

    if not varies(images):
        return math.nan
    error = (restored - images).square().sum(dtype=torch.float64)
    return float(error / (images - images.mean(0)).square().sum(dtype=torch.float64))


def copied(gained: Tensor, noise: Tensor) -> float:
    """Return the fraction of the noise that remains in the reconstruction: 1 for a copy, 0 if the noise has no effect.

    gained: reconstruction of noisy images minus that of clean images. The result is its projection on the noise, divided by the
    squared norm of the noise. For a linear autoencoder this is the trace of its matrix divided by the number of noisy pixels
    (Efron's 1986 degrees of freedom, for each value). It is NaN without noise.
    """
    import torch

    return float((gained * noise).sum(dtype=torch.float64) / noise.square().sum(dtype=torch.float64))


def scored(
    context: Context, seed: int, arm: str, width: int, reconstruct: Function, encode: Callable[[StoredInputs], Tensor]
) -> list[Measurement]:
    """Return all measurements of a code of a width.

    reconstruct: function of float images. encode: function of images by index that returns codes.
    """
    import torch

    from stacked.evaluation.evaluate import spread
    from stacked.evaluation.probes import quick_probe
    from stacked.training.codes import StoredInputs

    splits = context.splits
    most = max(1, min(IMAGES, MOST_BYTES // (4 * splits.train.inputs[0].numel())))
    few = {
        name: part.inputs[spread(len(part), most)].float().div(255)
        for name, part in (("train", splits.train), ("test", splits.test))
    }
    noisy = varied_noise(few["test"], splits.train.inputs, seed)
    with torch.no_grad():
        restored = {name: reconstruct(images) for name, images in (few | {"noisy": noisy}).items()}
    found = {
        "train_fvu": fvu(restored["train"], few["train"]),
        "test_fvu": fvu(restored["test"], few["test"]),
        "denoised_fvu": fvu(restored["noisy"], few["test"]),
        "copied": copied(restored["noisy"] - restored["test"], noisy - few["test"]),
    }
    if splits.classes:
        train, test, rows = splits.train, splits.test, spread(len(splits.train), PROBED)
        # in double precision, because units are nearly linearly dependent if there are more units than pixels
        both = [
            encode(images).double() for images in (StoredInputs(train.inputs, rows=rows), StoredInputs(test.inputs))
        ]
        found["probe"] = 100 * quick_probe(both[0], train.labels[rows], both[1], test.labels)
    measurements = [Measurement(arm, str(width), measure, value) for measure, value in found.items()]
    if width == width_near_pixels(context):
        measurements += [Measurement(arm, "", f"wide_{measure}", found[measure]) for measure in WIDE]
    return measurements


def arm(regulariser: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures autoencoders of every width with a regulariser."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.evaluation.evaluate import codes
        from stacked.training.codes import StoredInputs
        from stacked.training.pretrain import pretrain
        from studies.applications.training import gflop_of

        splits, spent = context.splits, 0.0
        for width in each(widths(context), "widths"):
            spec = spec_of(regulariser, width, seed, context.given.updates)
            stack = pretrain(
                spec, StoredInputs(splits.train.inputs), splits.input_shape, device=context.given.device
            ).cpu()
            spent += gflop_of(spec, splits, len(splits.train))
            yield from scored(context, seed, regulariser, width, stack.reconstruct, partial(codes, stack, depth=1))
            if seed == 0 and width == width_near_pixels(context):
                weight = next(iter(stack.stages[0].encoder.parameters())).detach()
                few = weight[:: max(1, width // UNITS)][:UNITS]
                save_arrays(context.out, regulariser, {"filters": few.view(-1, *splits.input_shape), "width": width})
        yield Measurement(regulariser, "", "gflop", spent)

    return found


def components(context: Context, seed: int) -> Iterator[Measurement]:
    """Measure PCA with as many components as the code has units, if there are as many pixels and images."""
    import torch

    from stacked.evaluation.references import fitted_pca
    from stacked.util.chunks import chunks

    train = context.splits.train.inputs
    values = train[0].numel()
    need(
        values <= MOST_PCA_VALUES,
        f"PCA of images of {values:,} values takes too long (at most {MOST_PCA_VALUES:,}): leave out the method {PCA}, or give "
        "--image-size and --grey",
    )
    pca = fitted_pca(train, min(len(train), values))
    mean, axes = torch.from_numpy(pca.mean_).float(), torch.from_numpy(pca.components_).float()
    for width in each(widths(context), "widths"):
        if width > len(axes):
            continue
        first = axes[:width]

        def encode(images: StoredInputs, first: Tensor = first) -> Tensor:
            return torch.cat([(images(index).flatten(1) - mean) @ first.T for index in chunks(len(images), len(mean))])

        def reconstruct(x: Tensor, first: Tensor = first) -> Tensor:
            return ((x.flatten(1) - mean) @ first.T @ first + mean).view_as(x)

        yield from scored(context, seed, PCA, width, reconstruct, encode)


def widths(context: Context) -> list[int]:
    """Return the widths of --widths without duplicates."""
    return wholes(context.given.widths, "widths")


def width_near_pixels(context: Context) -> int:
    """Return the width that is nearest to the number of values of an image."""
    pixels = math.prod(context.splits.input_shape)
    return min(widths(context), key=lambda width: abs(width - pixels))


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.set_defaults(limit=10_000)
    command.add_argument("--updates", type=int, default=1500, metavar="N", help="updates of each autoencoder (1500)")
    command.add_argument(
        "--widths",
        type=int,
        nargs="+",
        default=list(WIDTHS),
        metavar="N",
        help=f"widths of the code ({' '.join(map(str, WIDTHS))})",
    )


STUDY = MeasurementStudy(
    name="capacity",
    title="At which width a code begins to copy its input",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={**{regulariser: arm(regulariser) for regulariser in REGULARISERS}, PCA: components},
    arms=(*REGULARISERS, PCA),
    measures={
        "wide_denoised_fvu": Measure("FVU of noisy images, as many units as pixels", "lower", decimals=4),
        "wide_copied": Measure("fraction of noise copied, as many units as pixels", "lower", decimals=4),
        "denoised_fvu": Measure("FVU of noisy images", "lower", decimals=4),
        "test_fvu": Measure("FVU of test images", "lower", decimals=4),
        "train_fvu": Measure("FVU of training images", "lower", decimals=4),
        "copied": Measure("fraction of noise copied", "lower", decimals=4),
        "probe": Measure("probe accuracy (%)", "higher", decimals=2),
    },
    conditions="width",
    drawings={
        "widths": Drawing(
            "Reconstruction, denoising and probe error by width of the code (lower is better), means over seeds with 95 % "
            "intervals. FVU: fraction of variance unexplained; for noisy images, of the clean images. The dotted line is the "
            "number of pixels.",
            draw_widths,
        ),
        "filters": Drawing(
            "Weights from the pixels to some units of the code, for one seed; each unit has its own scale, and grey is 0. "
            "Weights from constant pixels, at the border, keep their initial values unless a penalty shrinks them.",
            draw_filters,
        ),
    },
    varies="the initial weights, the data order, the corruption and the noise on test images",
    answer=answer,
    options=add_options,
    smoke={"updates": 20, "widths": [1, 16, 64, 80], "limit": 1000},
)
