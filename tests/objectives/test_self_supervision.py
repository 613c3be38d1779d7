"""Objectives without labels and decoders: each against its formula in NumPy or torch, its invariances, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from stacked import Budget, InputError, RunSpec, StackSpec, pretrain
from stacked.cost.forecast import estimate_cost
from stacked.cost.phase_cost import phase_cost
from stacked.data import load
from stacked.objectives import objectives
from stacked.objectives.infonce import averaged
from stacked.objectives.objective import EncodedBatch, Objective, ObjectiveSettings, ObjectiveTargets
from stacked.runs.run import run
from stacked.spec import Classification, Evaluation, Optimisation
from tests.helpers.phases import IMAGES
from tests.helpers.splits import toy_splits

TWO_VIEWS = ["barlow-twins", "vicreg"]
ALL = [*TWO_VIEWS, "infonce"]
#: the shape of a code that each of them reads
SHAPES = {"barlow-twins": (6,), "vicreg": (6,), "infonce": (3, 4, 2)}


def made(name: str, *shape: int, **options: Any) -> Objective:
    torch.manual_seed(0)
    small = {"width": 5, "layers": 1} if name in TWO_VIEWS else {}
    return objectives()[name](ObjectiveSettings(shape, (1, 12, 12)), **small | options).double()


def codes(*shape: int, seed: int = 3, n: int = 8) -> Tensor:
    return torch.rand(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batch(*views: Tensor) -> EncodedBatch:
    return EncodedBatch(views, ObjectiveTargets(), lambda: views[0].sum())


def views_of(name: str, **more: Any) -> EncodedBatch:
    shape = SHAPES[name]
    return batch(*(codes(*shape, seed=k, **more) for k in range(objectives()[name].views)))


def as_features(objective: Any, *features: Tensor) -> EncodedBatch:
    """A batch in which these are the features of the views: the projector is the identity."""
    objective.projector = torch.nn.Identity()
    return batch(*features)


# Formulas


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_barlow_twins_is_the_formula_of_the_paper(scale: float) -> None:
    """Entry by entry, and by NumPy's correlations where the features are so large that the constant has no effect."""
    objective = made("barlow-twins", 6, redundancy=0.3)
    one, other = codes(5, seed=1) * scale, codes(5, seed=2) * scale
    found = objective(as_features(objective, one, other))
    a, b, expected = one.numpy(), other.numpy(), 0.0
    for i, j in product(range(5), repeat=2):
        c = np.mean((a[:, i] - a[:, i].mean()) * (b[:, j] - b[:, j].mean()))
        c /= math.sqrt((a[:, i].var() + 1e-5) * (b[:, j].var() + 1e-5))
        expected += (1 - c) ** 2 if i == j else 0.3 * c**2
    assert found.item() == pytest.approx(expected, rel=1e-12)
    if scale > 1:
        correlations = np.corrcoef(a.T, b.T)[:5, 5:]
        squares = np.where(np.eye(5) > 0, (1 - correlations) ** 2, 0.3 * correlations**2)
        assert found.item() == pytest.approx(squares.sum(), rel=1e-9)


def test_vicreg_is_the_formula_of_the_paper() -> None:
    objective = made("vicreg", 6, invariance=3.0, variance=2.0, covariance=0.5)
    one, other = codes(5, seed=1) * 3, codes(5, seed=2)
    expected = 3.0 * np.mean((one.numpy() - other.numpy()) ** 2)
    for view in (one.numpy(), other.numpy()):
        covariances = np.cov(view.T)
        expected += 2.0 * np.maximum(0, 1 - np.sqrt(np.diag(covariances) + 1e-4)).mean()
        expected += 0.5 * sum(covariances[i, j] ** 2 for i, j in product(range(5), repeat=2) if i != j) / 5
    assert objective(as_features(objective, one, other)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", TWO_VIEWS)
@pytest.mark.parametrize(("shape", "flattened"), [((6,), False), ((3, 2, 2), False), ((3, 2, 2), True)], ids=str)
def test_features_are_those_of_a_projector(name: str, shape: tuple[int, ...], flattened: bool) -> None:
    objective: Any = made(name, *shape, layers=2, flattened=flattened)
    first, second, last = objective.projector[::2]
    x = codes(*shape)
    read = x if len(shape) == 1 else x.reshape(8, 12) if flattened else x.mean((2, 3))
    hidden = ((read @ first.weight.T + first.bias).relu() @ second.weight.T + second.bias).relu()
    torch.testing.assert_close(objective.features(x), hidden @ last.weight.T + last.bias, rtol=1e-12, atol=0)
    assert len(made(name, *shape, layers=0).projector) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "options"), [((3, 4, 2), {"steps": 2}), ((3, 5, 1), {"skip": 2}), ((3, 6), {})], ids=str
)
def test_infonce_is_the_formula_of_the_paper(shape: tuple[int, ...], options: dict[str, int]) -> None:
    """One cross-entropy for each example, pair of rows and column; signals have one column."""
    objective: Any = made("infonce", *shape, **options)
    x, skip = codes(*shape), options.get("skip", 0)
    maps = x if x.dim() == 4 else x[..., None]
    rows, columns, steps = shape[1], maps.shape[3], options.get("steps", 5)
    distances = range(skip + 1, min(skip + steps, rows - 1) + 1)
    assert len(objective.predictors) == len(distances)
    expected = torch.zeros(8, dtype=torch.float64)
    for n, k in product(range(8), distances):
        weight, pairs = objective.predictors[k - skip - 1].weight, list(product(range(rows - k), range(columns)))
        for row, column in pairs:
            scores = torch.stack([z @ weight @ maps[n, :, row, column] for z in maps[:, :, row + k, column]])
            expected[n] += F.cross_entropy(scores, torch.tensor(n)) / len(pairs) / len(distances)
    torch.testing.assert_close(objective.per_example(batch(x)), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(objective(batch(x)), expected.mean(), rtol=1e-12, atol=0)


def test_large_maps_are_averaged_to_a_grid() -> None:
    """As torch's adaptive average pooling where the grid divides the size, and else over parts of almost equal size."""
    torch.testing.assert_close(
        averaged(codes(3, 12, 8), 4), F.adaptive_avg_pool2d(codes(3, 12, 8), 4), rtol=1e-12, atol=0
    )
    assert torch.equal(averaged(codes(3, 4, 2), 4), codes(3, 4, 2))
    x = codes(3, 5)
    expected = torch.stack([x[:, :, :3].mean(2), x[:, :, 3:].mean(2)], 2)
    torch.testing.assert_close(averaged(x, 2), expected, rtol=1e-12, atol=0)
    objective, small = made("infonce", 3, 12, 8, grid=4), made("infonce", 3, 4, 4)
    found = small(batch(F.adaptive_avg_pool2d(codes(3, 12, 8), 4)))
    torch.testing.assert_close(objective(batch(codes(3, 12, 8))), found, rtol=1e-12, atol=0)


# What must not change them, and their extremes


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_a_batch_does_not_matter(name: str) -> None:
    objective, drawn = made(name, *SHAPES[name]), views_of(name)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    shuffled = batch(*(code[order] for code in drawn.codes))
    torch.testing.assert_close(objective(shuffled), objective(drawn), rtol=1e-12, atol=0)
    torch.testing.assert_close(objective.per_example(shuffled), objective.per_example(drawn)[order], rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", TWO_VIEWS)
def test_the_order_of_the_views_does_not_matter_but_their_pairs_do(name: str) -> None:
    objective, (one, other) = made(name, *SHAPES[name]), views_of(name).codes
    torch.testing.assert_close(objective(batch(one, other)), objective(batch(other, one)), rtol=1e-12, atol=0)
    assert objective(batch(one, one)) < objective(batch(one, one.flip(0)))


def test_barlow_twins_does_not_depend_on_the_scale_and_mean_of_features() -> None:
    """But for the constant that is added to the variance, here a billionth of it."""
    objective = made("barlow-twins", 6)
    one, other = codes(5, seed=1) * 1e3, codes(5, seed=2) * 1e3
    scales, means = torch.logspace(0, 2, 5, dtype=torch.float64), torch.arange(5) * 1e3
    scaled = as_features(objective, one * scales + means, other)
    torch.testing.assert_close(objective(as_features(objective, one, other)), objective(scaled), rtol=1e-8, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    objective, drawn = made(name, *SHAPES[name]), views_of(name, n=4)
    leaves = tuple(code.requires_grad_() for code in drawn.codes)
    assert torch.autograd.gradcheck(lambda *views: objective(batch(*views)), leaves)
    assert torch.autograd.gradcheck(lambda *views: objective.per_example(batch(*views)), leaves)


def test_a_code_that_is_the_same_for_all_examples_has_a_high_loss() -> None:
    """That of guessing: no feature correlates, none varies, and all examples are equally likely."""
    same = [code[:1].expand(8, -1) for code in views_of("vicreg").codes]
    assert made("barlow-twins", 6)(batch(*same)).item() == pytest.approx(5, abs=1e-9)
    collapsed = made("vicreg", 6, invariance=0.0)
    assert collapsed(batch(*same)).item() == pytest.approx(2 * 25 * 0.99, rel=1e-9)
    maps = codes(3, 4, 2)[:1].expand(8, -1, -1, -1)
    assert made("infonce", 3, 4, 2)(batch(maps)).item() == pytest.approx(math.log(8), rel=1e-12)


def test_features_that_agree_and_are_not_correlated_have_no_loss() -> None:
    whitened = torch.linalg.qr(codes(6) - codes(6).mean(0))[0][:, :5]
    whitened = whitened - whitened.mean(0)  # the mean is 0 already, but for rounding
    for name, scale in (("barlow-twins", 1e3), ("vicreg", 10.0)):
        objective = made(name, 6)
        assert objective(as_features(objective, whitened * scale, whitened * scale)).item() < 1e-8


def test_an_example_alone_tells_nothing() -> None:
    objective = made("infonce", 3, 4, 2)
    assert torch.equal(objective.per_example(batch(codes(3, 4, 2, n=1))), torch.zeros(1, dtype=torch.float64))


# Training


@pytest.mark.parametrize("name", ALL)
def test_a_block_of_two_stages_learns_features_of_digits(name: str) -> None:
    """A linear probe of its maps, averaged over positions, is at least 5 points better than with random weights."""
    digits = load("digits")

    def accuracy(policy: str) -> float:
        how = Optimisation(batch_size=64, lr=1e-2, corruption_level=0.3, objectives={name: 1.0})
        spec = RunSpec(policy, stack=StackSpec.of("conv", 8, 16), budget=Budget(1, 60, "updates"), optimisation=how)
        encoder = pretrain(spec, digits.train.inputs).encoder
        train, test = (encoder.encode(part.inputs).flatten(2).mean(2).numpy() for part in (digits.train, digits.test))
        scaler = StandardScaler().fit(train)
        probe = LogisticRegression(max_iter=200).fit(scaler.transform(train), digits.train.labels)
        return float(probe.score(scaler.transform(test), digits.test.labels))

    assert accuracy("end-to-end") > accuracy("random") + 0.05


@pytest.mark.parametrize("name", TWO_VIEWS)
def test_a_forecast_counts_both_views(name: str) -> None:
    """By hand, for a dense stage from 144 to 7 units and a linear projector to 5: gradients of codes, not of images."""
    how = Optimisation(
        batch_size=32,
        corruption_level=0.3,
        objectives={name: 1.0},
        objective_options={f"{name}.width": 5, f"{name}.layers": 0},
    )
    spec = RunSpec("local", stack=StackSpec.of("dense", 7), budget=Budget(6, None, "updates"), optimisation=how)
    encoding, projecting, matrix = 2 * 32 * 144 * 7, 2 * 32 * 7 * 5, 2 * 32 * 5 * 5
    of_views = 2 * (2 * encoding + 3 * projecting)
    of_matrices = 3 * matrix * (1 if name == "barlow-twins" else 2)
    (phase,) = spec.phases()
    assert phase_cost(spec, (1, 12, 12), phase, 256).flops == 6 * (of_views + of_matrices)
    evaluation = Evaluation(every=6, images=16, probes=())
    ran = run(replace(spec, evaluation=evaluation, classification=Classification(labels=())), toy_splits())
    assert ran.row["gflop"] * 1e9 == pytest.approx(6 * (of_views + of_matrices), rel=1e-9)


def test_memory_of_two_views_is_forecast() -> None:
    """The activations of a wide stage are kept twice."""
    stack = StackSpec.of("conv", 32, stride=1)

    def peak(name: str) -> int:
        how = Optimisation(batch_size=64, corruption_level=0.3, objectives={name: 1.0})
        spec = RunSpec("local", stack=stack, optimisation=how)
        return phase_cost(spec, (1, 24, 24), spec.phases()[0], 256, 4).peak_bytes

    assert 1.6 * peak("labels") < peak("barlow-twins") < 2.4 * peak("labels")


# Specs

CONV = StackSpec.of("conv", 4, 6)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"objectives": {"vicreg": 1}, "corruption_level": 0.0}, "compares two corrupted versions of what stage 1 reads"),
        ({"objectives": {"barlow-twins": 1}, "corruption_level": (0.1, 0)}, "what stage 2 reads, which is not corrupted: give a"),
        ({"objectives": {"vicreg": 1}, "patience": 2}, "patience watches the loss of clean codes, and objective 'vicreg' needs"),
        ({"objectives": {"vicreg": 1}, "objective_options": {"vicreg.width": 0}}, "width of objective 'vicreg' 0"),
        ({"objectives": {"vicreg": 1}, "objective_options": {"vicreg.layers": -1}}, "layers of objective 'vicreg' -1"),
        ({"objectives": {"vicreg": 1}, "objective_options": {"vicreg.variance": -1.0}}, "variance of objective 'vicreg' -1.0 is"),
        ({"objectives": {"vicreg": 1}, "objective_options": {"vicreg.flattened": 1}}, "give true or false"),
        ({"objectives": {"barlow-twins": 1}, "objective_options": {"barlow-twins.redundancy": math.nan}}, "redundancy of .* nan"),
        ({"objectives": {"infonce": 1}, "objective_options": {"infonce.grid": 1}}, "grid of objective 'infonce' 1 is not"),
        ({"objectives": {"infonce": 1}, "objective_options": {"infonce.steps": 0}}, "steps of objective 'infonce' 0 is not"),
        ({"objectives": {"infonce": 1}, "objective_options": {"infonce.skip": 6}}, "skip 6 .* grid of 7 rows: give 5 or less"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_is_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RunSpec("local", stack=CONV, optimisation=Optimisation(**{"corruption_level": 0.1} | how))


def test_a_vector_has_nothing_to_flatten() -> None:
    how = Optimisation(corruption_level=0.1, objectives={"vicreg": 1}, objective_options={"vicreg.flattened": True})
    assert RunSpec("local", stack=CONV, optimisation=how)
    with pytest.raises(
        InputError, match="on stage 1, a dense stage: its code is a vector already: leave flattened out"
    ):
        RunSpec("local", stack=StackSpec.of("dense", 7, 5), optimisation=how)


def test_maps_with_too_few_rows_are_refused_before_anything_is_trained() -> None:
    """12 x 12 images have two rows left after three halvings."""
    how = Optimisation(objectives={"infonce": 1.0}, objective_options={"infonce.skip": 1})
    spec = RunSpec("local", stack=StackSpec.of("conv", 4, 4, 4), optimisation=how)
    spec = replace(spec, budget=Budget(1, None, "updates"), classification=Classification(labels=()))
    few = r"predicts codes 2 or more rows below, and a code of shape \[4, 2, 2\] has too few rows: use larger examples"
    for train in (
        lambda: pretrain(spec, IMAGES, after=lambda *_: pytest.fail("a stage was trained")),
        lambda: run(spec, toy_splits(16)),
        lambda: estimate_cost(spec, (1, 12, 12), 256),
    ):
        with pytest.raises(InputError, match=few):
            train()
