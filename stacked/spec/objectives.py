"""The objectives of a spec: checks of their options, and what a phase needs for the objectives that it learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stacked.objectives import Objective, objectives
from stacked.spec.growth import Phase
from stacked.stages.stage import Shape
from stacked.util.checks import choice, need
from stacked.util.serialization import TYPE_NAMES, Options

if TYPE_CHECKING:
    from stacked.spec.optimisation import Optimisation


def check_options(names: list[str], options: Options) -> None:
    """Raise InputError unless options, "OBJECTIVE.OPTION" by name, are valid ones of these objectives."""
    for full, value in options:
        name, _, option = full.partition(".")
        need(
            name in names,
            f"objective option {full!r} belongs to no objective of {names}: give NAME.OPTION of one of them",
        )
        defaults = objectives()[name].defaults()
        choice(option, defaults, f"option of objective {name!r}")
        need(
            isinstance(value, bool) == isinstance(defaults[option], bool),
            f"objective option {full} {value!r} is not allowed: give {TYPE_NAMES.get(type(defaults[option]), 'a value')}",
        )
    for name in names:
        objectives()[name].check(**options_of(name, options))


def options_of(name: str, options: Options) -> dict[str, Any]:
    """Return the options of an objective, with its defaults where none is given."""
    given = {full.removeprefix(f"{name}."): value for full, value in options if full.startswith(f"{name}.")}
    return objectives()[name].defaults() | given


def check_data(phase: Phase, config: Optimisation, shapes: Sequence[Shape], n: int) -> None:
    """Raise InputError unless the objectives of a phase can be learned from `n` examples.

    shapes: those at each depth, from the input on, without the batch.
    """
    if phase.target != "objectives" or not phase.updates:
        return
    for _, last in phase.ranges:
        for name, _ in config.objectives_of(last):
            objective = objectives()[name]
            objective.check_code(shapes[last], **options_of(name, config.objective_options))
            need(
                n >= objective.least_batch,
                f"objective {name!r} compares the examples of a batch with each other, and only {n} can be trained on: give "
                f"{objective.least_batch} or more",
            )


def learned(phase: Phase, config: Optimisation) -> list[type[Objective]]:
    """Return the objectives that a phase learns; an empty list if its target is not "objectives"."""
    if phase.target != "objectives":
        return []
    return [objectives()[name] for _, last in phase.ranges for name, _ in config.objectives_of(last)]


def needs_labels(phase: Phase, config: Optimisation) -> bool:
    """Whether a phase learns from labels."""
    return phase.target == "labels" or any(each.needs_labels for each in learned(phase, config))


def needs_images(phase: Phase, config: Optimisation) -> bool:
    """Whether the targets of a phase are, or have, the clean images."""
    return phase.target == "pixels" or any(each.needs_images for each in learned(phase, config))


def decoded_ranges(phase: Phase, config: Optimisation) -> list[tuple[int, int]]:
    """Return the first and last stage of each part of a phase whose loss reconstructs something through its own decoders."""
    if phase.target == "labels":
        return []
    if phase.target != "objectives":
        return phase.ranges
    return [
        (first, last)
        for first, last in phase.ranges
        if any(objectives()[name].restores == "input" for name, _ in config.objectives_of(last))
    ]


def decoded_stages(phase: Phase, config: Optimisation) -> set[int]:
    """Return the trained stages whose decoders a phase trains too."""
    return {stage for first, last in decoded_ranges(phase, config) for stage in range(first, last + 1)}
