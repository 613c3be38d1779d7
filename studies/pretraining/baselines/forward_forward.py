"""Forward-Forward: each layer tells images with their true label from images with a wrong one (Hinton 2022).

The supervised network of section 3.3: the label is written into the image, every layer has a goodness of its own, which is raised
for true pairs and lowered for wrong ones, and no gradient passes between layers. Differences from the paper: wrong labels are
drawn with equal probability and not by the network's own mistakes, the goodness is the mean of the squared activities instead
of their sum, and there are no shifts of images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: added to mean squares, so that a layer without activity can be normalised
TINY = 1e-8


class ForwardForward(nn.Module):
    """A perceptron of rectified layers of these `widths` on vectors of `values` values and one of `classes` labels.

    The label takes the place of the first `classes` values, which are the pixels of a corner in images. What a layer reads has a
    mean square of 1, so that the goodness of a layer is not passed on. threshold: the goodness at which a label is as likely true
    as wrong.
    """

    def __init__(self, values: int, widths: Sequence[int], classes: int, *, threshold: float = 2.0) -> None:
        super().__init__()
        sizes = [values, *widths]
        self.layers = nn.ModuleList(nn.Linear(read, given) for read, given in zip(sizes, widths, strict=False))
        self.classes, self.threshold = classes, threshold

    def with_labels(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Return rows [N, D] with labels, int64 [N], written into them."""
        return torch.cat([F.one_hot(labels, self.classes).to(rows.dtype), rows[:, self.classes :]], dim=1)

    def activities(self, rows: Tensor) -> list[Tensor]:
        """Return the activities of all layers for rows [N, D] that hold a label; a gradient reaches only the layer itself."""
        found = []
        for layer in self.layers:
            rows = layer(normalised(rows)).relu()
            found.append(rows)
            rows = rows.detach()
        return found

    def loss(self, rows: Tensor, labels: Tensor, wrong: Tensor) -> Tensor:
        """Return the sum over the layers of the mean cross-entropy of telling true from wrong labels, a scalar."""
        true, false = (self.activities(self.with_labels(rows, each)) for each in (labels, wrong))
        losses = [F.softplus(self.threshold - goodness(each)).mean() for each in true]
        losses += [F.softplus(goodness(each) - self.threshold).mean() for each in false]
        return torch.stack(losses).sum() / 2

    @torch.no_grad()
    def predict(self, rows: Tensor) -> Tensor:
        """Return the labels, int64 [N], with the highest goodness, summed over all layers but the first (or the only layer's)."""
        found = []
        for label in range(self.classes):
            activities = self.activities(self.with_labels(rows, torch.full((len(rows),), label)))
            found.append(sum((goodness(each) for each in activities[1:] or activities), torch.zeros(len(rows))))
        return torch.stack(found, 1).argmax(1)

    @torch.no_grad()
    def features(self, rows: Tensor) -> Tensor:
        """Return the normalised activities of all layers but the first (or the only layer's) with an equal part of each label."""
        neutral = torch.cat([torch.full((len(rows), self.classes), 1 / self.classes), rows[:, self.classes :]], dim=1)
        activities = self.activities(neutral)
        return torch.cat([normalised(each) for each in activities[1:] or activities], dim=1)


def goodness(activities: Tensor) -> Tensor:
    """Return the mean square of activities [N, D] for each row [N]."""
    return activities.square().mean(1)


def normalised(rows: Tensor) -> Tensor:
    """Return rows [N, D], each divided by the root of its mean square."""
    return rows * (rows.square().mean(1, keepdim=True) + TINY).rsqrt()


def forward_forward(
    rows: Tensor,
    labels: Tensor,
    widths: Sequence[int],
    classes: int,
    *,
    lr: float = 1e-3,
    threshold: float = 2.0,
    epochs: int = 60,
    batch_size: int = 100,
    seed: int = 0,
) -> ForwardForward:
    """Return a network that has learned from rows [N, D], floats, and labels, int64 [N], by Adam, all layers at once."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ForwardForward(rows.shape[1], widths, classes, threshold=threshold)
    optimiser = torch.optim.Adam(network.parameters(), lr)
    for _ in range(epochs):
        for batch in torch.randperm(len(rows), generator=drawn).split(batch_size):
            given = labels[batch]
            wrong = (given + torch.randint(1, classes, given.shape, generator=drawn)) % classes
            optimiser.zero_grad()
            network.loss(rows[batch], given, wrong).backward()
            optimiser.step()
    return network.eval()
