"""The choice between keeping the codes of frozen stages in memory and recomputing them, from numbers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from stacked.util.checks import choice
from stacked.util.errors import InputError

#: Codes larger than this are recomputed in every update. A constant, so that the choice, and with it the FLOPs of a run, do not
#: depend on the machine.
MOST_BYTES = 2**30
MODES = ("auto", "memory", "recompute")


@dataclass(frozen=True)
class CodeCache:
    """How a phase gets its inputs: `mode` "images", "memory" (cached codes) or "recompute", why, and the bytes of the cache.

    folder: where cached codes lie in a memory-mapped file (None: in memory).
    """

    mode: str
    why: str
    bytes: int = 0
    folder: Path | None = None


def choose_cache(
    depth: int,
    values: int,
    images: int,
    updates: int,
    batch_size: int,
    mode: str = "auto",
    free: float = math.inf,
    folder: Path | None = None,
) -> CodeCache:
    """Choose between caching the codes at `depth` (computed once per image) and recomputing them (once per use).

    values: number of values in the code of an image. mode: "auto", "memory" or "recompute". free: bytes of free memory. folder:
    where codes of mode "memory" go, in a memory-mapped file, that exceed MOST_BYTES or do not fit in memory. Raises InputError
    if `mode` is "memory", there is no such folder and the codes do not fit.
    """
    choice(mode, MODES, "codes")
    if depth == 0:
        return CodeCache("images", "the phase reads images")
    size, uses = 4 * images * values, updates * min(batch_size, images)
    gib = f"{size / 2**30:.1f} GiB"
    if mode == "memory" and folder is not None and size > min(MOST_BYTES, 0.8 * free):
        return CodeCache(mode, f"as requested, {gib} in a memory-mapped file", size, folder)
    if mode == "memory" and size > 0.8 * free:
        raise InputError(
            f"the codes at depth {depth} need {gib} and {free / 2**30:.1f} GiB are free: choose codes 'recompute', give a "
            "disk_cache (--disk-cache DIR), or use fewer images"
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
