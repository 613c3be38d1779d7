"""The quality of the images of a figure: their PSNR, written beside each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: what the numbers beside the rows are, for the line below the figure
DECIBELS = "at the right: mean PSNR of the images of the row in dB (higher is better)"


def decibels(lines: Mapping[str, NDArray[Any]], originals: NDArray[Any]) -> dict[str, str]:
    """Return the mean PSNR of each row of images as text, such as "21.4 dB"; rows that equal the originals have none.

    lines: images uint8 [n, C, H, W] by label. originals: uint8 [n, C, H, W].
    """
    found = {}
    for name, images in lines.items():
        errors = np.square(images / 255.0 - originals / 255.0).mean((1, 2, 3))
        if errors.any():
            found[name] = f"{-10 * np.log10(np.maximum(errors, 1e-12)).mean():.1f} dB"
    return found
