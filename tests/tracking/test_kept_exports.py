"""A model with the layers of an earlier one is saved with its graph, as if it had been exported itself."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stacked import StackSpec
from stacked.model.classifier import Classifier
from stacked.model.stack import build
from stacked.tracking.backend import kept_exports
from stacked.tracking.backend.kept_exports import KEPT

pytestmark = pytest.mark.slow

#: every kind of stage, and the tied logistic units of many papers
STACKS = {
    "conv": (StackSpec.of("conv", 4, 3), (1, 13, 13)),
    "conv-pool": (StackSpec.of("conv-pool", 4, 3), (3, 9, 9)),
    "dense": (StackSpec.of("dense", 6, 3, norm="batch"), (1, 8, 8)),
    "dense, tied": (StackSpec.of("dense", 6, 3, activation="sigmoid", init="uniform", tied=True), (1, 8, 8)),
    "residual": (StackSpec.of("residual", 4, 3), (1, 16, 16)),
    "transformer": (StackSpec.of("transformer", 8, 8), (1, 16, 16)),
}
EXAMPLE = torch.arange(6).reshape(2, 3) / 4


class Scaled(nn.Module):
    """A layer, and a factor that neither its text nor its weights show."""

    def __init__(self, factor: float, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer = nn.Linear(3, 2)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.layer(x)


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[nn.Module]]:
    """The models that are traced, of a process that has kept no program yet."""
    kept_exports._programs.clear()
    found, export = list[nn.Module](), torch.export.export

    def noted(model: nn.Module, *words: Any, **options: Any) -> Any:
        found.append(model)
        return export(model, *words, **options)

    monkeypatch.setattr(torch.export, "export", noted)
    yield found
    kept_exports._programs.clear()


def saved(model: nn.Module, example: Tensor = EXAMPLE) -> bytes:
    """Return the file of a model."""
    with kept_exports.kept_exports(model):
        program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


@pytest.mark.parametrize("kind", STACKS)
def test_encoders_and_classifiers_of_every_kind_of_stage_are_saved(kind: str) -> None:
    stack = build(*STACKS[kind]).eval()
    example, images = (torch.rand(count, *stack.input_shape) for count in (2, 5))
    for model in (stack.encoder, Classifier(stack, "abc").eval()):
        program = torch.export.load(io.BytesIO(saved(model, example))).module()
        with torch.no_grad():
            torch.testing.assert_close(program(images), model(images), rtol=0, atol=1e-6)


def test_the_file_is_that_of_an_export_of_its_own(traced: list[nn.Module]) -> None:
    saved(Scaled(2.0))
    again = saved(Scaled(2.0, seed=1))
    assert len(traced) == 1
    kept_exports._programs.clear()
    assert saved(Scaled(2.0, seed=1)) == again != saved(Scaled(2.0))
    assert len(traced) == 2
    x = torch.rand(5, 3)
    assert torch.equal(torch.export.load(io.BytesIO(again)).module()(x), Scaled(2.0, seed=1)(x))


def test_the_weights_of_the_first_model_are_left_as_they_are() -> None:
    first = Scaled(2.0)
    saved(first)
    saved(Scaled(2.0, seed=1))
    assert torch.equal(first.layer.weight, Scaled(2.0).layer.weight)


def test_a_model_with_another_output_is_traced_itself(traced: list[nn.Module]) -> None:
    assert str(Scaled(2.0)) == str(Scaled(3.0))
    saved(Scaled(2.0))
    program = torch.export.load(io.BytesIO(saved(Scaled(3.0))))
    assert len(traced) == 2
    assert torch.equal(program.module()(EXAMPLE), Scaled(3.0)(EXAMPLE))


def test_another_example_is_traced_because_it_is_in_the_file(traced: list[nn.Module]) -> None:
    saved(Scaled(2.0))
    saved(Scaled(2.0), 2 * EXAMPLE)
    assert len(traced) == 2


def test_files_hold_no_path_of_a_source_file() -> None:
    assert __file__.encode() not in saved(Scaled(2.0))


def test_few_programs_are_kept() -> None:
    for width in range(1, KEPT + 3):
        saved(nn.Linear(3, width))
    assert len(kept_exports._programs) == KEPT


def test_exports_of_others_are_torchs_own(traced: list[nn.Module]) -> None:
    export, other = torch.export.export, Scaled(2.0).eval()
    with kept_exports.kept_exports(Scaled(2.0)):
        torch.export.export(other, (EXAMPLE,))
    assert traced == [other]
    assert not kept_exports._programs
    assert torch.export.export is export
