"""The diagnosis of a stack: its parts are those of each measurement, and the figure shows their numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure

from stacked import Budget, RunSpec, show
from stacked.evaluation.diagnosis import Diagnosis, diagnose, gradient_alignment, information_kept, similarities
from stacked.evaluation.evaluate import PROBED, Codes, errors, spread
from stacked.evaluation.probes import ridge_probe
from stacked.spec import Optimisation
from tests.helpers.phases import TOY, stack_of

STACK = stack_of(4, 6, kind="conv").eval()
OTHER = stack_of(7, 5, 4).eval()
SPEC = RunSpec(
    "joint",
    stack=STACK.spec,
    budget=Budget(1, 1, "updates"),
    optimisation=Optimisation(batch_size=32),  # type: ignore[arg-type]
)


def made(depth: int = 3, classes: bool = True, others: int = 2) -> Diagnosis:
    """A diagnosis with chosen numbers."""
    similarity = torch.linspace(0, 1, (depth + 1) * (others + 1), dtype=torch.float64).view(depth + 1, others + 1)
    kept = [errors(0.1 * k, 1.0, 4) for k in range(depth + 1)]
    probe = [0.5 + 0.03 * k for k in range(depth + 1)] if classes else None
    alignment = [0.5, *[-0.25] * (depth - 2), float("nan")]
    return Diagnosis(similarity, True, kept, probe, "ridge", alignment, ("local-simultaneous", "joint"))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_each_part_is_its_measurement_on_validation_examples() -> None:
    found = diagnose(STACK, SPEC, TOY, other=OTHER, probe="ridge", examples=40, batches=2)
    assert torch.equal(found.similarity, similarities(STACK, OTHER, TOY.valid.inputs[spread(128, 40)]))
    assert found.kept == information_kept(STACK, TOY, examples=40)
    assert found.alignment == gradient_alignment(STACK, SPEC, TOY, batches=2)
    rows = spread(256, 40)
    expected = [
        ridge_probe(
            Codes(STACK, TOY.train.inputs[rows], k, PROBED).all(),
            TOY.train.labels[rows],
            Codes(STACK, TOY.valid.inputs, k, PROBED).all(),
            TOY.valid.labels,
        )
        for k in range(3)
    ]
    assert found.probe == expected
    assert (found.is_other, found.probe_name, found.policies) == (True, "ridge", ("local-simultaneous", "joint"))
    alone = diagnose(STACK, SPEC, replace(TOY, classes=()), examples=40, batches=1)
    assert (alone.is_other, alone.probe) == (False, None)
    assert torch.equal(alone.similarity, alone.similarity.T)


def test_the_figure_shows_the_numbers_of_all_panels() -> None:
    found = made()
    figure = show.diagnosis(found)
    similar, kept, probe, aligned, scale = figure.axes
    assert [text.get_text() for text in similar.texts] == [f"{v:.2f}" for v in found.similarity.flatten().tolist()]
    assert kept.lines[0].get_ydata().tolist() == pytest.approx([0, 0.1, 0.2, 0.3])  # type: ignore[union-attr]
    assert probe.lines[0].get_ydata().tolist() == found.probe  # type: ignore[union-attr]
    assert [bar.get_height() for bar in aligned.patches] == [0.5, -0.25, 0.0]  # type: ignore[attr-defined]
    assert "no\ngradient" in texts(figure)
    assert scale.get_ylabel() == "linear CKA"
    for axes in (similar, kept, probe, aligned):
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title(loc="left")  # noqa: PT018
        low, high = axes.get_ylim()
        assert low < high


def test_data_without_classes_and_deep_stacks_are_drawn() -> None:
    figure = show.diagnosis(made(classes=False))
    assert "No probe: the data have no classes" in texts(figure)
    deep = show.diagnosis(made(depth=24, others=24))
    assert len(deep.axes[0].texts) == 0
    assert all(len(axes.get_xticks()) <= 10 for axes in deep.axes[:4])
