"""SoftHebb and Forward-Forward: their rules against loops over examples and units, and that they learn digits."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from stacked.data import load
from stacked.data.formats.split import Split
from studies.pretraining.baselines.forward_forward import ForwardForward, forward_forward
from studies.pretraining.baselines.softhebb import SoftHebb, direction, softhebb

DIGITS = load("digits")


def floats(part: Split) -> Tensor:
    return part.inputs.float() / 255


def probed(train: Tensor, test: Tensor) -> float:
    """Test accuracy of a logistic regression on scaled features."""
    scaler = StandardScaler().fit(train.flatten(1))
    found = LogisticRegression(max_iter=200).fit(scaler.transform(train.flatten(1)), DIGITS.train.labels)
    return float(found.score(scaler.transform(test.flatten(1)), DIGITS.test.labels))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# SoftHebb


def test_the_hebbian_rule_is_that_of_the_paper() -> None:
    """Row by row and unit by unit: y (x - u w), with the sign of losers reversed."""
    weights, rows = drawn(3, 4), drawn(5, 4, seed=1)
    expected = torch.zeros(3, 4, dtype=torch.float64)
    for x in rows:
        u = torch.stack([w @ x for w in weights])
        strength = (2.0 * u).exp() / (2.0 * u).exp().sum()
        for k in range(3):
            y = strength[k] if u[k] == u.max() else -strength[k]
            expected[k] += y * (x - u[k] * weights[k])
    torch.testing.assert_close(direction(weights, rows, 2.0), expected / expected.abs().max(), rtol=1e-8, atol=1e-10)


def test_a_layer_learns_from_the_patches_that_it_convolves() -> None:
    """The update by a convolution as in the authors' code: of maps with the activities."""
    torch.manual_seed(0)
    layer = SoftHebb(2, 5, radius=3.0).double()
    maps, before = drawn(4, 2, 6, 6), layer.weight.clone()
    padded = torch.nn.functional.pad(
        (maps - maps.mean((0, 2, 3), keepdim=True)) / (maps.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt(),
        (1,) * 4,
    )
    u = torch.nn.functional.conv2d(padded, before)
    y = u.softmax(1) * torch.where(u == u.amax(1, keepdim=True), 1, -1)
    change = torch.nn.functional.conv2d(padded.transpose(0, 1), y.transpose(0, 1)).transpose(0, 1)
    change = change - (y * u).sum((0, 2, 3))[:, None, None, None] * before
    rates = 0.08 * (before.flatten(1).norm(dim=1) - 1).abs().sqrt()
    expected = before + rates[:, None, None, None] * change / change.abs().max()
    found = layer.learn(maps)
    torch.testing.assert_close(layer.weight, expected, rtol=1e-9, atol=1e-12)
    triangle = (u - u.mean(1, keepdim=True)).clamp(min=0)
    torch.testing.assert_close(found, torch.nn.functional.max_pool2d(triangle, 2), rtol=1e-9, atol=1e-12)


def test_learning_brings_the_norms_of_units_to_one() -> None:
    """Those of units that seldom win more slowly."""

    def distances(epochs: int) -> Tensor:
        (layer,) = softhebb(floats(DIGITS.train), [8], radius=3.0, epochs=epochs)
        return (layer.weight.flatten(1).norm(dim=1) - 1).abs()  # type: ignore[operator]

    before, after = distances(0), distances(2)
    assert before.min() > 0.3
    assert (after < before).all()
    assert after.median() < 0.05


def test_softhebb_learns_features_of_digits() -> None:
    """They are better than those of the initial weights, averaged over positions."""
    train, test = floats(DIGITS.train), floats(DIGITS.test)

    def accuracy(epochs: int) -> float:
        network = softhebb(train, [16, 32], radius=3.0, epochs=epochs)
        with torch.no_grad():
            return probed(*(network(part).mean((2, 3)) for part in (train, test)))

    learned = accuracy(2)
    assert learned > 0.9
    assert learned > accuracy(0) + 0.02


def test_both_are_the_same_for_a_seed() -> None:
    images, labels = floats(DIGITS.train)[:60], DIGITS.train.labels[:60]
    one, same, other = (softhebb(images, [4], seed=seed)[0].weight for seed in (1, 1, 2))
    assert torch.equal(one, same)  # type: ignore[arg-type]
    assert not torch.equal(one, other)  # type: ignore[arg-type]
    first, again, third = (
        forward_forward(images.flatten(1), labels, [5], 10, epochs=1, seed=seed).layers[0].weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)  # type: ignore[arg-type]
    assert not torch.equal(first, third)  # type: ignore[arg-type]


# Forward-Forward


def test_each_layer_tells_true_from_wrong_labels_by_its_own_goodness() -> None:
    """The formula of the paper, with means of squares; the gradient of a layer is that of its own term."""
    torch.manual_seed(0)
    network = ForwardForward(6, [5, 4], 3, threshold=0.7).double()
    rows, labels, wrong = drawn(7, 6), torch.arange(7) % 3, (torch.arange(7) + 1) % 3
    terms = [torch.zeros((), dtype=torch.float64) for _ in network.layers]
    for sign, given in ((1, labels), (-1, wrong)):
        for n in range(7):
            x = torch.cat([torch.eye(3, dtype=torch.float64)[given[n]], rows[n, 3:]])
            for k, layer in enumerate(network.layers):
                y = (layer.weight @ (x / x.square().mean().sqrt()) + layer.bias).clamp(min=0)  # type: ignore[operator]
                terms[k] = terms[k] - torch.sigmoid(sign * (y.square().mean() - 0.7)).log() / 14
                x = y.detach()
    loss = network.loss(rows, labels, wrong)
    torch.testing.assert_close(loss, sum(terms), rtol=1e-6, atol=0)
    loss.backward()
    for layer, term in zip(network.layers, terms, strict=True):
        for parameter, expected in zip(
            layer.parameters(), torch.autograd.grad(term, list(layer.parameters())), strict=True
        ):
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("widths", [[100], [100, 100]], ids=str)
def test_forward_forward_learns_digits(widths: list[int]) -> None:
    """By goodness, and by a probe of its features; ten classes are guessed right in one case of ten."""
    train, test = (floats(part).flatten(1) for part in (DIGITS.train, DIGITS.test))
    network = forward_forward(train, DIGITS.train.labels, widths, 10, lr=1e-2, epochs=20)
    assert (network.predict(test) == DIGITS.test.labels).float().mean() > 0.8
    assert probed(network.features(train), network.features(test)) > 0.85
