"""Denoising: a stack trained to reconstruct clean images from corrupted ones."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from stacked.data.pixels import Pixels, bytes_of, floats_of, scaled_images
from stacked.model.model_file import reading, write
from stacked.model.stack import StackedAutoencoder, check_size
from stacked.runtime.free_memory import free_bytes
from stacked.runtime.progress import each
from stacked.runtime.settings import own_settings
from stacked.spec import Budget, Optimisation, RunSpec, StackSpec
from stacked.stages import kinds
from stacked.stages.stage import Shape
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from stacked.util.checks import need
from stacked.util.chunks import chunks

FORMAT = "stacked denoiser 1"
#: the most images that are restored at a time
BATCH = 250
#: how far values may lie outside [0, 1], in multiples of the trained noise level (or of the range of a pixel, if that is more)
FARTHEST = 10
#: maps that a stage holds at once: the outputs of its convolution, norm and activation
MAPS = 3


def default_spec() -> RunSpec:
    """Return the default spec: two convolutional stages, trained greedily and then end to end.

    Their code is larger than a grey image: a pixel is restored from its neighbourhood, and corruption prevents the stack from
    copying (Vincent et al. 2010).
    """
    return RunSpec(
        stack=StackSpec.of("conv", 32, 64),
        budget=Budget((800.0,), 2400.0, "updates"),
        optimisation=Optimisation(batch_size=64, schedule="cosine"),
    )


class Denoiser:
    """Restores images corrupted in the way that it was trained on, or similarly.

    spec: the stack and its training (None: `default_spec`). corruption, level: as in a spec: "gaussian" with a standard
    deviation, "salt-and-pepper" or "masking" with a fraction of the pixels, or several joined by "+" with a level for each.
    The spec's `recalibrate` is turned off, because the denoiser reads corrupted images. device: device to train on. Raises
    InputError for invalid parameters.
    """

    def __init__(
        self,
        spec: RunSpec | None = None,
        *,
        corruption: str = "gaussian",
        level: float | tuple[float, ...] = 0.25,
        device: str = "cpu",
    ) -> None:
        first = spec or default_spec()
        # a denoiser reads corrupted images, so it needs the running statistics of corrupted training
        config = replace(first.optimisation, corruption=corruption, corruption_level=(level,), recalibrate=False)
        self.spec, self.device = replace(first, optimisation=config), device
        self.stack: StackedAutoencoder | None = None

    @own_settings()
    def fit(self, images: Pixels) -> Denoiser:
        """Train on clean images, uint8 [N, C, H, W] (tensor or NumPy array); Diverged if a loss is not finite."""
        images = bytes_of(images, "cannot be read")
        self.stack = pretrain(self.spec, StoredInputs(images), tuple(images.shape[1:]), device=self.device).cpu()
        return self

    @own_settings()
    @torch.no_grad()
    def denoise(self, images: Pixels) -> Tensor:
        """Return the restored images, floats [N, C, H, W] in [0, 1], of noisy ones, uint8 or floats on that scale.

        Noise may exceed 0 and 1. If all stages are convolutional, images of any height and width are restored in their own
        size. Raises InputError for images of another shape, and for values on another scale.
        """
        stack = self._fitted
        given = scaled_images(images, "cannot be restored")
        most = 1 + FARTHEST * max(1.0, *self.spec.optimisation.levels_at(0))
        shape = tuple(given.shape[1:])
        self._check_shape(shape)
        restored = torch.empty(given.shape)
        for index in each(chunks(len(given), stack.widest(shape), BATCH), "restored", "batches of images"):
            restored[index] = stack(floats_of(given[index], "cannot be restored", most)).clamp(0, 1)
        return restored

    @property
    def _fitted(self) -> StackedAutoencoder:
        need(self.stack is not None, "this denoiser is not fitted: call fit, or load one")
        assert self.stack is not None
        return self.stack

    def _check_shape(self, shape: Shape) -> None:
        """Raise InputError for images of a shape that the stack cannot restore, or whose maps do not fit in memory."""
        mine = self._fitted.input_shape
        if shape == mine:
            return
        maps = all(kinds()[stage.kind].maps for stage in self.spec.stack.stages)
        wanted = f"{list(mine)}, like those that this denoiser was trained on"
        if maps:
            wanted += f", or another height and width with {mine[0]} channels"
        need(
            maps and shape[0] == mine[0] and min(shape) > 0,
            f"images of shape {list(shape)} cannot be restored: give {wanted}",
        )
        check_size(self.spec.stack, shape)
        depths = [math.prod(each) for each in self._fitted.shapes(shape)]
        needed = 4 * MAPS * max(below + above for below, above in pairwise(depths))
        free = free_bytes(torch.device("cpu"))
        need(
            needed <= free,
            f"restoring an image of shape {list(shape)} takes about {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} are free: give smaller images, or cut them into parts",
        )

    @own_settings()
    def save(self, path: str | Path) -> None:
        """Write the denoiser to a file; InputError if it is not fitted or the file cannot be written."""
        stack, config = self._fitted, self.spec.optimisation
        header = {"corruption": config.corruption, "level": config.corruption_level[0]}
        write(Path(path), FORMAT, stack.state_dict(), self.spec.stack, stack.input_shape, header)

    @classmethod
    @own_settings()
    def load(cls, path: str | Path) -> Denoiser:
        """Return a denoiser that `save` wrote; the file need not be trusted. Raises InputError if it is invalid."""
        what = "a denoiser {reason}: give a file that Denoiser.save wrote"
        with reading(path, FORMAT, what, ("corruption", "level")) as content:
            corruption, level = content.header["corruption"], content.header["level"]
            level = tuple(level) if isinstance(level, list) else level
            denoiser = cls(RunSpec(stack=content.spec), corruption=corruption, level=level)
            denoiser.stack = content.empty()
            content.fill(denoiser.stack)
            denoiser.stack.eval()
        return denoiser
