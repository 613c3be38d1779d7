"""Scores of classifiers and regressors: the accuracy, and R²."""

from __future__ import annotations

import torch
from torch import Tensor

from stacked.evaluation.evaluate import device_of
from stacked.model.classifier import Classifier
from stacked.model.regressor import Regressor
from stacked.runtime.settings import own_settings
from stacked.training.codes import Inputs, StoredInputs
from stacked.util.chunks import chunks
from stacked.util.errors import Diverged

#: images [N, C, H, W] of uint8, or floats by index
Data = Tensor | Inputs
#: data with their labels, classes int64 [N] or numbers [N, K], and with a weight above 0 for each label [N] (None, or left out:
#: all the same)
Labelled = tuple[Data, Tensor] | tuple[Data, Tensor, Tensor | None]


def reading(data: Data, device: torch.device) -> Inputs:
    """Return data as floats by index; uint8 images are converted on `device`."""
    return StoredInputs.of(data, device) if isinstance(data, Tensor | StoredInputs) else data


def outputs_of(model: Classifier | Regressor, data: Data) -> Tensor:
    """Return the outputs [N, K] of a model in eval mode, on the CPU; Diverged if they are not finite."""
    read, found = reading(data, device_of(model)), []
    model.eval()
    with torch.no_grad():
        for index in chunks(len(read), model.widest):
            outputs = model(read(index)).cpu()
            if not outputs.isfinite().all():
                raise Diverged("the model's outputs are not finite")
            found.append(outputs)
    return torch.cat(found)


@own_settings()
def accuracy(model: Classifier, data: Data, labels: Tensor, weights: Tensor | None = None) -> float:
    """Return the fraction, by weight [N], of examples classified as labelled; Diverged if logits are not finite."""
    right = outputs_of(model, data).argmax(1) == labels.cpu()
    if weights is None:
        return int(right.sum()) / len(right)
    share = weights.cpu().double()
    return float((share * right).sum() / share.sum())


@own_settings()
def r2(model: Regressor, data: Data, targets: Tensor, weights: Tensor | None = None) -> float:
    """Return the coefficient of determination R² of the predictions, at most 1, a mean over the K targets [N, K].

    Predicting the mean gives 0, and so does a constant target that is not predicted exactly, as in scikit-learn. weights: of the
    examples [N] (None: all the same). Raises Diverged if outputs are not finite.
    """
    outputs, wanted = outputs_of(model, data).double(), model.standardised(targets)
    share = torch.ones(len(wanted), 1).double() if weights is None else weights.cpu().double()[:, None]
    mean = (share * wanted).sum(0) / share.sum()
    unexplained = (share * (wanted - outputs).square()).sum(0)
    variance = (share * (wanted - mean).square()).sum(0)
    varying = wanted.amax(0) > wanted.amin(0)  # else the variance is a rounding error
    found = torch.where(varying, 1 - unexplained / torch.where(varying, variance, 1.0), (unexplained == 0).double())
    return found.mean().item()


def score(model: Classifier | Regressor, data: Data, labels: Tensor, weights: Tensor | None = None) -> float:
    """Return the accuracy of a classifier or the R² of a regressor; arguments and errors as of `accuracy` and `r2`."""
    if isinstance(model, Regressor):
        return r2(model, data, labels, weights)
    return accuracy(model, data, labels, weights)
