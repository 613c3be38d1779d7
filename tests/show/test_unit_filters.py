"""What units respond to: at depth 1 the weights, deeper what the linear parts of the encoder compute, or what an ascent finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stacked import InputError, StackedAutoencoder, StackSpec, show
from stacked.model.stack import build
from stacked.show.unit_filters import ascended, bent_layers, responses, scaled, unit_filters
from tests.helpers.stages import KINDS


def trained(spec: StackSpec, shape: tuple[int, ...]) -> StackedAutoencoder:
    """A stack whose batch norms have statistics and weights of their own."""
    stack = build(spec, shape)
    stack.train()(torch.rand(16, *shape))
    for module in stack.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.weight)
    return stack.eval()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("conv", {}),
        ("conv", {"kernel": 5}),
        ("conv-pool", {}),
        ("conv", {"tied": True}),
        ("conv", {"norm": "group"}),
        ("conv-pool", {"norm": "layer"}),
    ],
)
def test_the_filters_of_a_first_convolution_are_its_weights(kind: str, options: dict[str, object]) -> None:
    stack = trained(StackSpec.of(kind, 6, 4, **options), (1, 16, 16))
    assert torch.equal(unit_filters(stack, 1), next(stack.stages[0].encoder.parameters()))


@pytest.mark.parametrize(
    ("kind", "shape"), [("conv", (2, 16)), ("conv-pool", (2, 16)), ("conv", (2, 6, 8, 8)), ("dense", (12,))]
)
def test_filters_of_signals_volumes_and_rows_are_the_weights(kind: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    stack = trained(StackSpec.of(kind, 5, 4), shape)
    found = unit_filters(stack, 1)
    assert torch.equal(found, next(stack.stages[0].encoder.parameters()))
    figure = show.filters(stack)
    slices = ", middle slices" if len(shape) == 4 else ""
    assert figure.axes[0].get_title("left") == f"depth 1: filters, 5 units{slices}"
    if kind == "dense":
        zero, *tiles = (collection.get_segments() for collection in figure.axes[0].collections)
        ends = torch.tensor(np.array([[bar[1][1] for bar in tile] for tile in tiles]))  # one row of tiles, around 0
        torch.testing.assert_close(ends, 0.42 * found.double() / found.abs().max().double())
        assert len(zero) == 5
    elif len(shape) == 2:
        _, *tiles = (collection.get_segments() for collection in figure.axes[0].collections)
        lines = torch.tensor(np.array([[line[:, 1] for line in tile] for tile in tiles]))
        torch.testing.assert_close(lines, 0.42 * found.double() / found.abs().max().double())
    deeper = unit_filters(stack, 2)
    assert deeper.shape[:2] == (4, *found.shape[1:2])
    more = unit_filters(stack, 2, method="activation", steps=3)
    assert more.flatten(1).norm(dim=1).max() <= math.sqrt(math.prod(shape)) / 3 + 1e-4


def test_filters_of_dense_stages_are_products_of_their_weights() -> None:
    stack = trained(StackSpec.of("dense", 9, 5, 3, activation="sigmoid"), (3, 4, 5))
    weights = [stage.encoder[1].weight for stage in stack.stages]
    for depth, expected in ((1, weights[0]), (2, weights[1] @ weights[0]), (3, weights[2] @ weights[1] @ weights[0])):
        torch.testing.assert_close(unit_filters(stack, depth), expected.unflatten(1, (3, 4, 5)))


@torch.no_grad()
def test_filters_of_a_second_convolution_are_its_response_to_single_pixels() -> None:
    stack = trained(StackSpec.of("conv", 4, 3), (1, 16, 16))
    found = unit_filters(stack, 2)
    assert found.shape == (3, 1, 7, 7)

    def respond(images: Tensor) -> Tensor:
        first, norm = stack.stages[0].encoder[:2]
        return stack.stages[1].encoder[0](norm(first(images)))[:, :, 2, 2]

    black, centre = torch.zeros(1, 1, 16, 16), 8  # of the field of the unit at 2, 2: pixels 5 to 11
    for row in range(7):
        for column in range(7):
            lit = black.clone()
            lit[0, 0, centre - 3 + row, centre - 3 + column] = 1
            torch.testing.assert_close(found[:, 0, row, column], (respond(lit) - respond(black))[0], rtol=0, atol=1e-5)


def test_of_linear_units_the_ascent_finds_the_filters() -> None:
    stack = trained(StackSpec.of("dense", 6, 4, activation="linear", norm="none"), (1, 5, 5))
    found = unit_filters(stack, 2, method="activation", norm=3.0)
    expected = unit_filters(stack, 2)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.full((4,), 3.0))
    alike = torch.cosine_similarity(found.flatten(1), expected.flatten(1))
    assert alike.min() > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_an_ascent_makes_units_of_every_kind_respond_more(kind: str) -> None:
    stack = trained(StackSpec.of(kind, 8, 8), (1, 16, 16)).freeze()
    layers, units = list(bent_layers(stack, 2)), torch.arange(8)
    noise = scaled(torch.randn(8, 1, 16, 16), torch.tensor(5.0))
    found, _ = ascended(layers, noise, units, torch.tensor(5.0), 60)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.full((8,), 5.0))
    before, after = (responses(layers, images, units)[0] for images in (noise, found))
    assert (after > before).all()
    code = stack.encode(found)
    centre = code if code.dim() == 2 else code[:, :, code.shape[2] // 2, code.shape[3] // 2]
    if kind != "conv-pool":  # whose unit is a value before it is pooled
        torch.testing.assert_close(centre[units, units], after.relu())


def test_an_ascent_is_a_function_of_its_seed() -> None:
    stack = trained(StackSpec.of("conv", 8, 8), (1, 16, 16))
    one, again, other = (unit_filters(stack, 2, method="activation", steps=5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.shape == (8, 1, 7, 7)


def test_a_figure_has_a_tile_for_each_unit_up_to_64() -> None:
    stack = trained(StackSpec.of("dense", 100, 5), (1, 8, 8))
    first, second = show.filters(stack), show.filters(stack, 2, method="activation", steps=2)
    assert [axes.get_title("left") for axes in first.axes if axes.get_title("left")] == [
        "depth 1: filters, 64 of 100 units"
    ]
    assert second.axes[0].get_title("left") == "depth 2: maximised activations, 5 units"
    colours = show.filters(trained(StackSpec.of("conv", 4), (3, 8, 8)))
    assert colours.axes[0].get_images()[0].get_array().shape[2] == 3  # type: ignore[union-attr]


def test_what_has_no_filters_is_said() -> None:
    stack = trained(StackSpec.of("transformer", 8, 8), (1, 16, 16))
    for of, depth, method, says in (
        (stack, 1, "linear", "stage 1 has a layer Blocks, which is not linear: give method 'activation'"),
        (stack, 3, "activation", "depth 3 is not allowed: give an integer of at most 2"),
        (stack, 0, "activation", "depth 0 is not allowed: give an integer of at least 1"),
        (stack, 1, "gradient", "method 'gradient' is not known: choose from linear, activation"),
        (build(StackSpec.of("conv", 8, 8, norm="group"), (1, 8, 8)), 2, "linear", "stage 1 has a layer GroupNorm"),
    ):
        with pytest.raises(InputError, match=says):
            show.filters(of, depth, method=method)
    with pytest.raises(InputError, match="norm -1 is not allowed"):
        show.filters(stack, 1, method="activation", norm=-1)
