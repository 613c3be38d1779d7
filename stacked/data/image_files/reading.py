"""Parts of a dataset decoded into memory or into a memory-mapped file; unreadable images are left out up to a share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.data.formats.dataset import Source
from stacked.data.formats.division import division
from stacked.data.formats.split import Split, Splits
from stacked.data.image_files.encoded import EncodedImages
from stacked.data.image_files.image import check_report, decode_to_memory
from stacked.data.image_files.image_cache import cached_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: the share of images that is the test set, where there is no official one
TEST = 1 / 6


def image_splits(
    images: EncodedImages,
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    source: Source,
    name: str,
    valid: float,
    test: NDArray[np.int64] | None = None,
) -> Splits:
    """Return the splits of encoded images, which are decoded as `source` says.

    labels: int64 [N], which index `classes`, or are -1. valid: fraction of the training images that is held out. test: ascending
    numbers of the official test images (None: a fixed stratified sixth is held out). The images are divided before they are
    decoded, so that an unreadable one, which is left out, leaves the others where they are. Raises InputError if there are too
    few images, or more unreadable ones than `source` allows.
    """
    rest, held = division(labels, TEST) if test is None else (np.setdiff1d(np.arange(len(labels)), test), test)
    train, validation = division(labels[rest], valid)
    parts = [rest[train], rest[validation], held]
    train_split, valid_split, test_split = _decoded_parts(images, labels, parts, source)
    return Splits(name, train_split, valid_split, test_split, classes)


def _decoded_parts(
    images: EncodedImages, labels: NDArray[np.int64], parts: Sequence[NDArray[np.int64]], source: Source
) -> list[Split]:
    """Return the images of each part (their numbers, ascending), with their labels, without unreadable images."""
    import torch

    order, most = np.concatenate(parts).tolist(), source.most_unreadable
    found: Any
    if source.disk_cache is None:
        options = source.image_size, source.grey, source.white_level, source.max_megapixels
        found, report = decode_to_memory(images, order, *options)
    else:
        found = cached_images(images, order, source, source.disk_cache)
        report = found.report
    check_report(images, order, report, source.white_level, most)
    readable = np.ones(len(order), dtype=bool)
    readable[[place for place, _ in report.unreadable]] = False
    ends = np.cumsum([0, *map(len, parts)])
    splits = []
    for start, stop in pairwise(ends.tolist()):
        first, last = (int(readable[:end].sum()) for end in (start, stop))
        inputs = torch.from_numpy(found[first:last]) if source.disk_cache is None else found.part(first, last).tensor()
        mine = np.array(order[start:stop], dtype=np.int64)[readable[start:stop]]
        splits.append(Split(inputs, torch.from_numpy(labels[mine])))
    return splits
