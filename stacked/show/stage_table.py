"""A table of the stages of a stack."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from stacked.cost.fake_execution import operations_of
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.show.receptive_field import receptive_fields
from stacked.stages.stage import Shape, Stage
from stacked.util.checks import need

HEADINGS = ("stage", "kind", "input", "code", "parameters", "MFLOP", "field", "frozen")


@dataclass(frozen=True)
class StageRow:
    """A stage in a summary.

    number: from 1. input_shape, code_shape: without the batch. parameters: of encoder and decoder. flop: FLOPs to encode and
    decode one example, of matrix products and convolutions. field: height and width in pixels of the part of the image that the
    central value of the code depends on (None: the stack reads no images). frozen: whether training leaves the stage unchanged.
    """

    number: int
    kind: str
    input_shape: Shape
    code_shape: Shape
    parameters: int
    flop: int
    field: tuple[int, int] | None
    frozen: bool

    def cells(self) -> tuple[str, ...]:
        """Return the row as texts, in the order of HEADINGS."""
        return (
            str(self.number),
            self.kind,
            size(self.input_shape),
            size(self.code_shape),
            f"{self.parameters:,}",
            f"{self.flop / 1e6:,.3g}" if self.flop < 1e9 else f"{self.flop / 1e6:,.0f}",
            "–" if self.field is None else size(self.field),
            "yes" if self.frozen else "no",
        )


@dataclass(frozen=True, repr=False)
class Summary:
    """The rows of a stack's stages; printed, a table with their totals."""

    rows: tuple[StageRow, ...]

    @property
    def parameters(self) -> int:
        """The number of parameters of all stages."""
        return sum(row.parameters for row in self.rows)

    @property
    def flop(self) -> int:
        """The FLOPs to encode and decode one example."""
        return sum(row.flop for row in self.rows)

    def __str__(self) -> str:
        lines = [HEADINGS, *(row.cells() for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
        lines.insert(1, tuple("-" * width for width in widths))
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        values = [math.prod(self.rows[0].input_shape), math.prod(self.rows[-1].code_shape)]
        ratio = f"{values[0] / values[1]:.3g} times fewer" if values[1] < values[0] else "not fewer"
        table += [
            "",
            f"{self.parameters:,} parameters; {self.flop / 1e6:,.3g} MFLOP to encode and decode one example",
            f"{values[0]:,} values of the input, {values[1]:,} of the code ({ratio})",
        ]
        return "\n".join(table)

    __repr__ = __str__


@own_settings()
def summary(stack: StackedAutoencoder) -> Summary:
    """Return a table of the stages: kinds, shapes, parameters, FLOPs, receptive fields, and which are frozen.

    Nothing is trained and no number of the stack changes. Raises InputError for a stack without stages.
    """
    need(stack.depth > 0, "a stack without stages has no summary: grow a stage first")
    fields = receptive_fields(stack)
    return Summary(
        tuple(
            StageRow(
                number,
                stage.kind,
                stage.in_shape,
                stage.code_shape,
                sum(parameter.numel() for parameter in stage.parameters()),
                flop_of(stage),
                field,
                stage.frozen,
            )
            for number, (stage, field) in enumerate(zip(stack.stages, fields, strict=True), start=1)
        )
    )


def flop_of(stage: Stage) -> int:
    """Return the FLOPs to encode and decode one example, from fake execution."""
    weight = next(stage.parameters(), torch.zeros(0))
    training = stage.training
    stage.eval()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            example = torch.zeros(1, *stage.in_shape, dtype=weight.dtype, device=weight.device)
            return sum(one.flop for one in operations_of(lambda: stage(example)))
    finally:
        stage.train(training)


def size(shape: tuple[int, ...]) -> str:
    """Return a shape as text: "16 x 14 x 14"."""
    return " x ".join(map(str, shape))
