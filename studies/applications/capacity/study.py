"""At which width does an autoencoder cease to learn and begin to copy, and what keeps it from that?

Claims: none of a paper's is held beside the rows. A code as wide as the input can copy it, and corruption (Vincent et al.
2010), sparsity (Ng 2011) or contraction (Rifai et al. 2011) are said to keep it from that.

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
    from stacked.training.codes import Images

    Function = Callable[[Tensor], Tensor]

WIDTHS = (1, 4, 16, 64, 256, 784, 1568)
#: standard deviation of the noise that is to be removed
NOISE = 0.25
#: images that are measured, at most, and bytes of them as float32; images whose codes are probed
IMAGES, MOST_BYTES, PROBED = 2000, 2**27, 5000
#: what keeps from copying: fields of the optimisation
CURES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "masking": {"corruption": "masking", "corruption_level": (0.05,)},
    "noise": {"corruption": "gaussian", "corruption_level": (NOISE,)},
    "sparsity": {"penalties": {"l1": 0.3}},
    "contraction": {"penalties": {"contractive": 0.0003}},
}
#: units whose weights are shown
UNITS = 10
PCA = "PCA"
#: what is told of the width that is nearest to the number of pixels
WIDE = ("denoised_fvu", "copied")
PROTOCOL = f"""\
- **Arms**: one dense stage from the pixels of {{data}} to a code of hyperbolic tangents, and linearly back, Adam, learning rate
  0.003 with a cosine schedule, batches of 128, {{updates:,}} updates, on {{limit:,}} training images. `plain` has nothing else.
  `masking`: 5 % of the pixels are masked. `noise`: Gaussian noise of a standard deviation of {NOISE}. `sparsity`: the mean
  absolute value of the code, weight 0.3. `contraction`: the squared norm of the Jacobian, a sum over units, weight 0.0003.
  Arms see as many images; what a penalty costs besides is in the seconds and not in the GFLOP. `PCA`: as many principal
  components, of which there are no more than pixels.
- **FVU**, the fraction of variance unexplained, of: training images; test images; test images with Gaussian noise of a standard
  deviation of {NOISE}, which is that of `noise`, against the clean ones. Of {IMAGES:,} images each at most. The noise is on the
  pixels that vary in training images: weights from the others never learn, and would tell of how they were drawn.
- **Copied**: the share of that noise which the reconstruction still has: 1 of what copies, and of a linear autoencoder, such as
  PCA, the trace of its matrix over the number of noisy pixels.
- **Probe**: accuracy on test images of ridge regression on standardised codes of {PROBED:,} training images. A wider code gives
  it more weights.
- **Chosen** on validation images: activations and the learning rate, so that codes of 4 and 16 come near to what as many
  principal components do (logistic or rectified codes did not, in 1,500 updates); levels and weights, by the FVU of noisy images
  at a width of 784, in 1,500 updates, with another seed, of masking of 3, 5, 10, 30, 50 and 70 %, of weights of 0.001, 0.01,
  0.03, 0.1, 0.3, 1, 3 and 10 for sparsity, and of 0.0001, 0.0003, 0.001, 0.003 and 0.01 for contraction. What is best there need
  not be at other widths. Winner-take-all codes of 5, 30 and 70 % were tried and left.
- On **test** images was chosen how copying is measured: a first record, of logistic codes, was stopped after one seed, in which
  codes of 1 to 16 had learnt nothing, and none restored images whose pixels were shuffled; a second was whole when a reader
  asked for PCA beside it, and found that its noise, on all pixels, told of weights that never learn.
"""


def spec_of(cure: str, width: int, seed: int, updates: int) -> RunSpec:
    """One stage of that width, trained with a cure."""
    from stacked.spec import Budget, Optimisation, RunSpec, StackSpec

    return RunSpec(
        policy="joint",
        seed=seed,
        stack=StackSpec.of("dense", width, activation="tanh", output="linear"),
        budget=Budget(None, updates, "updates"),
        optimisation=replace(Optimisation(batch_size=128, lr=3e-3, schedule="cosine"), **CURES[cure]),
    )


def varied_noise(images: Tensor, training: Tensor, seed: int) -> Tensor:
    """Floats `images` with noise on the pixels that are not the same in all `training` images.

    A pixel that never varies teaches its weights nothing: noise on it would tell of how they were drawn, not of copying.
    """
    from stacked.components.corruption import gaussian
    from stacked.runtime.rng import generator

    varies = training.amax(0) != training.amin(0)
    return gaussian(images, NOISE, generator(seed, "denoising")).x.where(varies, images)


def fvu(restored: Tensor, images: Tensor) -> float:
    """Squared error of the reconstruction against `images`, over the variance of these; NaN where they do not differ."""
    import torch

    from stacked.evaluation.evaluate import varies

    if not varies(images):
        return math.nan
    error = (restored - images).square().sum(dtype=torch.float64)
    return float(error / (images - images.mean(0)).square().sum(dtype=torch.float64))


def copied(gained: Tensor, noise: Tensor) -> float:
    """The share of the noise that the reconstruction still has: 1 of one that copies, 0 of one that does not see it.

    gained: what the reconstruction of noisy images has more than that of clean ones. The mean of it along the noise, over the
    square of that: of a linear autoencoder the trace of its matrix over the number of noisy pixels (what Efron 1986 calls
    degrees of freedom, a value). NaN where there is no noise.
    """
    import torch

    return float((gained * noise).sum(dtype=torch.float64) / noise.square().sum(dtype=torch.float64))


def scored(
    context: Context, seed: int, arm: str, width: int, reconstruct: Function, encode: Callable[[Images], Tensor]
) -> list[Measurement]:
    """All that is measured of a code of some width; `encode` takes images by index, `reconstruct` as floats."""
    import torch

    from stacked.evaluation.evaluate import quick_probe, spread
    from stacked.training.codes import Images

    splits = context.splits
    most = max(1, min(IMAGES, MOST_BYTES // (4 * splits.train.images[0].numel())))
    few = {
        name: part.images[spread(len(part), most)].float().div(255)
        for name, part in (("train", splits.train), ("test", splits.test))
    }
    noisy = varied_noise(few["test"], splits.train.images, seed)
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
        # in double precision, as the codes of more units than pixels are nearly dependent
        both = [encode(images).double() for images in (Images(train.images, rows=rows), Images(test.images))]
        found["probe"] = 100 * quick_probe(both[0], train.labels[rows], both[1], test.labels)
    told = [Measurement(arm, str(width), measure, value) for measure, value in found.items()]
    if width == as_wide(context):
        told += [Measurement(arm, "", f"wide_{measure}", found[measure]) for measure in WIDE]
    return told


def arm(cure: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """Autoencoders of every width, with a cure."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.evaluation.evaluate import codes
        from stacked.training.codes import Images
        from stacked.training.pretrain import pretrain
        from studies.applications.training import gflop_of

        splits, spent = context.splits, 0.0
        for width in widths(context):
            spec = spec_of(cure, width, seed, context.given.updates)
            stack = pretrain(spec, Images(splits.train.images), splits.image_shape, device=context.given.device).cpu()
            spent += gflop_of(spec, splits, len(splits.train))
            yield from scored(context, seed, cure, width, stack.reconstruct, partial(codes, stack, depth=1))
            if seed == 0 and width == as_wide(context):
                weight = next(iter(stack.stages[0].encoder.parameters())).detach()
                few = weight[:: max(1, width // UNITS)][:UNITS]
                save_arrays(context.out, cure, {"filters": few.view(-1, *splits.image_shape), "width": width})
        yield Measurement(cure, "", "gflop", spent)

    return found


def components(context: Context, seed: int) -> Iterator[Measurement]:
    """As many principal components, of which there are no more than pixels or images."""
    import torch

    from stacked.evaluation.evaluate import fitted_pca
    from stacked.util.chunks import chunks

    train = context.splits.train.images
    values = train[0].numel()
    need(
        values <= MOST_PCA_VALUES,
        f"images of {values:,} values have too many for PCA: leave out the method {PCA}, or give --image-size and --grey",
    )
    pca = fitted_pca(train, min(len(train), values))
    mean, axes = torch.from_numpy(pca.mean_).float(), torch.from_numpy(pca.components_).float()
    for width in widths(context):
        if width > len(axes):
            continue
        first = axes[:width]

        def encode(images: Images, first: Tensor = first) -> Tensor:
            return torch.cat([(images(index).flatten(1) - mean) @ first.T for index in chunks(len(images), len(mean))])

        def reconstruct(x: Tensor, first: Tensor = first) -> Tensor:
            return ((x.flatten(1) - mean) @ first.T @ first + mean).view_as(x)

        yield from scored(context, seed, PCA, width, reconstruct, encode)


def widths(context: Context) -> list[int]:
    """The widths asked for, each once."""
    return wholes(context.given.widths, "widths")


def as_wide(context: Context) -> int:
    """Of the widths that which is nearest to the number of pixels."""
    pixels = math.prod(context.splits.image_shape)
    return min(widths(context), key=lambda width: abs(width - pixels))


def more(command: argparse.ArgumentParser) -> None:
    """Options of this study."""
    command.set_defaults(limit=10_000)
    command.add_argument("--updates", type=int, default=1500, metavar="N", help="of each autoencoder (1500)")
    command.add_argument(
        "--widths",
        type=int,
        nargs="+",
        default=list(WIDTHS),
        metavar="N",
        help=f"of the code ({' '.join(map(str, WIDTHS))})",
    )


STUDY = MeasurementStudy(
    name="capacity",
    title="How wide a code may be before it copies",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={**{cure: arm(cure) for cure in CURES}, PCA: components},
    arms=(*CURES, PCA),
    measures={
        "wide_denoised_fvu": Measure("FVU of noisy images, as many units as pixels", "lower", decimals=4),
        "wide_copied": Measure("share of the noise copied, as many units as pixels", "lower", decimals=4),
        "denoised_fvu": Measure("FVU of noisy images", "lower", decimals=4),
        "test_fvu": Measure("FVU of test images", "lower", decimals=4),
        "train_fvu": Measure("FVU of training images", "lower", decimals=4),
        "copied": Measure("share of the noise that is copied", "lower", decimals=4),
        "probe": Measure("probe accuracy (%)", "higher", decimals=2),
    },
    conditions="width",
    drawings={
        "widths": Drawing(
            "What codes of growing width restore and can be used for, means over seeds with 95 % intervals. FVU: fraction of "
            "variance unexplained, of noisy images against the clean ones. The dotted line is the number of pixels.",
            draw_widths,
        ),
        "filters": Drawing(
            "Weights from the pixels to some units of the code, of one seed, each scaled for itself; grey is 0. Those from "
            "pixels that never vary, at the border, stay as they were drawn, but where a penalty shrinks them.",
            draw_filters,
        ),
    },
    varies="initial weights, data order, corruption, and the noise on test images",
    answer=answer,
    options=more,
    smoke={"updates": 20, "widths": [1, 16, 64, 80], "limit": 1000},
)
