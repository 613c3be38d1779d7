"""The parameters that describe a phase, in MLflow those of its child run."""

from __future__ import annotations

from stacked.spec import Optimisation
from stacked.spec.growth import Phase


def stage_parameters(phase: Phase, config: Optimisation) -> dict[str, object]:
    """Return what a phase trains, reads and minimises, and for how many updates."""
    return {
        "learns": f"{phase.trainable[0]}-{phase.trainable[1]}",
        "reads": phase.input_depth,
        "target": phase.target,
        "updates": phase.updates,
        "loss": loss_of(phase, config),
        "corruption_level": "+".join(f"{level:g}" for level in config.levels_at(phase.input_depth, phase)),
    }


def loss_of(phase: Phase, config: Optimisation) -> str:
    """Return the name of the loss that a phase minimises: for objectives their names, joined by "+"."""
    if phase.target == "objectives":
        return "+".join(dict.fromkeys(name for _, last in phase.ranges for name, _ in config.objectives_of(last)))
    return "cross-entropy" if phase.target == "labels" else config.loss_at(phase.target_depth)
