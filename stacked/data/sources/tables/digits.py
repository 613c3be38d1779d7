"""The 8x8 digits bundled with scikit-learn, for quick tests."""

from __future__ import annotations

from stacked.data.formats.dataset import Dataset, Official, Source
from stacked.data.formats.split import Split, hold_out

TEST = 1 / 6


class Digits(Dataset):
    """1,797 images, 1x8x8 (Alpaydin and Kaynak 1998), with values 0..16 scaled to 0..255.

    scikit-learn's copy has no official division: a fixed stratified sixth is the test set.
    """

    name = "digits"

    def load(self, source: Source) -> Official:
        """Read the images from scikit-learn, without network or data directory."""
        import numpy as np
        import torch
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.round(digits.images * 255 / 16).astype(np.uint8)
        images = torch.from_numpy(pixels)[:, None].contiguous()
        train, test = hold_out(Split(images, torch.from_numpy(digits.target).to(torch.int64)), TEST)
        return Official(train, test, tuple("0123456789"))
