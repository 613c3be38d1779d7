"""Fine-tuning on numbers, on floats and with weights, as a plain loop does it; what is selected without validation data."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, r2_score
from torch import Tensor, nn

from stacked import Classification, InputError, RunSpec, StackedAutoencoder, StackSpec
from stacked.data.order import Order
from stacked.evaluation.fine_tuning import FineTuning, Selected, fine_tuned
from stacked.evaluation.scores import accuracy, r2
from stacked.model.regressor import Regressor, mean_and_scale
from stacked.model.stack import grow
from stacked.runtime.rng import derive, seeded
from stacked.training.codes import StoredInputs
from stacked.util.errors import Diverged
from tests.helpers.runs import same_weights

N, FEATURES = 60, 12
CONFIG = Classification(labels=(None,), lrs=(1e-2,), updates=9, epochs=0.1, batch_size=16, checks=3)


@pytest.fixture
def stack() -> StackedAutoencoder:
    made = StackedAutoencoder((FEATURES,))
    grow(made, RunSpec(stack=StackSpec.of("dense", 8, 5)), 2)
    return made.eval()


@pytest.fixture(scope="module")
def values() -> Tensor:
    return torch.rand(N, FEATURES, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def numbers(values: Tensor) -> Tensor:
    return torch.stack([1e4 + 300 * values[:, 0] * values[:, 1], values[:, 2] - 7], 1).double()


@pytest.fixture(scope="module")
def weights() -> Tensor:
    return torch.arange(1, N + 1).double()


@pytest.fixture(scope="module")
def classes(values: Tensor) -> Tensor:
    return (values[:, 0] > 0.5).long() + (values[:, 1] > 0.5).long()


def tuned(stack: StackedAutoencoder, train: Any, valid: Any = None, **recipe: Any) -> Selected:
    return fine_tuned(stack, train, valid, "abc", replace(CONFIG, **recipe), seed=3)


def plain(stack: StackedAutoencoder, values: Tensor, targets: Tensor, weights: Tensor, size: int) -> nn.Module:
    """A head and encoder trained by a loop of a dozen lines."""
    trained = copy.deepcopy(stack).train()
    outputs = targets.shape[1] if targets.is_floating_point() else 3
    with seeded(3, "head"):
        model = nn.Sequential(trained.encoder, nn.Linear(5, outputs))
    optimiser, order = (
        torch.optim.Adam(model.parameters(), lr=1e-2, fused=True),
        Order(N, size, derive(3, "classifier")),
    )
    for update in range(9):
        index = order.batch(update)
        out, target, weight = model(values[index]), targets[index], weights[index].float()
        if targets.is_floating_point():
            losses = (out - target.float()).square().mean(1)
        else:
            losses = F.cross_entropy(out, target, reduction="none")
        optimiser.zero_grad()
        ((weight * losses).sum() / weight.sum()).backward()
        optimiser.step()
    return model


@pytest.mark.parametrize("size", [16, N])
@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_weighted_labels_are_learnt_as_in_a_plain_loop(
    stack: StackedAutoencoder, request: pytest.FixtureRequest, kind: str, size: int
) -> None:
    values, labels, weights = (request.getfixturevalue(name) for name in ("values", kind, "weights"))
    found = tuned(stack, (StoredInputs(values), labels, weights), batch_size=size)
    targets = labels
    if kind == "numbers":
        mean = np.average(labels, axis=0, weights=weights)
        scale = np.sqrt(np.average((labels.numpy() - mean) ** 2, axis=0, weights=weights))
        targets = (labels - torch.from_numpy(mean)) / torch.from_numpy(scale)
    expected = plain(stack, values, targets, weights, size)
    for ours, theirs in zip(found.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    moved = [not torch.allclose(p, q) for p, q in zip(stack.encoder.parameters(), expected.parameters(), strict=False)]
    assert all(moved)


def test_numbers_are_learnt_as_in_a_plain_loop_and_predicted_in_their_units(
    stack: StackedAutoencoder, values: Tensor, numbers: Tensor
) -> None:
    found = tuned(stack, (StoredInputs(values), numbers))
    assert isinstance(found.model, Regressor)
    targets = (numbers - numbers.mean(0)) / numbers.std(0, correction=0)
    expected = plain(stack, values, targets, torch.ones(N), 16)
    with torch.no_grad():
        torch.testing.assert_close(found.model(values), expected(values), rtol=1e-4, atol=1e-5)
        units = numbers.mean(0) + numbers.std(0, correction=0) * expected(values).double()
        torch.testing.assert_close(found.model.in_units(found.model(values)), units, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_a_weight_of_two_is_a_row_twice(
    stack: StackedAutoencoder, request: pytest.FixtureRequest, values: Tensor, kind: str
) -> None:
    labels = request.getfixturevalue(kind)
    weights = torch.ones(N)
    weights[:20] = 2
    gradients = []
    for rows, weight in ((torch.arange(N), weights), (torch.cat([torch.arange(N), torch.arange(20)]), None)):
        train = StoredInputs(values[rows]), labels[rows], weight
        tuning = FineTuning(stack, train, None, "abc", replace(CONFIG, batch_size=len(rows)), seed=3)
        training, index = tuning.training, torch.arange(len(rows))
        assert training.targets
        drawn = training.weights(index) if training.weights else None
        training.objective(training.inputs(index), training.targets(index), 0, drawn).backward()
        gradients.append([p.grad for p in tuning.model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_the_scale_of_weights_is_none_of_the_loss(
    stack: StackedAutoencoder, values: Tensor, classes: Tensor, weights: Tensor
) -> None:
    one, other = (
        tuned(stack, (StoredInputs(values), classes, given)).model for given in (weights, 2.0**-200 * weights)
    )
    assert same_weights(one, other)


def test_floats_are_as_good_as_the_images_that_they_are(classes: Tensor) -> None:
    stack = StackedAutoencoder((1, 6, 6))
    grow(stack, RunSpec(stack=StackSpec.of("conv", 4)), 1)
    images = torch.randint(0, 256, (N, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    floats = StoredInputs(images / 255)
    one, other = (tuned(stack.eval(), (data, classes), (data, classes)) for data in (images, floats))
    assert same_weights(one.model, other.model)
    assert one.valid_score == other.valid_score


def test_without_validation_data_the_last_update_stands(
    stack: StackedAutoencoder, values: Tensor, classes: Tensor
) -> None:
    train = StoredInputs(values), classes
    found, selected = tuned(stack, train), tuned(stack, train, train, checks=1)
    assert (found.updates, found.updates_made) == (9, 9)
    assert np.isnan(found.valid_score)
    assert same_weights(found.model, selected.model)
    with pytest.raises(InputError, match="2 learning rates cannot be compared without validation data: give one"):
        tuned(stack, train, lrs=(1e-2, 1e-3))
    with pytest.raises(Diverged, match="the classifier of 60 labels became non-finite"):
        tuned(stack, train, lrs=(1e38,), encoder="frozen", updates=1, checks=1)


def test_regressors_are_selected_by_r2(
    stack: StackedAutoencoder, values: Tensor, numbers: Tensor, weights: Tensor
) -> None:
    train = StoredInputs(values), numbers
    found = tuned(stack, train, (*train, weights), lrs=(1e-9, 1e-2), updates=30)
    assert found.lr == 1e-2
    assert found.valid_score == r2(found.model, *train, weights) > 0  # type: ignore[arg-type]


def test_scores_are_scikit_learns(
    stack: StackedAutoencoder, values: Tensor, numbers: Tensor, classes: Tensor, weights: Tensor
) -> None:
    data = StoredInputs(values)
    regressor, classifier = tuned(stack, (data, numbers)).model, tuned(stack, (data, classes)).classifier
    assert isinstance(regressor, Regressor)
    with torch.no_grad():
        predicted, chosen = regressor.in_units(regressor(values)), classifier(values).argmax(1)
    for given in (None, weights):
        expected = r2_score(numbers, predicted, sample_weight=given)
        assert r2(regressor, data, numbers, given) == pytest.approx(expected, rel=1e-9)
        expected = accuracy_score(classes, chosen, sample_weight=given)
        assert accuracy(classifier, data, classes, given) == pytest.approx(expected)
    constant = torch.zeros_like(numbers)
    assert r2(regressor, data, constant) == r2_score(constant, predicted) == 0


def test_a_constant_is_centred_and_not_scaled_and_what_is_too_large_is_refused() -> None:
    mean, scale = mean_and_scale(torch.full((7, 1), 0.1).double())
    assert mean.item() == pytest.approx(0.1)
    assert scale.item() == 1
    with pytest.raises(InputError, match=r"targets up to 1e\+200 are too large: divide them by a number"):
        mean_and_scale(torch.tensor([[1e200], [-1e200]], dtype=torch.float64))


def test_a_regressor_resumes_bit_for_bit(stack: StackedAutoencoder, values: Tensor, numbers: Tensor) -> None:
    train, config = (StoredInputs(values), numbers, torch.arange(1.0, N + 1)), replace(CONFIG, lrs=(1e-3, 1e-2))
    whole = fine_tuned(stack, train, train, (), config, seed=3)

    class Stop(Exception):
        pass

    first = FineTuning(stack, train, train, (), config, seed=3)

    def stop() -> None:
        if (first.rate, first.update) == (1, 2):
            raise Stop

    with pytest.raises(Stop):
        first.train(stop)
    again = FineTuning(stack, train, train, (), config, seed=3)
    tensors, plain_values = first.state()
    again.restore({name: value.clone() for name, value in tensors.items()}, plain_values)
    resumed = again.train()
    assert same_weights(resumed.model, whole.model)
    assert resumed.valid_score == whole.valid_score
