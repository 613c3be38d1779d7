"""The choice between keeping the codes of frozen stages in memory and recomputing them, from numbers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stacked.util.checks import choice
from stacked.util.errors import InputError

#: Codes larger than this are recomputed in every update. A constant, so that the choice, and with it the FLOPs of a run, do not
#: depend on the machine.
MOST_BYTES = 2**30
MODES = ("auto", "memory", "recompute")


@dataclass(frozen=True)
class CodeCache:
    """How a phase gets its inputs: `mode` "images", "memory" (cached codes) or "recompute", why, and the bytes of the cache."""

    mode: str
    why: str
    bytes: int = 0


def choose_cache(
    depth: int, values: int, images: int, updates: int, batch_size: int, mode: str = "auto", free: float = math.inf
) -> CodeCache:
    """Choose between caching the codes at `depth` (computed once per image) and recomputing them (once per use).

    values: number of values in the code of an image. mode: "auto", "memory" or "recompute". free: bytes of free memory. Raises
    InputError if `mode` is "memory" and the codes do not fit.
    """
    choice(mode, MODES, "codes")
    if depth == 0:
        return CodeCache("images", "the phase reads images")
    size, uses = 4 * images * values, updates * min(batch_size, images)
    gib = f"{size / 2**30:.1f} GiB"
    if mode == "memory" and size > 0.8 * free:
        raise InputError(
            f"the codes at depth {depth} need {gib} and {free / 2**30:.1f} GiB are free: choose codes 'recompute', or use fewer "
            "images"
        )
    if mode != "auto":
        return CodeCache(mode, "as requested", size if mode == "memory" else 0)
    if uses <= images:
        return CodeCache("recompute", f"{uses:,} uses of {images:,} images: a cache saves nothing")
    if size > MOST_BYTES:
        return CodeCache("recompute", f"codes of {gib} exceed the limit of {MOST_BYTES / 2**30:.0f} GiB")
    if size > 0.8 * free:
        return CodeCache("recompute", f"codes of {gib} do not fit in the {free / 2**30:.1f} GiB free")
    return CodeCache("memory", f"{uses:,} uses of {images:,} images, {size / 2**20:.0f} MiB", size)
