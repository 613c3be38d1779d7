"""Denoising: a stack trained to reconstruct clean examples from corrupted ones."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from stacked.apps.own_data import Data, as_stages_read, check_spec, new_examples, output_for, read_examples
from stacked.data.pixels import floats_of, scaled_images
from stacked.evaluation.evaluate import varies
from stacked.model.model_file import ANY, reading, write
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


def default_spec(shape: Shape | None = None, output: str = "sigmoid") -> RunSpec:
    """Return the default spec: two convolutional stages, trained greedily and then end to end.

    shape: that of an example (None: of an image); vectors [D] get one dense stage of 2 D units, 16 to 512. output: the activation
    of the reconstruction. Their code is larger than a grey image: a pixel is restored from its neighbourhood, and corruption
    prevents the stack from copying (Vincent et al. 2010).
    """
    is_vector = shape is not None and len(shape) == 1
    width = max(16, min(512, 2 * math.prod(shape or ())))
    stack = StackSpec.of("dense", width, output=output) if is_vector else StackSpec.of("conv", 32, 64, output=output)
    return RunSpec(
        stack=stack,
        budget=Budget((800.0,), 2400.0, "updates"),
        optimisation=Optimisation(batch_size=64, schedule="cosine"),
    )


class Denoiser:
    """Restores images, or other examples, corrupted in the way that it was trained on, or similarly.

    spec: the stack and its training (None: `default_spec` for the data). corruption, level: as in a spec: "gaussian" with a
    standard deviation (of floats in the scale in which the stack reads them, by default in their own standard deviations),
    "salt-and-pepper" or "masking" with a fraction of the pixels, or several joined by "+" with a level for each. The spec's
    `recalibrate` is turned off, because the denoiser reads corrupted images. device: device to train on. Raises InputError for
    invalid parameters.
    """

    def __init__(
        self,
        spec: RunSpec | None = None,
        *,
        corruption: str = "gaussian",
        level: float | tuple[float, ...] = 0.25,
        device: str = "cpu",
    ) -> None:
        self._given, self.device = spec, device
        self._noise = corruption, level
        self.spec = self._with_noise(spec or default_spec())
        self.stack: StackedAutoencoder | None = None

    def _with_noise(self, spec: RunSpec) -> RunSpec:
        """Return the spec with the noise of this denoiser."""
        # a denoiser reads corrupted images, so it needs the running statistics of corrupted training
        kind, level = self._noise
        config = replace(
            spec.optimisation, corruption=kind, corruption_level=(level,), end_corruption_level=None, recalibrate=False
        )
        return replace(spec, optimisation=config)

    @own_settings()
    def fit(self, images: Data, *, scale: str | None = None, missing: str | None = None) -> Denoiser:
        """Train on clean images, uint8 [N, C, H, W] (tensor or NumPy array), or on other data.

        These are bytes or floats in any units: vectors [N, D], signals [N, C, L], images or volumes [N, C, D, H, W], or a pandas
        DataFrame with numbers and categories. scale, missing: as in `Splits.of`; what is fitted is kept with the denoiser. Raises
        InputError for data of another kind, and Diverged if a loss is not finite.
        """
        images, scaling = as_stages_read(read_examples(images), None, scale, missing)
        need(scaling is None or varies(images), "all examples are equal: give examples that differ")
        shape = tuple(images.shape[1:])
        self.spec = self._with_noise(self._given or default_spec(shape, output_for(images)))
        check_spec(self.spec, images, scaling)
        self.stack = pretrain(self.spec, StoredInputs(images), shape, device=self.device).cpu()
        self.stack.scaling = scaling
        return self

    @own_settings()
    @torch.no_grad()
    def denoise(self, images: Data) -> Tensor:
        """Return the restored images, floats [N, C, H, W] in [0, 1], of noisy ones, uint8 or floats on that scale.

        A denoiser that was trained on floats or on a DataFrame reads them in their own units and returns float64 in these units,
        [N, ...]; a column of categories has become a value for each of them.

        Noise may exceed 0 and 1. If all stages are convolutional, images of any height and width are restored in their own
        size. Raises InputError for images of another shape, and for values on another scale.
        """
        stack = self._fitted
        if stack.scaling is not None or len(stack.input_shape) != 3:
            return self._restored(images)
        given = scaled_images(images, "cannot be restored")
        most = 1 + FARTHEST * max(1.0, *self.spec.optimisation.levels_at(0))
        shape = tuple(given.shape[1:])
        self._check_shape(shape)
        restored = torch.empty(given.shape)
        for index in each(chunks(len(given), stack.widest(shape), BATCH), "restored", "batches of images"):
            restored[index] = stack(floats_of(given[index], "cannot be restored", most)).clamp(0, 1)
        return restored

    def _restored(self, data: Data) -> Tensor:
        """Return data that are no images of bytes restored, in their own units (bytes: in 0..1)."""
        stack = self._fitted
        wanted = f"data of {list(stack.input_shape)}, like those that this denoiser was trained on"
        given = new_examples(stack, data, "cannot be restored", wanted)
        self._check_shape(tuple(given.shape[1:]))
        read, scaling = StoredInputs(given), stack.scaling
        restored = torch.empty(given.shape, dtype=torch.float32 if scaling is None else torch.float64)
        for index in each(chunks(len(given), stack.widest(tuple(given.shape[1:])), BATCH), "restored", "batches"):
            found = stack(read(index))
            restored[index] = found if scaling is None else scaling.in_units(found)
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
        write(Path(path), FORMAT, stack.state_dict(), self.spec.stack, stack.input_shape, header, stack.scaling)

    @classmethod
    @own_settings()
    def load(cls, path: str | Path) -> Denoiser:
        """Return a denoiser that `save` wrote; the file need not be trusted. Raises InputError if it is invalid."""
        what = "a denoiser {reason}: give a file that Denoiser.save wrote"
        with reading(path, FORMAT, what, ("corruption", "level"), ANY) as content:
            corruption, level = content.header["corruption"], content.header["level"]
            level = tuple(level) if isinstance(level, list) else level
            denoiser = cls(RunSpec(stack=content.spec), corruption=corruption, level=level)
            denoiser.stack = content.empty()
            content.fill(denoiser.stack)
            denoiser.stack.eval()
        return denoiser
