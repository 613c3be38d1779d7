"""Denoising: a stack that was trained to restore images from corrupted ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from stacked.checks import need
from stacked.codes import Images
from stacked.model_file import reading, write
from stacked.plain import parsed
from stacked.pretrain import pretrain
from stacked.settings import own_settings
from stacked.spec import Budget, Optimisation, RunSpec, StackSpec
from stacked.stack import StackedAutoencoder

FORMAT = "stacked denoiser 1"
#: images that are restored at once
BATCH = 250


def default_spec() -> RunSpec:
    """Two convolutional stages, layer-wise and then end to end.

    Their code is larger than an image of one channel: what is to be restored is in the neighbourhood of a pixel, and the
    corruption keeps the stack from copying (Vincent et al. 2010).
    """
    return RunSpec(
        stack=StackSpec.of("conv", 32, 64),
        budget=Budget((800.0,), 2400.0, "updates"),
        optimisation=Optimisation(batch_size=64, schedule="cosine"),
    )


class Denoiser:
    """Restores images from corrupted ones of the kind that it was trained on, or near it.

    spec: what is trained (None: `default_spec`). corruption, level: as in a spec, "gaussian" with a standard deviation, or
    "salt-and-pepper" or "masking" with a share of the pixels, or several joined by "+" and a level for each. Running statistics
    are those of corrupted images, as in use, whatever the spec says. device: where it trains. Raises InputError for parameters
    that are none of these.
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
        # what it is used on is corrupted: so are the running statistics that serve it
        how = replace(first.optimisation, corruption=corruption, corruption_level=(level,), recalibrate=False)
        self.spec, self.device = replace(first, optimisation=how), device
        self.stack: StackedAutoencoder | None = None

    @own_settings()
    def fit(self, images: Tensor) -> Denoiser:
        """Train on clean images, uint8 [N, C, H, W]; Diverged when a loss is not finite."""
        need(
            images.dtype == torch.uint8 and images.dim() == 4,
            f"images of {images.dtype} and shape {list(images.shape)} cannot be read: give uint8 [N, C, H, W]",
        )
        self.stack = pretrain(self.spec, Images(images), tuple(images.shape[1:]), device=self.device).cpu()
        return self

    @own_settings()
    @torch.no_grad()
    def denoise(self, images: Tensor) -> Tensor:
        """The restored images, floats [N, C, H, W] in [0, 1], of noisy ones: floats on that scale, or uint8.

        Noise may lead beyond 0 and 1. Raises InputError for images of another shape than it was trained on.
        """
        need(self.stack is not None, "this denoiser is not fitted: call fit, or load one")
        assert self.stack is not None
        need(
            tuple(images.shape[1:]) == self.stack.input_shape,
            f"images of shape {list(images.shape[1:])} cannot be restored: give {list(self.stack.input_shape)}, as this "
            "denoiser was trained on",
        )
        floats = images.float() / (255 if images.dtype == torch.uint8 else 1)
        return torch.cat([self.stack.reconstruct(part).clamp(0, 1) for part in floats.split(BATCH)])

    @own_settings()
    def save(self, path: str | Path) -> None:
        """Write the denoiser to a file; InputError when it is not fitted, or the place cannot be written."""
        need(self.stack is not None, "this denoiser is not fitted: call fit, or load one")
        assert self.stack is not None
        how = self.spec.optimisation
        header = {"corruption": how.corruption, "level": how.corruption_level[0]}
        write(Path(path), FORMAT, self.stack.state_dict(), self.spec.stack, self.stack.input_shape, header)

    @classmethod
    @own_settings()
    def load(cls, path: str | Path) -> Denoiser:
        """The denoiser that `save` wrote, which may be anyone's; InputError when the file is none."""
        with reading(path, FORMAT, "a denoiser {reason}: give a file that Denoiser.save wrote") as content:
            corruption, level = (parsed(content.header[name]) for name in ("corruption", "level"))
            level = tuple(level) if isinstance(level, list) else level
            denoiser = cls(RunSpec(stack=content.spec), corruption=corruption, level=level)
            denoiser.stack = content.empty()
            content.fill(denoiser.stack)
            denoiser.stack.eval()
        return denoiser
