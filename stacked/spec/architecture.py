"""What a stack is made of: the part of a spec that stages, activations, norms and initial weights are in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stacked.util.checks import choice, need, positive
from stacked.util.serialization import CALLED, Options, later, pairs, take_python_values

#: stages of a stack: more are a slip of the hand, and would be made before anything else can be checked
MOST_STAGES = 1000


@dataclass(frozen=True)
class StageSpec:
    """One stage: its kind, its width (channels or units), its code's activation, and options of that kind alone.

    decoder: the activation that its reconstruction ends in (None: that of the code it reads, or the stack's `output` on
    pixels).
    """

    kind: str = "conv"
    width: int = 16
    activation: str = "relu"
    options: Options = ()
    decoder: str | None = later(None)

    def __post_init__(self) -> None:
        # torch is imported only when a spec is made, so that a command line can show its help at once
        from stacked.stages import kinds
        from stacked.stages.activations import ACTIVATIONS

        take_python_values(self)
        object.__setattr__(self, "options", pairs(self.options))
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
                f"give {CALLED.get(type(defaults[name]), 'a value')}",
            )
        stage.check(self.width, **defaults | dict(self.options))


@dataclass(frozen=True)
class StackSpec:
    """The stages from the pixels up; `output` is the activation of the reconstructed pixels.

    norm: normalisation of all stages: batch, group, layer or none (None: each kind's own, batch for convolutions and none for
    dense stages). A group norm has up to 8 groups, fewer where these would hold less than 4 values of an example; of less than
    3 values group and layer norm would leave nothing, and are refused. init: initial weights: torch (as its layers come),
    uniform, xavier, he or orthogonal. gain: what all of them are multiplied by; Glorot & Bengio 2010 derive 4 for logistic
    units.
    """

    stages: tuple[StageSpec, ...] = field(default_factory=lambda: tuple(StageSpec("conv", n) for n in (16, 32, 64, 16)))
    output: str = "sigmoid"
    norm: str | None = later(None)
    init: str = later("torch")
    gain: float = later(1.0)

    def __post_init__(self) -> None:
        from stacked.stages import kinds
        from stacked.stages.activations import ACTIVATIONS
        from stacked.stages.initialise import INITS
        from stacked.stages.norms import check_values

        take_python_values(self)
        object.__setattr__(self, "stages", tuple(self.stages))
        need(
            len(self.stages) > 0,
            "a stack of no stages is not allowed: give at least one width, for instance 16",
        )
        need(
            len(self.stages) <= MOST_STAGES,
            f"a stack of {len(self.stages):,} stages is not allowed: give at most {MOST_STAGES:,}",
        )
        for below, above in zip(self.stages, self.stages[1:], strict=False):
            need(
                kinds()[below.kind].maps or not kinds()[above.kind].maps,
                f"a {above.kind} stage cannot read the vectors of a {below.kind} stage: use stages of another kind above it",
            )
        choice(self.output, ACTIVATIONS, "output activation")
        choice(self.init, INITS, "init")
        positive(self.gain, "gain")
        if self.norm is not None:
            for kind in {stage.kind: None for stage in self.stages}:
                choice(self.norm, kinds()[kind].norms, f"norm of a {kind} stage")
        for k, stage in enumerate(self.stages, start=1):
            if not kinds()[stage.kind].maps:  # of maps it depends on the images how many values there are
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
        """A stack of one kind of stage: `StackSpec.of("conv", 16, 32)`, `StackSpec.of("dense", 500, 30, tied=True)`."""
        given = pairs(options)
        return cls(tuple(StageSpec(kind, width, activation, given, decoder) for width in widths), output, norm, init)

    @property
    def depth(self) -> int:
        return len(self.stages)

    def norm_of(self, stage: int) -> str:
        """The normalisation of stage `stage` (from 1)."""
        from stacked.stages import kinds

        return self.norm or kinds()[self.stages[stage - 1].kind].norms[0]

    def read_activation(self, stage: int) -> str | None:
        """The activation of the codes that stage `stage` (from 1) reads; None for the pixels, which lie in [0, 1]."""
        return None if stage == 1 else self.stages[stage - 2].activation

    def decoder_activation(self, stage: int) -> str:
        """The activation in which the reconstruction of stage `stage` (from 1) ends."""
        return self.stages[stage - 1].decoder or self.read_activation(stage) or self.output
