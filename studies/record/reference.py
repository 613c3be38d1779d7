"""The references of a study of training runs: the errors of PCA, of the mean image, and of methods that the study names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.runtime.progress import Bar
from stacked.util.atomic import write_atomically
from studies.design.references import Found, Reference
from studies.record.samples import write_arrays
from studies.statistics.checksums import object_text

if TYPE_CHECKING:
    from torch import Tensor

    from stacked.data import Splits
    from stacked.spec import RunSpec

#: Largest number of values of an image for which PCA is fitted; a larger PCA would take longer than the runs.
MOST_PCA_VALUES = 4096


def write_reference(
    out: Path, splits: Splits, base: RunSpec, references: Mapping[str, Reference] | None = None
) -> None:
    """Write reference.json with the errors of PCA, of the mean image and of `references` by name, unless the file exists.

    PCA has as many components as the bottleneck has values. For the figures, samples/pca-s0.npz holds its reconstructions and
    the first two components of the test images; the samples of other references are files of their names.
    """
    from stacked.evaluation.references import mean_reference, pca_reference
    from stacked.model.stack import build

    path = out / "reference.json"
    if path.exists():
        return
    train, test = splits.train.inputs, splits.test.inputs
    mean = mean_reference(train, test, splits.scaling)
    found: dict[str, float] = {
        "mean_mse": mean.mse,
        "mean_sse": mean.sse,
        "train_images": len(splits.train),
        "train_labels": int((splits.train.marks >= 0).sum()),
    }
    components = int(np.prod(build(base.stack, splits.input_shape).latent_shape))
    if has_pca(train, components):
        errors = pca_reference(train, test, components, splits.scaling)
        found |= {"pca_mse": errors.mse, "pca_sse": errors.sse, "pca_components": components}
        write_arrays(out / "samples" / "pca-s0.npz", pca_samples(splits, components))
    for name, measure in (references or {}).items():
        with Bar(name, None):
            of_method = measure(splits, base)
        found |= {f"{name}/{metric}": value for metric, value in of_method.metrics.items()}
        if of_method.samples:
            write_arrays(out / "samples" / f"{name}-s0.npz", dict(of_method.samples))
    write_atomically(path, object_text(found))


def has_pca(train: Tensor, components: int) -> bool:
    """Return whether PCA with so many components is fitted to training inputs [N, ...]."""
    values = train[0].numel()
    return components < min(len(train), values) and values <= MOST_PCA_VALUES


def pca(components: int) -> Reference:
    """Return the reference PCA with another number of components than the bottleneck has values."""

    def measure(splits: Splits, base: RunSpec) -> Found:
        from stacked.evaluation.references import pca_reference

        train = splits.train.inputs
        if not has_pca(train, components):
            return Found()
        errors = pca_reference(train, splits.test.inputs, components, splits.scaling)
        return Found({"final/recon_mse": errors.mse, "final/recon_sse": errors.sse}, pca_samples(splits, components))

    return measure


def pca_samples(splits: Splits, components: int) -> dict[str, Any]:
    """Return arrays by name: pictures of test examples and their PCA reconstructions, two components of all, and labels."""
    import torch

    from stacked.evaluation.evaluate import spread
    from stacked.evaluation.pictures import SHOWN, sample
    from stacked.evaluation.references import as_rows, fitted_pca
    from stacked.util.chunks import chunks

    test, pca = splits.test, fitted_pca(splits.train.inputs, components)
    shown, parts = test.inputs[spread(len(test), SHOWN)], chunks(len(test), test.inputs[0].numel())
    restored = pca.inverse_transform(pca.transform(as_rows(shown))).reshape(shown.shape)
    if splits.scaling is None:
        restored = (restored.clip(0, 1) * 255).round().astype(np.uint8)
    return {
        "originals": sample(shown),
        "depth1": sample(shown, torch.from_numpy(restored)),
        "codes": np.concatenate([pca.transform(as_rows(test.inputs[index]))[:, :2] for index in parts]).astype(
            np.float16
        ),
        "labels": test.labels.numpy().astype(np.int16),
    }
