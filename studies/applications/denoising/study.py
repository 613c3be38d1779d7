"""Does an autoencoder that was trained to restore images do so better than filters that were not trained at all?

Claims: none of a paper's is held beside the rows; they are compared with median filters, non-local means (Buades, Coll & Morel
2005), total variation (Chambolle 2004) and principal components, whose parameters are chosen for each noise on validation images.

Command: python -m studies.denoising --out results/denoising/mnist
On images of one's own: python -m studies.denoising --data folder:CLEAN --noisy folder:NOISY [--corruption gaussian --level 0.25]
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

from stacked.util.checks import need
from studies.applications.denoising.figures import draw_images, draw_levels
from studies.applications.quality import quality
from studies.applications.training import WAYS, equal
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy
from studies.record.reference import MOST_PCA_VALUES
from studies.record.samples import save_arrays
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.spec import RunSpec

#: levels by corruption; networks are trained on the middle one
NOISES = {
    "gaussian": (0.1, 0.25, 0.5),
    "salt-and-pepper": (0.1, 0.2, 0.4),
    "masking": (0.15, 0.3, 0.6),
}
#: test images, and validation images that filters are tuned on
IMAGES, TUNED_ON = 500, 100
ALONE = "gaussian"
#: of PCA
COMPONENTS = (4, 8, 16, 32, 64, 128, 256)
PROTOCOL = f"""\
- **Task**: {IMAGES} test images, evenly spread, are corrupted by Gaussian noise of a standard deviation, by salt and pepper on a
  share of the pixels, or by setting a share of them to 0 (a pixel's full range is 1). A method gets the corrupted images alone.
  PSNR and SSIM (Wang et al. 2004) against the clean ones, the mean over images; what is restored is cut to the range first.
- **Arms**: `layer-wise` and `joint` are `stacked.Denoiser`: two convolutional stages (32 and 64 channels), grown stage
  by stage for {{updates}} updates each and then trained end to end for three times as many, or trained jointly with as many
  FLOPs; Adam, learning rate 0.001 with a cosine schedule, batches of 64. There is one network a kind of noise, trained on the
  middle one of its three levels: the other two it has not seen; while a stage is grown, the code that it reads is corrupted
  alike. `..., {ALONE} alone` is the network of Gaussian noise on all kinds, of which it has seen none but one. FLOPs and
  seconds are of all three networks.
- **Filters**: SciPy's median filter (side 3 or 5), scikit-image's non-local means (patches of 3 or 5, six strengths) and total
  variation (six weights), and PCA (seven numbers of components). For each noise the one with the best PSNR on {TUNED_ON}
  validation images, corrupted alike, is taken: they know which noise it is, and a little of how the clean images look.
- `noisy` is what was given. No choice was made on test images. Widths and updates of the networks were not tuned.
"""


class Noise(NamedTuple):
    """A corruption with a level."""

    kind: str
    level: float

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.kind} {self.level:g}"

    def on(self, images: Tensor, seed: int, what: str) -> Tensor:
        """uint8 images [N, C, H, W] as floats, corrupted: drawn from the seed, the noise and `what` they are."""
        from stacked.components.corruption import corrupt
        from stacked.runtime.rng import generator

        draw = generator(seed, f"{what} noise {self.name}")
        return corrupt(self.kind, images.float().div(255), (self.level,), draw, 1).x


ALL = [Noise(kind, level) for kind, levels in NOISES.items() for level in levels]


def base_spec(given: argparse.Namespace, seed: int) -> RunSpec:
    """The denoiser's own spec, with the updates asked for."""
    from stacked.apps.denoise import default_spec
    from stacked.spec import Budget

    return replace(default_spec(), seed=seed, budget=Budget((given.updates,), 3 * given.updates, "updates"))


def tested(context: Context) -> Tensor:
    """The test images that are corrupted."""
    from stacked.evaluation.evaluate import spread

    images = context.splits.test.images
    return images[spread(len(images), IMAGES)]


Restore = Mapping[str, Callable[["Tensor"], "Tensor"]]


def scored(arm: str, restore: Restore, context: Context, seed: int) -> Iterator[Measurement]:
    """What an arm makes of each noise, by the name of which `restore` has it; of the first seed, keep one image of each."""
    import torch

    images, shown = tested(context), []
    for number, noise in enumerate(ALL):
        restored = restore[noise.name](noise.on(images, seed, "test"))
        for measure, value in quality(restored, images).items():
            yield Measurement(arm, noise.name, measure, value)
        shown.append(restored[number % len(images)].clamp(0, 1).mul(255).round().to(torch.uint8))
    if seed == 0:
        save_arrays(context.out, arm, {"images": torch.stack(shown)})
        save_arrays(context.out, "clean", {"images": images[torch.arange(len(ALL)) % len(images)]})


def network(way: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """Our denoisers, one a kind of noise, trained in a way."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.apps.denoise import Denoiser

        train, made, spent = context.splits.train.images, {}, 0.0
        for kind, levels in NOISES.items():
            spec, gflop = equal(base_spec(context.given, seed), way, context.splits, len(train))
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


def tuned(arm: str, filters: Callable[[Context], list[Filter]]) -> Callable[[Context, int], Iterator[Measurement]]:
    """A method of others: of its `filters` the one that is best on validation images, for each noise."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.evaluation.evaluate import spread

        valid, many = context.splits.valid.images, filters(context)
        images, restore = valid[spread(len(valid), TUNED_ON)], {}
        for noise in ALL:
            noisy = noise.on(images, seed, "validation")
            found = [quality(one(noisy), images)["psnr"] for one in many]
            defined = [k for k, value in enumerate(found) if math.isfinite(value)]
            need(bool(defined), f"{arm} restores no finite images from {noise.name}: leave its method out")
            restore[noise.name] = many[max(defined, key=found.__getitem__)]
        yield from scored(arm, restore, context, seed)

    return found


def one_by_one(function: Callable[..., Any], images: Tensor, **options: Any) -> Tensor:
    """A function of scikit-image's on each of the images."""
    import torch

    # with one channel non-local means would return it without that axis, and transposed (scikit-image 0.26)
    grey = images.shape[1] == 1
    arrays = images[:, 0].numpy() if grey else images.numpy()
    results = [function(array, channel_axis=None if grey else 0, **options) for array in arrays]
    return torch.from_numpy(np.stack(results)).float().view_as(images)


def median(size: int, images: Tensor) -> Tensor:
    """SciPy's median filter."""
    import torch
    from scipy.ndimage import median_filter

    return torch.from_numpy(median_filter(images.numpy(), size=(1, 1, size, size), mode="nearest"))


def non_local_means(context: Context) -> list[Filter]:
    """Of two sizes of patches and six strengths."""
    from skimage.restoration import denoise_nl_means

    return [
        partial(one_by_one, denoise_nl_means, patch_size=size, patch_distance=6, h=strength, fast_mode=True)
        for size in (3, 5)
        for strength in (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)
    ]


def total_variation(context: Context) -> list[Filter]:
    """Of six weights."""
    from skimage.restoration import denoise_tv_chambolle

    return [partial(one_by_one, denoise_tv_chambolle, weight=w) for w in (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)]


def principal(context: Context) -> list[Filter]:
    """The nearest images that so many principal components make."""
    import torch

    from stacked.evaluation.evaluate import fitted_pca

    train = context.splits.train.images
    most = min(train[0].numel(), len(train))
    model = fitted_pca(train, min(most, COMPONENTS[-1]))

    def restore(count: int, images: Tensor) -> Tensor:
        axes = model.components_[:count]
        back = (images.flatten(1).double().numpy() - model.mean_) @ axes.T @ axes + model.mean_
        return torch.from_numpy(back).float().view_as(images)

    return [partial(restore, count) for count in COMPONENTS if count <= most]


def check(context: Context, methods: Sequence[str]) -> None:
    """Raise InputError where there are too many values, or too few images or values, for principal components."""
    train = context.splits.train.images
    values = train[0].numel()
    need(
        "pca" not in methods or values <= MOST_PCA_VALUES,
        f"PCA of images of {values:,} values takes too long: leave out the method pca",
    )
    need(
        "pca" not in methods or min(values, len(train)) >= COMPONENTS[0],
        f"training images ({len(train)}, of {values:,} values) are too few for PCA of {COMPONENTS[0]} components: give more, or "
        "leave out the method pca",
    )


def restore_own(context: Context) -> int | None:
    """With --noisy: train on the images of --data, restore those, and write them; returns the exit code, None without."""
    from studies.applications.denoising.restore_folder import restore_folder

    given = context.given
    if not given.noisy:
        need(not given.own_size, "--own-size is of images to be restored: give --noisy folder:PATH, or leave it out")
        return None
    return restore_folder(context, base_spec(given, 0))


def more(command: argparse.ArgumentParser) -> None:
    """Options of this study."""
    command.add_argument(
        "--updates", type=int, default=800, metavar="N", help="of each stage; three times as many end to end (800)"
    )
    command.add_argument(
        "--noisy", default=None, metavar="folder:PATH", help="restore these instead, trained on --data"
    )
    command.add_argument(
        "--own-size", action="store_true", help="restore each at its own height and width, not at --image-size"
    )
    command.add_argument("--corruption", default="gaussian", metavar="NAME", help="that --noisy has (gaussian)")
    command.add_argument(
        "--level", type=float, default=0.25, metavar="X", help="of it: standard deviation or share (0.25)"
    )


STUDY = MeasurementStudy(
    name="denoising",
    title="Denoising: an autoencoder beside filters",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={
        **{way: network(way) for way in WAYS},
        "median": tuned("median", lambda context: [partial(median, size) for size in (3, 5)]),
        "nlm": tuned("non-local means", non_local_means),
        "tv": tuned("total variation", total_variation),
        "pca": tuned("PCA", principal),
        "noisy": tuned("noisy", lambda context: [lambda images: images]),
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
            "PSNR of restored test images by kind and level of the noise, means over seeds with 95 % intervals; networks were "
            "trained on the level in the middle.",
            draw_levels,
        ),
        "images": Drawing("A test image of each noise: as it was given, and as each method restores it.", draw_images),
    },
    options=more,
    smoke={"updates": 30},
    instead=restore_own,
    check=check,
)
