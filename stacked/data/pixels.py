"""Images given by a user, converted to tensors; unusable ones are refused with a reason."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked.util.checks import layout_hint, need
from stacked.util.errors import InputError

#: types in which a user can give images
Pixels: TypeAlias = "Tensor | NDArray[Any]"


#: the most dimensions of data: volumes [N, C, D, H, W]
MOST_DIMENSIONS = 5


def stored(values: Pixels, refused: str) -> Tensor:
    """Return examples [N, ...], a tensor or NumPy array of uint8 or of floats with 2 to 5 dimensions, as a tensor.

    Raises InputError for other types and shapes, and for images of bytes whose channels are missing or last; `refused` is the
    verb phrase of its message.
    """
    wanted = "uint8 or floats: vectors [N, D], signals [N, C, L], images [N, C, H, W] or volumes [N, C, D, H, W]"
    found = as_tensor(values, refused, wanted)
    # three axes of which two are long are images without channels, and not signals
    seem_images = found.dtype == torch.uint8 and (found.dim() == 4 or (found.dim() == 3 and min(found.shape[1:]) > 4))
    hint = layout_hint(found.shape) if seem_images else ""
    need(
        (found.dtype == torch.uint8 or found.is_floating_point()) and 2 <= found.dim() <= MOST_DIMENSIONS and not hint,
        f"data of {values.dtype} and shape {list(found.shape)} {refused}: give {wanted}{hint}",
    )
    return found


def bytes_of(images: Pixels, refused: str, wanted: str = "uint8 [N, C, H, W]") -> Tensor:
    """Return images (tensor or NumPy array) as a uint8 tensor [N, C, H, W].

    Raises InputError for other types and shapes; `refused` is the verb phrase of its message, such as "cannot be encoded".
    """
    found = as_tensor(images, refused, wanted)
    shape = list(found.shape)
    need(
        found.dtype == torch.uint8 and found.dim() == 4 and not layout_hint(shape),
        f"images of {images.dtype} and shape {shape} {refused}: give {wanted}{layout_hint(shape)}",
    )
    return found


def scaled_images(images: Pixels, refused: str) -> Tensor:
    """Return images (tensor or NumPy array) [N, C, H, W], uint8 or float, as a tensor of the same type.

    Raises InputError for other types and shapes; `refused` is the verb phrase of its message.
    """
    wanted = "uint8, or floats on a scale of 0 to 1, [N, C, H, W]"
    found = as_tensor(images, refused, wanted)
    shape = list(found.shape)
    need(
        (found.dtype == torch.uint8 or found.is_floating_point()) and found.dim() == 4 and not layout_hint(shape),
        f"images of {images.dtype} and shape {shape} {refused}: give {wanted}{layout_hint(shape)}",
    )
    return found


def as_numbers(values: Pixels, refused: str, wanted: str) -> Tensor:
    """Return real numbers (tensor or NumPy array) as a tensor; InputError for other types."""
    found = as_tensor(values, refused, wanted)
    need(not found.is_complex(), f"data of {values.dtype} and shape {list(found.shape)} {refused}: give {wanted}")
    return found


def floats_of(images: Tensor, refused: str, most: float) -> Tensor:
    """Return the images of `scaled_images` as float32 on a scale of 0 to 1.

    Raises InputError for values that are not finite, and for floats farther than `most` from 0, which must be on another scale.
    `refused` is the verb phrase of its message.
    """
    if images.dtype == torch.uint8:
        return images.float() / 255
    found = images.float()
    need(
        bool(found.isfinite().all()),
        f"images with values that are not finite {refused}: give uint8, or floats on a scale of 0 to 1, [N, C, H, W]"
        if images.dim() == 4
        else f"values that are not finite {refused}: fill them in, or leave out these examples",
    )
    farthest = float(found.abs().max()) if found.numel() else 0.0
    need(
        farthest <= most,
        f"floats of up to {farthest:g} are not on a scale of 0 to 1 and {refused}: divide them by the value that is white",
    )
    return found


def as_tensor(images: Pixels, refused: str, wanted: str) -> Tensor:
    """Return a tensor unchanged and a NumPy array, of any memory layout, as a tensor; InputError for anything else."""
    if isinstance(images, Tensor):
        return images
    need(
        isinstance(images, np.ndarray),
        f"images in a {type(images).__name__} {refused}: give {wanted}, in a tensor or a NumPy array",
    )
    try:
        return torch.from_numpy(np.require(images, requirements=["C", "W"]))
    except TypeError as error:  # a dtype that torch lacks, such as object
        raise InputError(f"images of {images.dtype} {refused}: give {wanted}") from error
