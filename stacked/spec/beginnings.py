"""How added stages begin: which one is copied, and what can be a copy or the identity."""

from __future__ import annotations

from collections.abc import Sequence

from stacked.spec.architecture import StackSpec
from stacked.spec.growth import Phase
from stacked.stages import kinds
from stacked.stages.activations import IDEMPOTENT, covers
from stacked.util.checks import need


def copied_stage(stage: int, added: int) -> int:
    """Return the number of the stage that `stage`, 3 or more, begins as a copy of, if a phase adds `added` stages at once.

    All stages that are added are copies of as many stages below them, in order, which is stacking (Du et al. 2024). Stage 2
    stands for stage 1, which reads the examples.
    """
    return max(2, stage - added)


def check_beginnings(stack: StackSpec, phases: Sequence[Phase]) -> None:
    """Raise InputError unless all stages that phases add can begin as these say."""
    depth = 0
    for phase in phases:
        for stage in range(max(3, depth + 1), phase.depth + 1):
            if phase.begins == "copy":
                check_copy(stack, phase, stage, copied_stage(stage, phase.depth - depth))
            elif phase.begins == "identity":
                check_identity(stack, phase, stage)
        depth = max(depth, phase.depth)


def check_copy(stack: StackSpec, phase: Phase, stage: int, source: int) -> None:
    """Raise InputError unless `stage` can begin as a copy of `source`."""
    one, other, kind = described(stack, source), described(stack, stage), stack.stages[source - 1].kind
    which = f"phase {phase.name!r} begins stage {stage} as a copy of stage {source}"
    need(
        one == other,
        f"{which}, and they differ: stage {source} is {one}, and stage {stage} is {other}: give both the same kind, activations "
        f"and options, and stages {source - 1} to {stage} the same width, or use policy 'progressive'",
    )
    reads_maps = [kinds()[stack.stages[k - 2].kind].maps for k in (source, stage)]
    need(
        kinds()[kind].maps or not any(reads_maps),
        f"{which}, a {kind} stage that reads maps: use dense stages alone, or policy 'progressive'",
    )


def described(stack: StackSpec, stage: int) -> str:
    """Return what stages must have in common to have the same weights, in words; `stage` is 2 or more."""
    spec, below = stack.stages[stage - 1], stack.stages[stage - 2].width
    options = kinds()[spec.kind].defaults() | dict(spec.options)
    return ", ".join(
        [
            f"a {spec.kind} stage from {below} to {spec.width}",
            f"activation {spec.activation}",
            f"decoder activation {stack.decoder_activation(stage)}",
            *(f"{name} {value}" for name, value in sorted(options.items())),
        ]
    )


def check_identity(stack: StackSpec, phase: Phase, stage: int) -> None:
    """Raise InputError unless `stage` can begin as the identity."""
    spec, read = stack.stages[stage - 1], stack.read_activation(stage)
    kind, options = kinds()[spec.kind], kinds()[spec.kind].defaults() | dict(spec.options)
    which = f"phase {phase.name!r} begins stage {stage} as the identity"
    need(
        kind.adds_input(**options),
        f"{which}, and this {spec.kind} stage does not add what it reads to its code: use a residual stage with stride 1, a "
        "transformer or dense stage with the option residual, or policy 'progressive'",
    )
    for what, name in (("activation", spec.activation), ("decoder activation", stack.decoder_activation(stage))):
        need(
            name in IDEMPOTENT and covers(name, read),
            f"{which}, and its {what} {name} changes the values of the {read} activation below: choose the {what} from "
            f"{', '.join(each for each in IDEMPOTENT if covers(each, read))}",
        )
