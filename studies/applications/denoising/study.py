"""Does an autoencoder that was trained to restore images denoise better than filters?

Claims: no claim of a paper is tested. The baselines are median filters, non-local means (Buades, Coll & Morel 2005), total
variation (Chambolle 2004) and PCA; their parameters are chosen for each noise on validation images.

Command: python -m studies.denoising --out results/denoising/mnist
On your own images: python -m studies.denoising --data folder:CLEAN --noisy folder:NOISY [--corruption gaussian --level 0.25]
[--own-size]
Expected and cost: results/denoising/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stacked.runtime.progress import Bar, each
from stacked.util.checks import need
from studies.applications.denoising.figures import draw_images, draw_levels
from studies.applications.quality import quality
from studies.applications.training import WAYS, equal_flops_spec
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy
from studies.record.reference import MOST_PCA_VALUES
from studies.record.samples import save_arrays
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.spec import RunSpec

#: levels of each corruption; networks are trained with the middle one
NOISES = {
    "gaussian": (0.1, 0.25, 0.5),
    "salt-and-pepper": (0.1, 0.2, 0.4),
    "masking": (0.15, 0.3, 0.6),
}
#: number of test images, and of validation images on which filters are tuned
IMAGES, TUNED_ON = 500, 100
#: the noise of the networks that are tested on all noises
ALONE = "gaussian"
#: numbers of components of PCA
COMPONENTS = (4, 8, 16, 32, 64, 128, 256)
PROTOCOL = f"""\
- **Task**: {IMAGES} evenly spaced test images are corrupted by Gaussian noise, by salt-and-pepper noise on a fraction of the
  pixels, or by masking, which sets a fraction of the pixels to 0 (the range of a pixel is 1). A method gets only the corrupted
  images. The measures are the mean PSNR and SSIM (Wang et al. 2004) against the clean images; restored images are clipped to the
  range first.
- **Arms**: `layer-wise` and `joint` are `stacked.Denoiser` with two convolutional stages (32 and 64 channels). `layer-wise` is
  grown stage by stage with {{updates}} updates each and then trained end to end with three times as many; `joint` is trained
  jointly with as many FLOPs. Adam, learning rate 0.001 with a cosine schedule, batches of 64. There is one network for each kind
  of noise, trained with the middle one of its three levels; it is not trained with the other two. While a stage is grown, the
  code that it reads is corrupted in the same way. `..., {ALONE} alone`: the network that was trained with Gaussian noise, tested
  on all kinds of noise. FLOPs and seconds are those of all three networks.
- **Filters**: SciPy's median filter (side 3 or 5), scikit-image's non-local means (patches of 3 or 5, six strengths) and total
  variation (six weights), and PCA (seven numbers of components). For each noise, the filter with the best PSNR on {TUNED_ON}
  validation images with the same noise is used. Hence filters are given the kind and level of the noise, and use clean images
  for their choice.
- `noisy`: the corrupted images themselves. No choice was made on test images. Widths and updates of the networks were not tuned.
"""


class Noise(NamedTuple):
    """A corruption with a level."""

    kind: str
    level: float

    @property
    def name(self) -> str:
        """The name in tables, as "gaussian 0.25"."""
        return f"{self.kind} {self.level:g}"

    def on(self, images: Tensor, seed: int, what: str) -> Tensor:
        """Return uint8 images [N, C, H, W] as corrupted floats; the noise depends on the seed and `what` the images are."""
        from stacked.components.corruption import corrupt
        from stacked.runtime.rng import generator

        draw = generator(seed, f"{what} noise {self.name}")
        return corrupt(self.kind, images.float().div(255), (self.level,), draw, 1).x


ALL = [Noise(kind, level) for kind, levels in NOISES.items() for level in levels]


def base_spec(given: argparse.Namespace, seed: int) -> RunSpec:
    """Return the default spec of the denoiser with the seed and the number of updates."""
    from stacked.apps.denoise import default_spec
    from stacked.spec import Budget

    return replace(default_spec(), seed=seed, budget=Budget((given.updates,), 3 * given.updates, "updates"))


def measured_images(context: Context) -> Tensor:
    """Return the test images that are corrupted."""
    from stacked.evaluation.evaluate import spread

    images = context.splits.test.inputs
    return images[spread(len(images), IMAGES)]


Restore = Mapping[str, Callable[["Tensor"], "Tensor"]]


def scored(arm: str, restore: Restore, context: Context, seed: int) -> Iterator[Measurement]:
    """Yield PSNR and SSIM of an arm for each noise; for the first seed, save one restored image of each.

    restore: the function that restores images, by the name of the noise.
    """
    import torch

    images, shown = measured_images(context), []
    for number, noise in enumerate(each(ALL, "test images with noise", "kinds")):
        restored = restore[noise.name](noise.on(images, seed, "test"))
        for measure, value in quality(restored, images).items():
            yield Measurement(arm, noise.name, measure, value)
        shown.append(restored[number % len(images)].clamp(0, 1).mul(255).round().to(torch.uint8))
    if seed == 0:
        save_arrays(context.out, arm, {"images": torch.stack(shown)})
        save_arrays(context.out, "clean", {"images": images[torch.arange(len(ALL)) % len(images)]})


def network(way: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures `stacked.Denoiser`, one for each kind of noise, trained in a `way`."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.apps.denoise import Denoiser

        train, made, spent = context.splits.train.inputs, {}, 0.0
        for kind, levels in each(NOISES.items(), "networks"):
            spec, gflop = equal_flops_spec(base_spec(context.given, seed), way, context.splits, len(train))
            middle = levels[len(levels) // 2]
            made[kind] = Denoiser(spec, corruption=kind, level=middle, device=context.given.device).fit(train)
            spent += gflop
        for arm, restore in (
            (way, {noise.name: made[noise.kind].denoise for noise in ALL}),
            (f"{way}, {ALONE} alone", {noise.name: made[ALONE].denoise for noise in ALL}),
        ):
            yield from scored(arm, restore, context, seed)
            yield Measurement(arm, "", "gflop", spent)

    return found


Filter = Callable[["Tensor"], "Tensor"]


def best_filter(
    arm: str, filters: Callable[[Context], list[Filter]]
) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures, for each noise, the filter of `filters` with the best PSNR on validation images."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.evaluation.evaluate import spread

        valid, many = context.splits.valid.inputs, filters(context)
        images, restore = valid[spread(len(valid), TUNED_ON)], {}
        with Bar("filters on validation images", len(ALL) * len(many)) as bar:
            for noise in ALL:
                noisy, found = noise.on(images, seed, "validation"), []
                for one in many:
                    found.append(quality(one(noisy), images)["psnr"])
                    bar.to(bar.done + 1)
                defined = [k for k, value in enumerate(found) if math.isfinite(value)]
                need(bool(defined), f"{arm} gives no finite images for the noise {noise.name}: leave out its method")
                restore[noise.name] = many[max(defined, key=found.__getitem__)]
        yield from scored(arm, restore, context, seed)

    return found


def filter_each(function: Callable[..., Any], images: Tensor, **options: Any) -> Tensor:
    """Apply a function of scikit-image to each image."""
    import torch

    # with one channel, non-local means would return the image transposed and without that axis (scikit-image 0.26)
    grey = images.shape[1] == 1
    arrays = images[:, 0].numpy() if grey else images.numpy()
    axis = None if grey else 0
    results = [function(array, channel_axis=axis, **options) for array in each(arrays, "images")]
    return torch.from_numpy(np.stack(results)).float().view_as(images)


def median(size: int, images: Tensor) -> Tensor:
    """Apply SciPy's median filter with a square of side `size`."""
    import torch
    from scipy.ndimage import median_filter

    return torch.from_numpy(median_filter(images.numpy(), size=(1, 1, size, size), mode="nearest"))


def non_local_means(context: Context) -> list[Filter]:
    """Return filters of non-local means with two sizes of patches and six strengths."""
    from skimage.restoration import denoise_nl_means

    return [
        partial(filter_each, denoise_nl_means, patch_size=size, patch_distance=6, h=strength, fast_mode=True)
        for size in (3, 5)
        for strength in (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)
    ]


def total_variation(context: Context) -> list[Filter]:
    """Return filters of total variation with six weights."""
    from skimage.restoration import denoise_tv_chambolle

    return [partial(filter_each, denoise_tv_chambolle, weight=w) for w in (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)]


def pca_filters(context: Context) -> list[Filter]:
    """Return filters that project images on the first principal components, for several numbers of components."""
    import torch

    from stacked.evaluation.references import fitted_pca

    train = context.splits.train.inputs
    most = min(train[0].numel(), len(train))
    model = fitted_pca(train, min(most, COMPONENTS[-1]))

    def restore(count: int, images: Tensor) -> Tensor:
        axes = model.components_[:count]
        back = (images.flatten(1).double().numpy() - model.mean_) @ axes.T @ axes + model.mean_
        return torch.from_numpy(back).float().view_as(images)

    return [partial(restore, count) for count in COMPONENTS if count <= most]


def check(context: Context, methods: Sequence[str]) -> None:
    """Raise InputError if images have too many or too few values for PCA, or if there are too few images."""
    train = context.splits.train.inputs
    values = train[0].numel()
    need(
        "pca" not in methods or values <= MOST_PCA_VALUES,
        f"PCA of images of {values:,} values takes too long (at most {MOST_PCA_VALUES:,}): leave out the method pca",
    )
    need(
        "pca" not in methods or min(values, len(train)) >= COMPONENTS[0],
        f"PCA with {COMPONENTS[0]} components needs at least as many training images and values, but there are {len(train)} "
        f"images of {values:,} values: give more, or leave out the method pca",
    )


def restore_noisy_folder(context: Context) -> int | None:
    """With --noisy, train on the images of --data, restore and write those, and return the exit code; else return None."""
    from studies.applications.denoising.restore_folder import restore_folder

    given = context.given
    if not given.noisy:
        need(not given.own_size, "--own-size needs --noisy: give --noisy folder:PATH, or leave --own-size out")
        return None
    return restore_folder(context, base_spec(given, 0))


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.add_argument(
        "--updates",
        type=int,
        default=800,
        metavar="N",
        help="updates of each stage, and three times as many end to end (800)",
    )
    command.add_argument(
        "--noisy",
        default=None,
        metavar="folder:PATH",
        help="restore these images with a denoiser that is trained on --data, instead of measuring",
    )
    command.add_argument(
        "--own-size", action="store_true", help="restore each image at its own height and width, not at --image-size"
    )
    command.add_argument(
        "--corruption", default="gaussian", metavar="NAME", help="corruption of the images of --noisy (gaussian)"
    )
    command.add_argument(
        "--level",
        type=float,
        default=0.25,
        metavar="X",
        help="its level: standard deviation or fraction of pixels (0.25)",
    )


STUDY = MeasurementStudy(
    name="denoising",
    title="Denoising: autoencoders compared with filters",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={
        **{way: network(way) for way in WAYS},
        "median": best_filter("median", lambda context: [partial(median, size) for size in (3, 5)]),
        "nlm": best_filter("non-local means", non_local_means),
        "tv": best_filter("total variation", total_variation),
        "pca": best_filter("PCA", pca_filters),
        "noisy": best_filter("noisy", lambda context: [lambda images: images]),
    },
    extras={"nlm": "skimage", "tv": "skimage"},
    arms=(
        "layer-wise",
        "joint",
        *(f"{way}, {ALONE} alone" for way in WAYS),
        "median",
        "non-local means",
        "total variation",
        "PCA",
        "noisy",
    ),
    measures={"psnr": Measure("PSNR (dB)", "higher", decimals=2), "ssim": Measure("SSIM", "higher", decimals=3)},
    conditions="noise",
    drawings={
        "levels": Drawing(
            "PSNR of restored test images (higher is better) by kind and level of the noise, means over seeds with 95 % "
            "intervals. Networks were trained with the middle level.",
            draw_levels,
        ),
        "images": Drawing(
            "A test image for each noise: corrupted (first row), restored by each method, and clean (last row).",
            draw_images,
        ),
    },
    options=add_options,
    smoke={"updates": 30},
    instead=restore_noisy_folder,
    check=check,
)
