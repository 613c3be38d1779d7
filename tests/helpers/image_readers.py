"""Every way in which an image file is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stacked.apps.codec.compress import read
from stacked.data.image_files.image import at_own_size, decode_all
from stacked.data.sources.images.folder import named_images


def readers(path: Path) -> tuple[Callable[[], Any], ...]:
    """Functions that read the file `path`, alone in its folder: for training, at its own size, as a folder, for a codec."""
    return (
        lambda: decode_all([path], 8, grey=False),
        lambda: list(at_own_size([path], grey=True)),
        lambda: named_images(path.parent, 8, grey=True),
        lambda: read(path, 3),
    )
