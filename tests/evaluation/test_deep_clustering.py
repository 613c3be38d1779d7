"""Deep embedded clustering: its formulas beside plain NumPy and SciPy, its gradient, and its training beside a plain loop."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from torch import Tensor

from stacked import StackSpec, run
from stacked.data import Splits
from stacked.data.order import Order
from stacked.evaluation import deep_clustering
from stacked.evaluation.clustering import agreement
from stacked.evaluation.deep_clustering import (
    dec,
    divergence,
    initial_centres,
    refined,
    root_mean_square,
    soft_assignment,
    target_distribution,
)
from stacked.evaluation.label_rows import label_rows
from stacked.model.stack import StackedAutoencoder, build
from stacked.runtime.rng import derive, seeded
from stacked.training.codes import StoredInputs
from stacked.util.errors import Diverged
from studies.statistics.measures import measure
from studies.statistics.run_columns import limits
from tests.helpers.runs import SPEC, same_weights
from tests.helpers.splits import toy_splits


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor]:
    """Codes [9, 4] and centres [3, 4]; one code lies on a centre, one far from all."""
    rng = torch.Generator().manual_seed(0)
    codes, centres = (torch.randn(n, 4, generator=rng, dtype=torch.float64) for n in (9, 3))
    codes[0], codes[1] = centres[1], 1e4
    return codes, centres


def q_of(codes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    kernel = (1 + cdist(codes, centres, "sqeuclidean")) ** -1
    return kernel / kernel.sum(1)[:, None]


def p_of(q: np.ndarray) -> np.ndarray:
    """Equation 3, element by element."""
    found = np.empty_like(q)
    for i, row in enumerate(q):
        weights = [row[j] ** 2 / q[:, j].sum() for j in range(len(row))]
        found[i] = [weight / sum(weights) for weight in weights]
    return found


def test_assignments_and_their_target_are_those_of_the_paper(drawn: tuple[Tensor, Tensor]) -> None:
    codes, centres = drawn
    q = soft_assignment(codes, centres)
    expected = q_of(codes.numpy(), centres.numpy())
    np.testing.assert_allclose(q.numpy(), expected, rtol=1e-12)
    p = target_distribution(q)
    np.testing.assert_allclose(p.numpy(), p_of(expected), rtol=1e-12)
    np.testing.assert_allclose(p.sum(1).numpy(), 1, rtol=1e-12)
    assert p[0, 1] > q[0, 1]  # a confident assignment becomes more so
    loss = (p_of(expected) * np.log(p_of(expected) / expected)).sum() / len(codes)
    assert divergence(q, p).item() == pytest.approx(loss, rel=1e-10)
    assert loss > 0
    assert divergence(q, q).item() == pytest.approx(0, abs=1e-15)


def test_the_gradient_is_that_of_the_paper(drawn: tuple[Tensor, Tensor]) -> None:
    """Equations 4 and 5 with one degree of freedom, for the mean over examples; the target is constant."""
    codes, centres = (each.clone().requires_grad_() for each in drawn)
    q = soft_assignment(codes, centres)
    p = target_distribution(q)
    divergence(q, p).backward()
    z, mu = (each.detach().numpy() for each in (codes, centres))
    away = z[:, None] - mu  # [N, K, D]
    pull = (1 + (away**2).sum(2)) ** -1 * (p.detach().numpy() - q.detach().numpy())
    assert codes.grad is not None
    assert centres.grad is not None
    np.testing.assert_allclose(codes.grad.numpy(), 2 * (pull[..., None] * away).sum(1) / len(z), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(
        centres.grad.numpy(), -2 * (pull[..., None] * away).sum(0) / len(z), rtol=1e-9, atol=1e-14
    )
    assert (codes.grad.abs().sum(1) > 0).sum() >= 7


@pytest.fixture
def toy() -> Splits:
    return toy_splits(128)


@pytest.fixture
def stack() -> StackedAutoencoder:
    """Random weights: two dense stages, of which the code is linear, as in the paper."""
    spec = StackSpec.of("dense", 8, 3)
    linear = replace(spec, stages=(spec.stages[0], replace(spec.stages[1], activation="linear")), init="he")
    with seeded(0, "init"):
        return build(linear, (1, 12, 12))


def test_training_is_a_plain_loop(stack: StackedAutoencoder, toy: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 50, 2 in an epoch, 3 epochs; with plain parameters, products of matrices and torch's own optimiser."""
    monkeypatch.setattr(deep_clustering, "BATCH", 50)
    monkeypatch.setattr(deep_clustering, "LR", 0.05)
    images, before = StoredInputs(toy.train.inputs), copy.deepcopy(stack)
    found, centres = refined(stack, images, 4, epochs=3, tolerance=-1.0)
    assert same_weights(stack, before)
    x = toy.train.inputs.flatten(1).float() / 255
    scale = x.double().square().mean().sqrt().item() ** -1
    assert root_mean_square(images) == pytest.approx(1 / scale, rel=1e-12)
    assert scale > 2  # which makes a difference
    layers = [stage.encoder[1] for stage in before.stages]
    weights = [p.detach().clone().requires_grad_() for layer in layers for p in (layer.weight, layer.bias)]

    def encode(rows: Tensor) -> Tensor:
        w1, b1, w2, b2 = weights
        return ((rows @ w1.T + b1).relu() @ w2.T + b2) * scale

    with torch.no_grad():
        start = KMeans(4, n_init=20, random_state=0).fit(encode(x).numpy()).cluster_centers_
    mu = torch.from_numpy(start).float().requires_grad_()
    optimiser = torch.optim.SGD([*weights, mu], 0.05, 0.9)
    order = Order(len(x), 50, derive(0, "deep clustering"))
    for epoch in range(3):
        with torch.no_grad():
            p = torch.from_numpy(p_of(q_of(encode(x).double().numpy(), mu.double().numpy()))).float()
        for index in (order.batch(2 * epoch), order.batch(2 * epoch + 1)):
            kernel = 1 / (1 + ((encode(x[index])[:, None] - mu) ** 2).sum(2))
            q = kernel / kernel.sum(1, keepdim=True)
            loss = (p[index] * (p[index].log() - q.log())).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    torch.testing.assert_close(centres * scale, mu.detach(), rtol=1e-4, atol=1e-5)
    for stage, weight, old in zip(found.stages, weights[::2], layers, strict=True):
        torch.testing.assert_close(stage.encoder[1].weight.detach(), weight.detach(), rtol=1e-4, atol=1e-5)
        assert not torch.equal(stage.encoder[1].weight, old.weight)
    clusters = cdist(encode(toy.test.inputs.flatten(1).float() / 255).detach(), mu.detach()).argmin(1)
    result = dec(stack, images, 4, StoredInputs(toy.test.inputs), toy.test.labels, epochs=3, tolerance=-1.0)
    assert result == agreement(clusters, toy.test.labels.numpy())


def test_training_ends_where_clusters_hardly_change(stack: StackedAutoencoder, toy: Splits) -> None:
    """Before the second epoch at the earliest, which makes one epoch of updates; never before the first."""
    images = StoredInputs(toy.train.inputs)

    def weight(tolerance: float, epochs: int) -> Tensor:
        return refined(stack, images, 4, epochs=epochs, tolerance=tolerance)[0].stages[0].encoder[1].weight.detach()

    assert torch.equal(weight(1.0, 5), weight(-1.0, 1))
    assert not torch.equal(weight(-1.0, 2), weight(-1.0, 1))


def test_images_without_any_light_are_not_scaled() -> None:
    assert root_mean_square(StoredInputs(torch.zeros(3, 1, 2, 2, dtype=torch.uint8))) == 1
    assert root_mean_square(StoredInputs(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))) == 2.5
    assert root_mean_square(StoredInputs(torch.tensor([[3.0], [5.0]]), rows=torch.tensor([0]))) == 3


def test_codes_that_are_not_finite_end_it(stack: StackedAutoencoder, toy: Splits) -> None:
    with pytest.raises(Diverged, match="not finite"):
        initial_centres(torch.tensor([[0.0], [torch.nan]]), 2)
    with torch.no_grad():
        stack.stages[1].encoder[1].bias.fill_(torch.inf)
    with pytest.raises(Diverged, match="not finite"):
        refined(stack, StoredInputs(toy.train.inputs), 4)


def test_a_run_measures_it_from_its_own_encoder_and_labels(toy: Splits) -> None:
    stages = StackSpec.of("dense", 8, 4)
    plain = replace(SPEC, stack=stages, evaluation=replace(SPEC.evaluation, probe_labels=100, probes=("kmeans",)))
    spec = replace(plain, evaluation=replace(plain.evaluation, probes=("kmeans", "dec"), probe_depths="all"))
    result, without = run(spec, toy), run(plain, toy)
    added = {name for name in result.row if name.startswith("final/dec_")}
    assert added == {"final/dec_acc", "final/dec_nmi", "final/dec_ari"}  # of the bottleneck alone
    assert result.row["final/kmeans_acc"] == without.row["final/kmeans_acc"]
    assert same_weights(result.stack, without.stack)
    rows = label_rows(spec, toy).probed
    assert len(rows) == 100
    expected = dec(
        result.stack,
        StoredInputs(toy.train.inputs, rows=rows),
        4,
        StoredInputs(toy.test.inputs),
        toy.test.labels,
    )
    assert {name: result.row[name] for name in added} == {f"final/dec_{k}": v for k, v in asdict(expected).items()}
    for name in added:
        assert measure(name).better == "higher"
        assert measure(name).label.startswith("deep embedded clustering")
        assert limits(name)[1] == 1
