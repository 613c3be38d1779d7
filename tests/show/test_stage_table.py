"""The table of a stack: its numbers beside those that are counted in other ways."""

from __future__ import annotations

import copy
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from stacked import AutoEncoder224, InputError, StackedAutoencoder, StackSpec, show
from stacked.cost.fake_execution import reconstruction
from stacked.model.stack import build
from stacked.show.receptive_field import least, receptive_fields
from tests.helpers.stages import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_counts_what_the_stack_has(kind: str) -> None:
    spec, shape = StackSpec.of(kind, 8, 8), (3, 16, 16)
    stack = build(spec, shape).freeze(1)
    found = show.summary(stack)
    assert found.parameters == sum(parameter.numel() for parameter in stack.parameters())
    assert found.flop == reconstruction(spec, shape, 2, 1).flop > 0
    assert [row.kind for row in found.rows] == [kind, kind]
    assert [row.frozen for row in found.rows] == [True, False]
    shapes = stack.shapes(shape)
    assert [(row.input_shape, row.code_shape) for row in found.rows] == list(pairwise(shapes))


def test_the_table_of_the_reference() -> None:
    found = show.summary(AutoEncoder224((3, 64, 64)))
    assert found.parameters == 3_139_587
    assert [row.field for row in found.rows] == [(3, 3), (7, 7), (15, 15), (31, 31), (63, 63)]
    lines = str(found).splitlines()
    assert lines[0].split() == ["stage", "kind", "input", "code", "parameters", "MFLOP", "field", "frozen"]
    assert lines[2] == ("1      conv  3 x 64 x 64   32 x 32 x 32  1,827       3.54   3 x 3    no")
    assert lines[-1] == "12,288 values of the input, 2,048 of the code (6 times fewer)"
    assert repr(found) == str(found)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (StackSpec.of("conv", 4, 4, kernel=5), [(5, 5), (13, 13)]),
        (StackSpec.of("conv-pool", 4, 4), [(4, 4), (10, 10)]),  # 3, and 2 pooled: 4; then (3 + 1) steps of 2
        (StackSpec.of("transformer", 4, 4), [(20, 24), (20, 24)]),  # attention reads everything
        (StackSpec.of("dense", 4, 4), [(20, 24), (20, 24)]),
        (StackSpec.of("conv", 4, 4, norm="layer"), [(20, 24), (20, 24)]),  # so do means over the map
        (StackSpec.of("conv", 4, 4, 4, 4), [(3, 3), (7, 7), (15, 15), (19, 23)]),  # 31, cut by the image
    ],
)
def test_receptive_fields_are_those_of_the_arithmetic(spec: StackSpec, expected: list[tuple[int, int]]) -> None:
    assert receptive_fields(build(spec, (1, 20, 24))) == expected


def test_a_table_changes_nothing() -> None:
    stack = build(StackSpec.of("conv", 4, 6), (1, 12, 12)).freeze(1).train()
    before, state = copy.deepcopy(stack.state_dict()), torch.get_rng_state()
    show.summary(stack)
    assert all(torch.equal(before[name], value) for name, value in stack.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert stack.stages[1].training
    assert not stack.stages[0].training


def test_stacks_of_vectors_have_no_field_and_empty_ones_no_table() -> None:
    found = show.summary(build(StackSpec.of("dense", 4), (12,)))
    assert found.rows[0].field is None
    assert str(found).splitlines()[2].split() == ["1", "dense", "12", "4", "112", "0.000192", "–", "no"]
    with pytest.raises(InputError, match="a stack without stages has no summary"):
        show.summary(StackedAutoencoder((12,)))


def test_the_least_number_is_found() -> None:
    for most in (1, 2, 7, 224):
        for expected in range(1, most + 1):
            assert least(lambda count, expected=expected: count >= expected, most) == expected  # type: ignore[misc]


def test_the_style_of_figures_is_imported_without_torch_and_figures_without_being_drawn() -> None:
    code = "import sys, stacked.show.style, studies.figures.style; print({'torch', 'matplotlib'} & set(sys.modules))"
    code += "; from stacked.show import summary, diagram, filters; print({'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nset()\n"
