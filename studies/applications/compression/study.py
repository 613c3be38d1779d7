"""How small do the codes of an autoencoder make images, at which quality, beside JPEG, WebP and PNG?

Claims: none of a paper's is held beside the rows; they are compared with the formats that everyone uses, and with principal
components that are quantised and packed in the same way.

Command: python -m studies.compression --out results/compression/mnist
On images of one's own: python -m studies.compression --data folder:PATH --image-size 64 [--grey]; the record's folder then has
codec.safetensors, with which python -m stacked.compress encodes and decodes.
Expected and cost: results/compression/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stacked.util.checks import need, whole
from studies.applications.compression.figures import draw_curves, draw_images
from studies.applications.quality import pairs, similarity
from studies.applications.training import WAYS, trained
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy
from studies.record.reference import MOST_PCA_VALUES
from studies.record.samples import save_arrays
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.apps.codec import Codec
    from stacked.model.stack import StackedAutoencoder
    from stacked.spec import RunSpec, StackSpec

#: test images that are encoded into one file
IMAGES = 400
#: bits per pixel at which codecs are compared
RATES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
#: of codecs: a pixel's full range is 1
STEPS = tuple(0.1 * 2 ** (k / 2) for k in range(12))
QUALITIES = (1, 3, 5, 8, 12, 20, 30, 45, 60, 75, 85, 92)
#: the side of which formats' blocks are divisors
BLOCK = 16
#: of pictures
SHOWN, SHOWN_RATE = 9, 0.4
PROTOCOL = f"""\
- **Task**: {IMAGES} test images, evenly spread, become one file; its bits, head and all, are counted per pixel. Each codec is
  used at several settings, and its PSNR (of the mean squared error over all of them) and SSIM (Wang et al. 2004, mean) are read
  off between these at the same rate, linearly in the logarithm of the rate; of a codec without settings on both sides of a rate
  nothing is said there.
- **Arms**: `layer-wise` and `joint` are `stacked.Codec` on two convolutional stages (16 and 32 channels) and a linear
  code of {{code}}, grown stage by stage for {{updates}} updates each and then trained end to end for three times as many, or
  trained jointly with as many FLOPs; Adam, learning rate 0.001 with a cosine schedule, batches of 64, no corruption. One
  training gives all its settings, which are steps of the quantiser. `PCA` has as many components, and the same quantiser and
  coder. The frequencies of quantised values are those of the training images. The weights, which sender and receiver both need,
  are not counted.
- **JPEG, WebP, PNG**: Pillow's, on one sheet of all the images, so that their heads, which are larger than such an image, are
  paid for once; for JPEG and WebP each image is widened to a multiple of {BLOCK} pixels by repeating its border, so that no block
  holds parts of two, and pixels are counted without that. Settings are `quality`, of WebP with its slowest `method`. PNG is
  without loss: its one point is in the figure alone.
- The width of the code was doubled, from 64, and its steps were made finer, after a first look at one seed on test images: so
  that its rates reach those of WebP. Nothing else was chosen by what comes out.
"""


class Point(NamedTuple):
    """What a setting of a codec makes of the images."""

    bits: float
    restored: Tensor


def base_spec(seed: int, given: argparse.Namespace) -> RunSpec:
    """The codec's own spec, with the code and the updates asked for."""
    from stacked.apps.codec import default_spec
    from stacked.spec import Budget, StackSpec

    first = default_spec()
    stages = *first.stack.stages[:-1], replace(first.stack.stages[-1], width=given.code)
    return replace(
        first, seed=seed, stack=StackSpec(stages), budget=Budget((given.updates,), 3 * given.updates, "updates")
    )


def scored(arm: str, points: list[tuple[str, Point]], images: Tensor) -> Iterator[Measurement]:
    """What the settings of an arm are worth, as they are and at the rates that arms are compared at."""
    import torch

    lines = []
    for name, point in points:
        both = pairs(point.restored, images)
        error = sum(float((back - clean).square().sum(dtype=torch.float64)) for back, clean in both) / images.numel()
        line = {"rate": point.bits}
        if error:  # without loss there is no PSNR
            line |= {"psnr": -10 * math.log10(error), **similarity(point.restored, images)}
        lines.append(line)
        for measure, value in line.items():
            yield Measurement(arm, f"setting {name}", f"setting_{measure}", value)
    lines.sort(key=lambda line: line["rate"])
    rates = [line["rate"] for line in lines]
    for rate in RATES:
        for measure in ("psnr", "ssim"):
            values = [line[measure] for line in lines if measure in line]
            if len(values) == len(rates) and rates[0] <= rate <= rates[-1]:
                yield Measurement(arm, f"{rate:g}", measure, float(np.interp(np.log(rate), np.log(rates), values)))


def coded(images: Tensor) -> Tensor:
    """The test images that are encoded."""
    from stacked.evaluation.evaluate import spread

    return images[spread(len(images), IMAGES)]


def all_settings(context: Context, arm: str, points: list[tuple[str, Point]], seed: int) -> Iterator[Measurement]:
    """Judge the settings of an arm; of the first seed, keep pictures at the setting that comes nearest to the shown rate."""
    images = coded(context.splits.test.images)
    if seed == 0:
        nearest = min(points, key=lambda point: abs(np.log(point[1].bits / SHOWN_RATE)))[1]
        save_arrays(context.out, arm, {"images": nearest.restored[:SHOWN], "bits": np.array(nearest.bits)})
        save_arrays(context.out, "original", {"images": images[:SHOWN]})
    yield from scored(arm, points, images)


def points_of(codecs: Iterator[tuple[float, Codec]], images: Tensor) -> list[tuple[str, Point]]:
    """A codec's settings, each by what its file gives back."""
    import torch

    found = []
    for step, codec in codecs:
        content = codec.encode(images)
        restored = torch.stack(codec.decode(content))
        found.append((f"{step:.3g}", Point(8 * len(content) / images[:, 0].numel(), restored)))
    return found


def ours(way: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """Our codec, trained in a way."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.apps.codec import Codec

        images = context.splits.train.images
        made = trained(context, base_spec(seed, context.given), way)
        codecs = ((step, Codec(made.stack, made.spec.stack, images, step)) for step in STEPS)
        yield from all_settings(context, way, points_of(codecs, coded(context.splits.test.images)), seed)
        yield Measurement(way, "", "gflop", made.gflop)
        if seed == 0 and way == "layer-wise":
            Codec(made.stack, made.spec.stack, images, STEPS[len(STEPS) // 2]).save(context.out / "codec.safetensors")

    return found


def linear_of(images: Tensor, count: int) -> tuple[StackedAutoencoder, StackSpec]:
    """The principal components of images as a stack of one linear stage, and its spec."""
    import torch

    from stacked.evaluation.evaluate import fitted_pca
    from stacked.model.stack import build
    from stacked.spec import StackSpec

    model = fitted_pca(images, count)
    spec = StackSpec.of("dense", count, activation="linear", output="linear")
    stack = build(spec, tuple(images.shape[1:])).eval()
    weights, mean = (torch.from_numpy(array).float() for array in (model.components_, model.mean_))
    read: Any = stack.stages[0].encoder[1]
    write: Any = stack.stages[0].decoder[0]
    with torch.no_grad():
        for mine, theirs in (
            (read.weight, weights),
            (read.bias, -weights @ mean),
            (write.weight, weights.T),
            (write.bias, mean),
        ):
            mine.copy_(theirs)
    return stack, spec


def check(context: Context, methods: Sequence[str]) -> None:
    """Raise InputError for a code that is none, and where there are too few images or too many values for its PCA."""
    train, count = context.splits.train.images, context.given.code
    whole(count, "code")
    need(
        "pca" not in methods or (count < train[0].numel() <= MOST_PCA_VALUES and count <= len(train)),
        f"PCA of {count} components needs as many images, of more values, and of {MOST_PCA_VALUES:,} at most: leave out the "
        "method pca, or give another --code, --image-size or --grey",
    )


def pca(context: Context, seed: int) -> Iterator[Measurement]:
    """Principal components in the same codec."""
    from stacked.apps.codec import Codec

    train, count = context.splits.train.images, context.given.code
    stack, spec = linear_of(train, count)
    codecs = ((step, Codec(stack, spec, train, step)) for step in STEPS)
    yield from all_settings(context, "PCA", points_of(codecs, coded(context.splits.test.images)), seed)


def sheet(images: Tensor, block: int) -> NDArray[np.uint8]:
    """Images side by side, each widened to a multiple of `block` by repeating its border: [H, W, C], or [H, W] of grey ones."""
    count, _, height, width = images.shape
    wide = np.pad(images.numpy(), ((0, 0), (0, 0), (0, -height % block), (0, -width % block)), mode="edge")
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    full = np.concatenate([wide, np.repeat(wide[-1:], down * across - count, 0)])
    lines = full.reshape(down, across, *full.shape[1:]).transpose(0, 3, 1, 4, 2)
    return lines.reshape(down * full.shape[2], across * full.shape[3], -1).squeeze()


def cut(pixels: NDArray[np.uint8], like: Tensor, block: int) -> Tensor:
    """The images, uint8 of the shape of `like`, that a sheet of them shows."""
    import torch

    count, channels, height, width = like.shape
    high, wide = height + -height % block, width + -width % block
    grid = pixels.reshape(pixels.shape[0] // high, high, pixels.shape[1] // wide, wide, channels)
    images = grid.transpose(0, 2, 4, 1, 3).reshape(-1, channels, high, wide)[:count, :, :height, :width]
    return torch.from_numpy(np.ascontiguousarray(images))


def pillow(
    arm: str, settings: Mapping[str, Mapping[str, Any]], block: int
) -> Callable[[Context, int], Iterator[Measurement]]:
    """A format of Pillow's at several settings."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from PIL import Image

        images = coded(context.splits.test.images)
        whole_sheet, points = Image.fromarray(sheet(images, block)), []
        for name, options in settings.items():
            file = io.BytesIO()
            whole_sheet.save(file, arm, **options)
            with Image.open(file) as opened:
                back = np.asarray(opened.convert(whole_sheet.mode))
            bits = 8 * len(file.getvalue()) / images[:, 0].numel()
            points.append((name, Point(bits, cut(back, images, block))))
        yield from all_settings(context, arm, points, seed)

    return found


def more(command: argparse.ArgumentParser) -> None:
    """Options of this study."""
    command.add_argument(
        "--updates", type=int, default=1500, metavar="N", help="of each stage; three times as many end to end"
    )
    command.add_argument(
        "--code", type=int, default=128, metavar="N", help="values of the code, and components of PCA (128)"
    )


STUDY = MeasurementStudy(
    name="compression",
    title="Images as quantised codes",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={
        **{way: ours(way) for way in WAYS},
        "pca": pca,
        "jpeg": pillow("JPEG", {str(q): {"quality": q, "optimize": True} for q in QUALITIES}, BLOCK),
        "webp": pillow("WebP", {str(q): {"quality": q, "method": 6} for q in (0, *QUALITIES)}, BLOCK),
        "png": pillow("PNG", {"lossless": {"optimize": True}}, 1),
    },
    extras=dict.fromkeys((*WAYS, "pca"), "constriction"),
    arms=(*WAYS, "PCA", "JPEG", "WebP", "PNG"),
    measures={"psnr": Measure("PSNR (dB)", "higher", decimals=2), "ssim": Measure("SSIM", "higher", decimals=3)},
    conditions="bits per pixel",
    drawings={
        "curves": Drawing(
            "Quality of the restored test images by the size of their file, a dot a setting and a line a seed; PNG is without "
            "loss, its size the dotted line. Settings below 0.01 bits per pixel are cut off.",
            draw_curves,
        ),
        "images": Drawing(
            f"Test images as each codec restores them at the setting that comes nearest to {SHOWN_RATE} bits per pixel, which "
            "is written beside them.",
            draw_images,
        ),
    },
    options=more,
    smoke={"updates": 30, "code": 8},
    check=check,
)
