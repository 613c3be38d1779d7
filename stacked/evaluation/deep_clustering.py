"""Clusterings that train a copy of the encoder without labels: deep embedded clustering (Xie, Girshick & Farhadi 2016)."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stacked.data.order import Order
from stacked.evaluation.clustering import SEED, Agreement, agreement
from stacked.evaluation.evaluate import Codes, check_finite, device_of
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.progress import Bar
from stacked.runtime.rng import derive
from stacked.runtime.settings import own_settings
from stacked.runtime.unlogged import unlogged
from stacked.training.codes import StoredInputs
from stacked.util.chunks import chunks

#: Protocol of deep embedded clustering: starts of k-means, the settings of gradient descent, the fraction of examples that change
#: their cluster in an epoch at which training ends, and the most epochs.
STARTS, LR, MOMENTUM, BATCH, TOLERANCE, EPOCHS = 20, 0.01, 0.9, 256, 0.001, 20


def soft_assignment(codes: Tensor, centres: Tensor) -> Tensor:
    """Return the probabilities [N, K] with which codes [N, D] belong to clusters with centres [K, D] (equation 1).

    q_ij is proportional to 1 / (1 + ||z_i - mu_j||^2), the kernel of Student's t-distribution with one degree of freedom.
    """
    # exact differences: a product of matrices would lose small distances to rounding
    distances = torch.cdist(codes, centres, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = 1 / (1 + distances.square())
    return kernel / kernel.sum(1, keepdim=True)


def target_distribution(q: Tensor) -> Tensor:
    """Return the target [N, K] of soft assignments q [N, K] of all examples (equation 3).

    p_ij is proportional to q_ij^2 / sum_i q_ij: confident assignments count more, and large clusters less.
    """
    weight = q.square() / q.sum(0)
    return weight / weight.sum(1, keepdim=True)


def divergence(q: Tensor, p: Tensor) -> Tensor:
    """Return the mean over examples of KL(p || q) in nats, for distributions [N, K] (equation 2); no gradient flows to p."""
    return F.kl_div(q.log(), p.detach(), reduction="batchmean")


@unlogged()
def initial_centres(codes: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Return the centres [K, D] of k-means on codes [N, D] and the cluster of each code [N]: the best of 20 starts, seed 0."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    check_finite(codes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct codes than clusters
        model = KMeans(clusters, n_init=STARTS, random_state=SEED).fit(codes.numpy())
    return torch.from_numpy(model.cluster_centers_).to(codes.dtype), torch.from_numpy(model.labels_).long()


def root_mean_square(images: StoredInputs) -> float:
    """Return the root of the mean square of all values of images [N, ...], and 1 if all are 0."""
    values = math.prod(images.shape)
    squares = (images(index).double().square().sum().item() for index in chunks(len(images), values))
    return math.sqrt(math.fsum(squares) / (len(images) * values)) or 1.0


@own_settings()
def refined(
    stack: StackedAutoencoder,
    images: StoredInputs,
    clusters: int,
    *,
    epochs: int = EPOCHS,
    tolerance: float = TOLERANCE,
) -> tuple[StackedAutoencoder, Tensor]:
    """Return a copy of the stack, whose encoder is trained to cluster images [N, ...], and the centres [K, D] on the CPU.

    The centres begin at those of k-means on the codes. Encoder and centres then minimise the KL divergence of the soft
    assignments from their target distribution, which is computed from all images before every epoch. Protocol: gradient descent
    with learning rate 0.01 and momentum 0.9 in batches of 256, until at most a fraction `tolerance` of the images (0.1 %) changes
    its cluster in an epoch, for at most `epochs` epochs (20); nothing is selected, and labels are not read. Raises Diverged if
    codes are not finite.

    The kernel compares distances with 1, so the scale of codes matters. Xie et al. scale images to a mean square of 1, which
    multiplies the codes of rectifiers without biases by the same number. Here codes and centres are multiplied by it while they
    are trained, and the centres are returned in the units of the codes.
    """
    stack = copy.deepcopy(stack)
    stack.learn_only(1, stack.depth)
    device, order = device_of(stack), Order(len(images), BATCH, derive(SEED, "deep clustering"))
    read = StoredInputs.of(images, device)
    scale = 1 / root_mean_square(read)
    start, before = initial_centres(scale * Codes(stack, read, stack.depth).all(), clusters)
    centres = start.to(device).requires_grad_()
    weights = [p for stage in stack.stages for p in stage.encoder.parameters()]
    optimiser = torch.optim.SGD([*weights, centres], LR, MOMENTUM)
    with Bar("deep clustering", epochs, "epochs") as bar:
        for epoch in range(epochs):
            q = soft_assignment(scale * Codes(stack, read, stack.depth).all(), centres.detach().cpu())
            check_finite(q)
            now = q.argmax(1)
            if epoch and (now != before).double().mean() <= tolerance:
                break
            before, target = now, target_distribution(q).to(device)
            stack.train()
            for update in range(order.updates_per_epoch):
                index = order.batch(epoch * order.updates_per_epoch + update)
                optimiser.zero_grad()
                code = scale * stack.encode(read(index)).flatten(1)
                divergence(soft_assignment(code, centres), target[index.to(device)]).backward()
                optimiser.step()
            bar.to(epoch + 1)
    return stack.eval(), centres.detach().cpu() / scale


def dec(
    stack: StackedAutoencoder,
    train: StoredInputs,
    clusters: int,
    test: StoredInputs,
    test_labels: Tensor,
    *,
    epochs: int = EPOCHS,
    tolerance: float = TOLERANCE,
) -> Agreement:
    """Return how well the clusters of test images agree with their labels [M], after deep embedded clustering of `train`.

    The protocol is that of `refined`, with as many `clusters` as there are classes; a test image belongs to the cluster of the
    highest soft assignment, that of the nearest centre. The labels of test images are used only to match clusters with classes.
    The stack is not changed. Raises Diverged if codes are not finite.
    """
    found, centres = refined(stack, train, clusters, epochs=epochs, tolerance=tolerance)
    codes = Codes(found, test, found.depth).all()
    check_finite(codes)
    return agreement(soft_assignment(codes, centres).argmax(1).numpy(), test_labels.numpy())


#: name -> function from a stack, training images, the number of clusters, test images and their labels to the agreement
DEEP_CLUSTERINGS: dict[str, Callable[[StackedAutoencoder, StoredInputs, int, StoredInputs, Tensor], Agreement]] = {
    "dec": dec,
}
