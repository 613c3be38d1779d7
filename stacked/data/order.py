"""The order of training images: a pure function of the seed and the number of updates made."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from stacked.runtime.rng import generator
from stacked.util.checks import need


class Order:
    """Batches of `batch_size` indices into `n` images, with each image at most once in an epoch.

    `batch(update)` depends only on the seed and `update`, so that arms of one batch size have the same batches, those of
    another size batches of the same permutation of an epoch, and a run can resume at any update. All batches have the same
    size: the last n mod batch_size images of an epoch's permutation are skipped. If n is less than batch_size, every batch
    holds all images. Raises InputError if n is 0.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        need(n > 0, "there are no images to train on: give at least one")
        self.n, self.size, self.seed = n, min(batch_size, n), seed
        self.updates_per_epoch = n // self.size
        self._permutation = functools.lru_cache(maxsize=1)(self._draw)

    def _draw(self, epoch: int) -> Tensor:
        return torch.randperm(self.n, generator=generator(self.seed, "order", epoch), device="cpu")

    def batch(self, update: int) -> Tensor:
        """Return the indices [size] of the batch for `update`, counted from 0 over the whole run."""
        epoch, position = divmod(update, self.updates_per_epoch)
        return self._permutation(epoch)[position * self.size : (position + 1) * self.size]
