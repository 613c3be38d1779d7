"""Diagrams and reconstructions: what is written in them is what the stack computes."""

from __future__ import annotations

import io
import re

import pytest
import torch
from matplotlib.figure import Figure

from stacked import InputError, StackedAutoencoder, StackSpec, show
from stacked.data.scaling import Scaling
from stacked.evaluation.evaluate import reconstruction
from stacked.model.stack import build
from tests.helpers.floats import KINDS, examples


def texts(figure: Figure) -> list[str]:
    """All texts of a figure."""
    return [text.get_text() for text in [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]]


@pytest.mark.parametrize("kind", KINDS)
def test_examples_of_every_kind_are_drawn_with_errors_in_their_units(kind: str) -> None:
    shape, spec = KINDS[kind]
    if len(shape) == 3:
        shape = (3, *shape[1:])
    given = examples(*shape)[:2]
    torch.manual_seed(0)
    stack = build(spec, shape).eval()
    stack.scaling = Scaling.fit("standard", examples(*shape))
    figure = show.reconstructions(stack, given)
    errors = ((stack.restored(given).numpy() - given) ** 2).reshape(2, -1).mean(1)
    found = texts(figure)
    assert [f"MSE {error:.3g}" for error in errors] == [text for text in found if "MSE" in text][-2:]
    assert not any("dB" in text for text in found)


def test_a_diagram_says_what_the_stages_are() -> None:
    stack = build(StackSpec.of("conv", 4, 6), (1, 12, 12)).freeze(1)
    figure = show.diagram(stack)
    said = texts(figure)
    assert "input: 1 x 12 x 12" in said
    assert "code 1: 4 x 6 x 6" in said
    assert "code: 6 x 3 x 3" in said
    assert "reconstruction: 1 x 12 x 12" in said
    halves = [
        (half, sum(p.numel() for p in half.parameters()))
        for stage in stack.stages
        for half in (stage.encoder, stage.decoder)
    ]
    for number, (_, count) in enumerate(halves):
        assert f"conv, {count} parameters{', frozen' if number < 2 else ''}" in said
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg")
    assert drawn.getvalue().startswith(b"<?xml")


@pytest.mark.parametrize(
    "stack", [build(StackSpec.of("dense", *[9] * 40), (12,)), build(StackSpec.of("dense", 1), (3, 224, 224))]
)
def test_the_texts_of_a_diagram_stay_inside_it(stack: StackedAutoencoder) -> None:
    figure = show.diagram(stack)
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    for axes in figure.axes:
        for text in axes.texts:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= width, text.get_text()  # noqa: PT018
            assert box.y0 >= 0 and box.y1 <= height, text.get_text()  # noqa: PT018


def test_a_diagram_of_no_stages_or_too_many_is_refused() -> None:
    for stack in (StackedAutoencoder((12,)), build(StackSpec.of("dense", *[4] * 41), (12,))):
        with pytest.raises(InputError, match=r"stages cannot be drawn: give one of 1 to 40 stages"):
            show.diagram(stack)


@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_reconstructions_have_the_error_of_each_image_at_each_depth(kind: str) -> None:
    stack = build(StackSpec.of("conv-pool", 4, 6, unpool="switches"), (3, 12, 10)).train()
    stack(torch.rand(9, 3, 12, 10))
    images = torch.randint(0, 256, (2, 3, 12, 10), dtype=torch.uint8)
    before = {name: tensor.clone() for name, tensor in stack.state_dict().items()}
    figure = show.reconstructions(stack, images if kind == "uint8" else (images.float() / 255).numpy())
    assert len(figure.axes) == 2 * 3
    said = [text for text in texts(figure) if "MSE" in text]
    expected = [
        f"MSE {error.mse:.3g}\n{error.psnr:.1f} dB"
        for depth in (1, 2)
        for image in images
        for error in [reconstruction(stack, image[None], depth)]
    ]
    assert said == expected
    assert texts(figure)[0] == "original\n3 x 12 x 10"
    assert "depth 2\n6 x 3 x 3" in texts(figure)
    assert stack.training
    assert all(torch.equal(before[name], tensor) for name, tensor in stack.state_dict().items())


def test_images_that_cannot_be_drawn_are_said() -> None:
    stack = build(StackSpec.of("conv", 4), (1, 12, 12))
    for images, says in (
        (torch.zeros(2, 1, 12, 10), "cannot be drawn: give [n, C, H, W] of [1, 12, 12]"),
        (torch.zeros(0, 1, 12, 12), "0 examples cannot be drawn: give 1 to 32"),
        (torch.zeros(33, 1, 12, 12), "33 examples cannot be drawn: give 1 to 32"),
        (torch.full((2, 1, 12, 12), 255.0), "are not on a scale of 0 to 1"),
        (torch.zeros(12, 12), "cannot be drawn: give uint8, or floats"),
    ):
        with pytest.raises(InputError, match=re.escape(says)):
            show.reconstructions(stack, images)
    two = build(StackSpec.of("conv", 4), (2, 12, 12))
    with pytest.raises(InputError, match="with one or three channels"):
        show.reconstructions(two, torch.zeros(1, 2, 12, 12))
