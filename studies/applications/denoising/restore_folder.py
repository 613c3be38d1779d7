"""Restores a folder of noisy images with a denoiser that is trained on a folder of clean images."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stacked.runtime.progress import through
from stacked.util.checks import need

if TYPE_CHECKING:
    from stacked.spec import RunSpec
    from studies.design.measurements import Context


def restore_folder(context: Context, spec: RunSpec) -> int:
    """Train a denoiser of `spec` on the images of --data, restore and write those of --noisy, and return the exit code."""
    import torch

    from stacked.apps.denoise import FORMAT, Denoiser
    from stacked.cli.overwriting import check_own
    from stacked.data.image_files.image_file import png
    from stacked.data.sources.images.folder import named_paths
    from stacked.model.model_file import kind_of
    from stacked.model.stack import check_size
    from stacked.util.atomic import sweep, write_atomically
    from studies.applications.anomaly.score_folder import folder_of

    given = context.given
    paths = named_paths(folder_of(given.noisy, context))
    above = Path(os.path.commonpath([path.parent for path in paths]))
    names = [path.relative_to(above).with_suffix(".png") for path in paths]
    model_path = context.out / "denoiser.safetensors"
    twice = next((name for name in names if names.count(name) > 1), None)
    need(twice is None, f"two images of {given.noisy} would both be written as {twice}: rename one of them")
    restored_paths = [context.out / "restored" / name for name in names]
    check_own(kind_of(model_path) == FORMAT, [model_path, *restored_paths])
    sweep(context.out, *{path.parent for path in restored_paths})
    images = noisy_images(paths, given)
    for image in images:  # all images are read before training, so that errors are reported early
        check_shape(image.shape, context)
        check_size(spec.stack, image.shape)
    denoiser = Denoiser(spec, corruption=given.corruption, level=given.level, device=given.device)
    denoiser.fit(context.splits.train.inputs)
    denoiser.save(model_path)  # first, because it marks the folder as written by this command
    again = noisy_images(paths, given) if given.own_size else images  # images at their own size are not kept in memory
    for path, image in through(zip(restored_paths, again, strict=True), len(restored_paths), "restored", "images"):
        restored = denoiser.denoise(image[None])[0].mul(255).round().to(torch.uint8)
        write_atomically(path, png(restored))
    side = given.image_size
    size = (
        "at their own sizes" if given.own_size else f"cropped to {side} x {side} pixels (--own-size keeps their sizes)"
    )
    print(f"{len(paths)} restored images are in {context.out / 'restored'}, {size}; the denoiser is {model_path}")
    return 0


def check_shape(shape: tuple[int, ...], context: Context) -> None:
    """Raise InputError unless noisy images [C, H, W] have the shape of those of --data, with --own-size their channels."""
    given, clean = context.given, context.splits.input_shape
    compared = 1 if given.own_size else 3
    need(
        shape[:compared] == tuple(clean[:compared]),
        f"the images of {given.noisy} are read as {list(shape)} (channels, height, width), and those of {given.data} are "
        f"{list(clean)}: give --data folder:CLEAN, clean images like them",
    )


def noisy_images(paths: list[Path], given: argparse.Namespace) -> Iterable[NDArray[np.uint8]]:
    """Return the noisy images, uint8 [C, H, W], at --image-size, or with --own-size each at its own size."""
    from stacked.data.image_files.image import at_own_size, decode_all

    if given.own_size:
        return at_own_size(paths, given.grey, given.white_level, given.max_megapixels)
    return decode_all(paths, given.image_size, given.grey, given.white_level, given.max_megapixels)
