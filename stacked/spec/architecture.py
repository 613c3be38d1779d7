"""The architecture part of a spec: stages, activations, norms and initial weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from stacked.util.checks import choice, need, positive
from stacked.util.serialization import TYPE_NAMES, Options, omit_if_default, pairs, take_python_values

#: the most stages of a stack: more are a typing mistake, and would be built before anything else could be checked
MOST_STAGES = 1000


@dataclass(frozen=True)
class StageSpec:
    """One stage: its kind, its width (channels or units), the activation of its code, and options of its kind.

    decoder: the activation of the reconstruction (None: the activation of the code that the stage reads; on pixels, the
    stack's `output`).
    """

    kind: str = "conv"
    width: int = 16
    activation: str = "relu"
    options: Options = ()
    decoder: str | None = omit_if_default(None)

    def __post_init__(self) -> None:
        # imported here so that a command line shows its help without loading torch
        from stacked.stages import kinds
        from stacked.stages.activations import ACTIVATIONS

        take_python_values(self)
        choice(self.kind, kinds(), "stage kind")
        choice(self.activation, ACTIVATIONS, "activation")
        if self.decoder is not None:
            choice(self.decoder, ACTIVATIONS, "decoder activation")
        stage = kinds()[self.kind]
        defaults = stage.defaults()
        given = [name for name, _ in self.options]
        for name, value in self.options:
            need(given.count(name) == 1, f"{name} of a {self.kind} stage is not allowed twice: give it one value")
            choice(name, defaults, f"option of a {self.kind} stage")
            need(
                isinstance(value, bool) == isinstance(defaults[name], bool),
                f"{name} {value!r} of a {self.kind} stage is not allowed: "
                f"give {TYPE_NAMES.get(type(defaults[name]), 'a value')}",
            )
        stage.check(self.width, **defaults | dict(self.options))


@dataclass(frozen=True)
class StackSpec:
    """The stages from the pixels up; `output` is the activation of the reconstructed pixels.

    norm: normalisation of all stages: "batch", "group", "layer" or "none" (None: the default of each kind, batch norm for
    convolutions and none for dense stages). Group norm uses up to 8 groups, fewer where a group would hold less than 4
    values; group and layer norm are refused for fewer than 3 values per example. init: initial weights, one of
    `stages.initialise.INITS`. gain: factor on all initial weights; Glorot & Bengio 2010 derive 4 for logistic units.
    """

    stages: tuple[StageSpec, ...] = field(default_factory=lambda: tuple(StageSpec("conv", n) for n in (16, 32, 64, 16)))
    output: str = "sigmoid"
    norm: str | None = omit_if_default(None)
    init: str = omit_if_default("torch")
    gain: float = omit_if_default(1.0)

    def __post_init__(self) -> None:
        from stacked.stages import kinds
        from stacked.stages.activations import ACTIVATIONS
        from stacked.stages.initialise import INITS
        from stacked.stages.norms import check_values

        take_python_values(self)
        need(
            len(self.stages) > 0,
            "a stack needs at least one stage: give a width, for instance 16",
        )
        need(
            len(self.stages) <= MOST_STAGES,
            f"a stack of {len(self.stages):,} stages is not allowed: give at most {MOST_STAGES:,}",
        )
        for below, above in zip(self.stages, self.stages[1:], strict=False):
            need(
                kinds()[below.kind].maps or not kinds()[above.kind].maps,
                f"a {above.kind} stage needs maps and cannot read the vectors of a {below.kind} stage: use stages of another "
                "kind above it",
            )
            if not kinds()[below.kind].maps:
                kinds()[above.kind].check_vector(below.width, above.width, **dict(above.options))
            elif kinds()[above.kind].maps:
                kinds()[above.kind].check_channels(below.width, above.width, **dict(above.options))
        choice(self.output, ACTIVATIONS, "output activation")
        choice(self.init, INITS, "init")
        positive(self.gain, "gain")
        if self.norm is not None:
            for kind in {stage.kind: None for stage in self.stages}:
                choice(self.norm, kinds()[kind].norms, f"norm of a {kind} stage")
        for k, stage in enumerate(self.stages, start=1):
            if not kinds()[stage.kind].maps:  # the number of values in a map depends on the image size
                check_values(self.norm_of(k), stage.width)

    @classmethod
    def of(
        cls,
        kind: str,
        *widths: int,
        activation: str = "relu",
        output: str = "sigmoid",
        decoder: str | None = None,
        norm: str | None = None,
        init: str = "torch",
        **options: Any,
    ) -> StackSpec:
        """A stack of stages of one kind: `StackSpec.of("conv", 16, 32)`, `StackSpec.of("dense", 500, 30, tied=True)`."""
        given = pairs(options)
        return cls(tuple(StageSpec(kind, width, activation, given, decoder) for width in widths), output, norm, init)

    @property
    def depth(self) -> int:
        return len(self.stages)

    def first(self, depth: int) -> StackSpec:
        """The spec of the first `depth` stages, which do not depend on those above them."""
        return replace(self, stages=self.stages[:depth])

    def norm_of(self, stage: int) -> str:
        """The normalisation of stage `stage` (counted from 1)."""
        from stacked.stages import kinds

        return self.norm or kinds()[self.stages[stage - 1].kind].norms[0]

    def read_activation(self, stage: int) -> str | None:
        """The activation of the codes that stage `stage` (counted from 1) reads; None for pixels, which lie in [0, 1]."""
        return None if stage == 1 else self.stages[stage - 2].activation

    def decoder_activation(self, stage: int) -> str:
        """The activation of the reconstruction of stage `stage` (counted from 1)."""
        return self.stages[stage - 1].decoder or self.read_activation(stage) or self.output
