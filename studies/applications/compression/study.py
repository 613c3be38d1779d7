"""How well do quantised codes of an autoencoder compress images, compared with JPEG, WebP, PNG and PCA?

Claims: no claim of a paper is tested. The baselines are common image formats, and principal components that are quantised and
entropy-coded in the same way.

Command: python -m studies.compression --out results/compression/mnist
On your own images: python -m studies.compression --data folder:PATH --image-size 64 [--grey]. The folder of the record then has
codec.safetensors, which python -m stacked.compress uses to encode and decode.
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

from stacked.data.image_files.image_file import open_image
from stacked.runtime.progress import each, through
from stacked.util.checks import need, whole
from studies.applications.compression.figures import draw_curves, draw_images
from studies.applications.quality import pairs, similarity
from studies.applications.training import WAYS, train_stack
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy
from studies.record.reference import MOST_PCA_VALUES
from studies.record.samples import save_arrays
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.apps.codec.codec import Codec
    from stacked.model.stack import StackedAutoencoder
    from stacked.spec import RunSpec, StackSpec

#: number of test images that are encoded into one file
IMAGES = 400
#: bits per pixel at which codecs are compared
RATES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
#: quantiser steps of our codec (the range of a pixel is 1), and quality settings of JPEG and WebP
STEPS = tuple(0.1 * 2 ** (k / 2) for k in range(12))
QUALITIES = (1, 3, 5, 8, 12, 20, 30, 45, 60, 75, 85, 92)
#: a multiple of the block sides of JPEG and WebP
BLOCK = 16
#: number of images in the figure, and the bits per pixel at which they are shown
SHOWN, SHOWN_RATE = 9, 0.4
PROTOCOL = f"""\
- **Task**: {IMAGES} evenly spaced test images are encoded into one file, whose size including its header is given in bits per
  pixel. Each codec is used with several settings. Its PSNR (of the mean squared error over all images) and its mean SSIM (Wang et
  al. 2004) at a given rate are interpolated between settings, linearly in the logarithm of the rate. A codec has no value at a
  rate outside the range of its settings.
- **Arms**: `layer-wise` and `joint` are `stacked.Codec` with two convolutional stages (16 and 32 channels) and a linear code of
  {{code}} values. `layer-wise` is grown stage by stage with {{updates}} updates each and then trained end to end with three times
  as many; `joint` is trained jointly with as many FLOPs. Adam, learning rate 0.001 with a cosine schedule, batches of 64, no
  corruption. The settings are quantiser steps, all with the same trained network. `PCA` has as many components, and the same
  quantiser and entropy coder. The frequencies of quantised values are those of the training images. The size of the weights,
  which sender and receiver both need, is not counted.
- **JPEG, WebP, PNG**: Pillow's encoders on one sheet of all images, so that their header, which is larger than such an image, is
  counted once. For JPEG and WebP each image is padded to a multiple of {BLOCK} pixels by repeating its border, so that no block
  contains parts of two images; the padding is not counted as pixels. The setting is `quality`; WebP uses its slowest `method`.
  PNG is lossless, and its single point is only in the figure.
- **Chosen after seeing test results**: after one seed, the width of the code was doubled from 64 and the quantiser steps were
  made finer, so that the rates reach those of WebP. Nothing else was chosen by test results.
"""


class Point(NamedTuple):
    """The result of a setting of a codec: bits per pixel, and restored images uint8 [N, C, H, W]."""

    bits: float
    restored: Tensor


def base_spec(seed: int, given: argparse.Namespace) -> RunSpec:
    """Return the default spec of the codec with the seed, the width of the code and the number of updates."""
    from stacked.apps.codec.codec import default_spec
    from stacked.spec import Budget, StackSpec

    first = default_spec()
    stages = *first.stack.stages[:-1], replace(first.stack.stages[-1], width=given.code)
    return replace(
        first, seed=seed, stack=StackSpec(stages), budget=Budget((given.updates,), 3 * given.updates, "updates")
    )


def scored(arm: str, points: list[tuple[str, Point]], images: Tensor) -> Iterator[Measurement]:
    """Yield rate, PSNR and SSIM of each setting of an arm, and PSNR and SSIM interpolated at the common rates."""
    import torch

    lines = []
    for name, point in each(points, "settings judged"):
        both = pairs(point.restored, images)
        error = sum(float((back - clean).square().sum(dtype=torch.float64)) for back, clean in both) / images.numel()
        line = {"rate": point.bits}
        if error:  # a lossless codec has no finite PSNR
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


def encoded_images(images: Tensor) -> Tensor:
    """Return the test images that are encoded."""
    from stacked.evaluation.evaluate import spread

    return images[spread(len(images), IMAGES)]


def score_settings(context: Context, arm: str, points: list[tuple[str, Point]], seed: int) -> Iterator[Measurement]:
    """Yield the measurements of the settings of an arm; for the first seed, save images of the setting nearest to the shown "
    "rate."""
    images = encoded_images(context.splits.test.inputs)
    if seed == 0:
        nearest = min(points, key=lambda point: abs(np.log(point[1].bits / SHOWN_RATE)))[1]
        save_arrays(context.out, arm, {"images": nearest.restored[:SHOWN], "bits": np.array(nearest.bits)})
        save_arrays(context.out, "original", {"images": images[:SHOWN]})
    yield from scored(arm, points, images)


def points_of(codecs: Iterator[tuple[float, Codec]], images: Tensor) -> list[tuple[str, Point]]:
    """Return (name, result) of each setting of a codec, from an encoded and decoded file."""
    import torch

    found = []
    for step, codec in through(codecs, len(STEPS), "settings encoded and decoded"):
        content = codec.encode(images)
        restored = torch.stack(codec.decode(content))
        found.append((f"{step:.3g}", Point(8 * len(content) / images[:, 0].numel(), restored)))
    return found


def our_codec(way: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures `stacked.Codec`, trained in a `way`."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.apps.codec.codec import Codec

        images = context.splits.train.inputs
        made = train_stack(context, base_spec(seed, context.given), way)
        codecs = ((step, Codec(made.stack, made.spec.stack, images, step)) for step in STEPS)
        yield from score_settings(context, way, points_of(codecs, encoded_images(context.splits.test.inputs)), seed)
        yield Measurement(way, "", "gflop", made.gflop)
        if seed == 0 and way == "layer-wise":
            Codec(made.stack, made.spec.stack, images, STEPS[len(STEPS) // 2]).save(context.out / "codec.safetensors")

    return found


def linear_of(images: Tensor, count: int) -> tuple[StackedAutoencoder, StackSpec]:
    """Return PCA with `count` components as a stack of one linear stage, and its spec."""
    import torch

    from stacked.evaluation.references import fitted_pca
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
    """Raise InputError for an invalid --code, and if PCA has too few images or too many values."""
    train, count = context.splits.train.inputs, context.given.code
    whole(count, "code")
    need(
        "pca" not in methods or (count < train[0].numel() <= MOST_PCA_VALUES and count <= len(train)),
        f"PCA with {count} components needs at least {count} training images of {count + 1} to {MOST_PCA_VALUES:,} values, but "
        f"there are {len(train)} of {train[0].numel():,}: leave out the method pca, or give another --code, --image-size or "
        "--grey",
    )


def pca(context: Context, seed: int) -> Iterator[Measurement]:
    """Measure PCA with the same quantiser and entropy coder."""
    from stacked.apps.codec.codec import Codec

    train, count = context.splits.train.inputs, context.given.code
    stack, spec = linear_of(train, count)
    codecs = ((step, Codec(stack, spec, train, step)) for step in STEPS)
    yield from score_settings(context, "PCA", points_of(codecs, encoded_images(context.splits.test.inputs)), seed)


def sheet(images: Tensor, block: int) -> NDArray[np.uint8]:
    """Return a sheet of images, [H, W, C] or [H, W] if grey, each padded to a multiple of `block` by repeating its border."""
    count, _, height, width = images.shape
    wide = np.pad(images.numpy(), ((0, 0), (0, 0), (0, -height % block), (0, -width % block)), mode="edge")
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    full = np.concatenate([wide, np.repeat(wide[-1:], down * across - count, 0)])
    lines = full.reshape(down, across, *full.shape[1:]).transpose(0, 3, 1, 4, 2)
    return lines.reshape(down * full.shape[2], across * full.shape[3], -1).squeeze()


def cut(pixels: NDArray[np.uint8], like: Tensor, block: int) -> Tensor:
    """Return the images of a sheet, uint8 of the shape of `like`; inverse of `sheet`."""
    import torch

    count, channels, height, width = like.shape
    high, wide = height + -height % block, width + -width % block
    grid = pixels.reshape(pixels.shape[0] // high, high, pixels.shape[1] // wide, wide, channels)
    images = grid.transpose(0, 2, 4, 1, 3).reshape(-1, channels, high, wide)[:count, :, :height, :width]
    return torch.from_numpy(np.ascontiguousarray(images))


def pillow(
    arm: str, settings: Mapping[str, Mapping[str, Any]], block: int
) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures an image format of Pillow with several settings.

    settings: options of the encoder by name of the setting. block: as in `sheet`.
    """

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from PIL import Image

        images = encoded_images(context.splits.test.inputs)
        whole_sheet, points = Image.fromarray(sheet(images, block)), []
        for name, options in each(settings.items(), "settings encoded and decoded"):
            file = io.BytesIO()
            whole_sheet.save(file, arm, **options)
            with open_image(file) as opened:
                back = np.asarray(opened.convert(whole_sheet.mode))
            bits = 8 * len(file.getvalue()) / images[:, 0].numel()
            points.append((name, Point(bits, cut(back, images, block))))
        yield from score_settings(context, arm, points, seed)

    return found


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.add_argument(
        "--updates",
        type=int,
        default=1500,
        metavar="N",
        help="updates of each stage, and three times as many end to end (1500)",
    )
    command.add_argument(
        "--code", type=int, default=128, metavar="N", help="number of values of the code and of components of PCA (128)"
    )


STUDY = MeasurementStudy(
    name="compression",
    title="Images as quantised codes",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={
        **{way: our_codec(way) for way in WAYS},
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
            "PSNR and SSIM (higher is better) of restored test images against bits per pixel (lower is better). Each mark is a "
            "setting, each line a seed. PNG is lossless; the dotted line is its size. Settings below 0.01 bits per pixel are not "
            "shown.",
            draw_curves,
        ),
        "images": Drawing(
            f"Test images restored by each codec with the setting nearest to {SHOWN_RATE} bits per pixel; the rate is at the "
            "left.",
            draw_images,
        ),
    },
    options=add_options,
    smoke={"updates": 30, "code": 8},
    check=check,
)
