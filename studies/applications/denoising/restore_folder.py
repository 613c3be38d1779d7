"""A user's own noisy images, restored by a denoiser that is trained on clean ones."""

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
    """Train a denoiser of `spec` on the images of --data, restore those of --noisy, and write them; returns the exit code."""
    import torch

    from stacked.apps.compress import png
    from stacked.apps.denoise import FORMAT, Denoiser
    from stacked.cli.overwriting import check_own
    from stacked.data.sources.folder import named_paths
    from stacked.model.model_file import kind_of
    from stacked.model.stack import check_size
    from stacked.util.atomic import sweep, write_atomically
    from studies.applications.anomaly.score_folder import folder_of

    given = context.given
    paths = named_paths(folder_of(given.noisy, context))
    above = Path(os.path.commonpath([path.parent for path in paths]))
    names = [path.relative_to(above).with_suffix(".png") for path in paths]
    kept = context.out / "denoiser.safetensors"
    twice = next((name for name in names if names.count(name) > 1), None)
    need(twice is None, f"two images of {given.noisy} would both be restored as {twice}: rename one")
    written = [context.out / "restored" / name for name in names]
    check_own(kind_of(kept) == FORMAT, [kept, *written])
    sweep(context.out, *{path.parent for path in written})
    images = noisy_images(paths, given)
    for image in images:  # all are read before anything is trained
        check_size(spec.stack, image.shape)
    denoiser = Denoiser(spec, corruption=given.corruption, level=given.level, device=given.device)
    denoiser.fit(context.splits.train.images)
    denoiser.save(kept)  # first: by it the folder is known as ours
    again = noisy_images(paths, given) if given.own_size else images  # large ones are not kept meanwhile
    for path, image in through(zip(written, again, strict=True), len(written), "restored", "images"):
        restored = denoiser.denoise(image[None])[0].mul(255).round().to(torch.uint8)
        write_atomically(path, png(restored))
    print(f"{len(paths)} images are restored in {context.out / 'restored'}, by denoiser.safetensors beside it")
    return 0


def noisy_images(paths: list[Path], given: argparse.Namespace) -> Iterable[NDArray[np.uint8]]:
    """The images that are to be restored, uint8 [C, H, W], at the size that was trained on or each at its own."""
    from stacked.data.formats.image import at_own_size, decode_all

    if given.own_size:
        return at_own_size(paths, given.grey, given.white_level, given.max_megapixels)
    return decode_all(paths, given.image_size, given.grey, given.white_level, given.max_megapixels)
