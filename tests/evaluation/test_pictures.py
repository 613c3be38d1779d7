"""Pictures of every kind of data: what is drawn follows the data, and the numbers are those of the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stacked import StackSpec
from stacked.data import Splits
from stacked.evaluation import plots
from stacked.evaluation.evaluate import averaged
from stacked.evaluation.pictures import ROWS, SHOWN, as_images, grid, pictures, shown_of
from stacked.model.stack import StackedAutoencoder, build
from tests.helpers.floats import KINDS, LABELS, examples


def made(kind: str) -> tuple[Splits, StackedAutoencoder]:
    shape, spec = KINDS[kind]
    splits = Splits.of(examples(*shape), LABELS)
    torch.manual_seed(0)
    stack = build(spec, shape).eval()
    stack.scaling = splits.scaling
    return splits, stack


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_picture(kind: str) -> None:
    splits, stack = made(kind)
    picture = grid(stack, shown_of(splits.valid.inputs), splits.columns)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert len(colours(picture)) > 5
    if kind == "signals":
        assert {rgb(plots.INPUT), rgb(plots.RESTORED)} <= colours(picture)
    if kind in ("maps", "volumes"):  # inputs above reconstructions, three times as large
        assert picture.shape[0] == 2 * 3 * KINDS[kind][0][-2]


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_pictures_and_the_numbers_in_the_units_of_the_data(kind: str) -> None:
    splits, stack = made(kind)
    found = pictures(stack, splits)
    assert splits.scaling is not None
    given = splits.scaling.in_units(splits.test.inputs[:SHOWN]).numpy()
    np.testing.assert_allclose(found["values"], given, rtol=1e-5)
    np.testing.assert_allclose(found["values_depth1"], stack.restored(given, 1).numpy(), rtol=1e-3)
    for name in ("originals", "depth1", "depth2"):
        assert found[name].dtype == np.uint8
        assert found[name].shape[0] == len(given)
        assert found[name].shape[3] in (1, 3)
    assert found["originals"].shape == found["depth1"].shape


def test_errors_of_columns_are_their_mean_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    splits, stack = made("vectors")
    drawn = {}

    def bars(error: np.ndarray, names: tuple[str, ...], units: str) -> np.ndarray:
        drawn["error"], drawn["names"], drawn["units"] = error, names, units
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(plots, "bars", bars)
    inputs = shown_of(splits.train.inputs)
    grid(stack, inputs, ("a", "b"))
    with torch.no_grad():
        wanted = (stack(inputs) - inputs).square().mean(0).numpy()
    np.testing.assert_allclose(drawn["error"], wanted, rtol=1e-5)
    assert drawn["names"] == ("a", "b")
    assert drawn["units"] == " (of scaled values)"


def test_the_columns_with_the_largest_errors_are_drawn() -> None:
    """Of more columns than fit; the names of columns may hold what would be a formula."""
    few, many = np.arange(plots.BARS, dtype=float), np.arange(3.0 * plots.BARS)
    assert plots.bars(few, [], "").shape == plots.bars(many, [f"$x_{k}$" for k in range(len(many))], "").shape


def test_tables_average_more_rows_than_other_pictures_show() -> None:
    assert len(shown_of(torch.zeros(2 * ROWS, 3))) == ROWS
    assert len(shown_of(torch.zeros(2 * ROWS, 3, 4))) == SHOWN


def test_floats_become_images_by_the_range_of_the_originals() -> None:
    unit = torch.tensor([0.0, 0.5, 1.0, 2.0]).view(1, 1, 2, 2)
    assert as_images(unit, unit[:, :, :1]).flatten().tolist() == [0, 128, 255, 255]
    wide = torch.tensor([-3.0, 0.0, 3.0, 9.0]).view(1, 1, 2, 2)
    assert as_images(wide, wide.clamp(max=3)).flatten().tolist() == [0, 128, 255, 255]
    volume = torch.zeros(2, 3, 5, 4, 6)
    volume[:, :, 2] = 1.0
    assert (as_images(volume, volume) == 255).all()
    assert as_images(volume, volume).shape == (2, 3, 4, 6)
    assert as_images(torch.zeros(2, 7, 4, 6), torch.zeros(2, 7, 4, 6)).shape == (2, 1, 4, 6)


@pytest.mark.parametrize("sides", [(4096,), (64, 64), (16, 16, 16)])
def test_large_codes_of_any_rank_are_averaged_for_probes(sides: tuple[int, ...]) -> None:
    code = torch.ones(2, 16, *sides)
    found = averaged(code, 2**15)
    assert found.dim() == code.dim()
    assert 2**13 <= found[0].numel() <= 2**15
    assert torch.allclose(found, torch.ones(()))
    assert averaged(code, code[0].numel()) is code


def test_a_stack_of_bytes_keeps_its_samples() -> None:
    pixels = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8)
    splits = Splits.of(pixels)
    stack = build(StackSpec.of("conv", 4), (3, 8, 8)).eval()
    found = pictures(stack, splits)
    assert set(found) == {"originals", "depth1", "filters"}
    assert (found["originals"] == splits.test.inputs.permute(0, 2, 3, 1).numpy()[:SHOWN]).all()
