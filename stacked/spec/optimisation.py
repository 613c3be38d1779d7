"""How phases are trained: the part of a spec that learning rates, corruption, losses and penalties are in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stacked.spec.growth import Phase
from stacked.util.checks import choice, finite, need, positive, whole
from stacked.util.serialization import Options, later, pairs, take_python_values


@dataclass(frozen=True)
class Optimisation:
    """How a phase is trained. `corruption_level` and `loss` hold one value for all depths, or one for each depth read.

    lr: peak learning rate.
    schedule: the learning rate's course over a phase, after `warmup` updates of linear rise.
    end_lr, end_schedule: those of what follows growth: fine-tuning, unfreezing (None: the same).
    clip: largest global gradient norm (None: no clipping).
    patience: end a phase of growth when its validation loss has not improved for so many checks, and restore the best
        weights (None: never); a check is made every `check_every` updates (None: every epoch).
    end_patience: that of what follows growth (None: never).
    on_fault: what is done where a loss or a gradient is not finite: "stop" the run; "skip-batch", counted, at most ten in a
        row; "rollback" to the last point of the curve at half the learning rate, at most ten times a phase.
    corruption: a name, or several joined by "+"; a level is then a tuple with a number for each.
    corruption_patch: side of the blocks of block-masking, in places of the map that is read.
    emphasis: weights (alpha, beta) of the loss of elements that were corrupted and of those that were not (None: 1 and 1).
    penalties: terms by name with their weights, on every learning stage.
    winners: which values of its deepest code a phase decodes in training, and of every code that is trained on its own input
        (None: all), at `winners_rate`; what is measured is the whole code.
    linear_decoder: phases that train dense stages each on what it reads leave the decoder's activation out.
    local_weight: of the stages' own losses where a phase adds them to its own.
    rate_decay: by which a gradual phase divides the learning rate at each stage downwards.
    labels: label budget of phases that learn the classes (None: all labels).
    recalibrate: whether a phase that corrupts what its stages read ends with the running statistics of their batch norms taken
        anew, on clean inputs: the mean over as many batches as the phase has updates, at most 100 and one epoch of them, in
        the run's order and of its size. Without it they remain those of corrupted training, as in specs that were recorded
        before there was a choice.
    """

    optimiser: str = "adam"
    lr: float = 1e-3
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    momentum: float = 0.9
    clip: float | None = None
    batch_size: int = 256
    corruption: str = "masking"
    corruption_level: tuple[float | tuple[float, ...], ...] = (0.0,)
    loss: tuple[str, ...] = ("mse",)
    patience: int | None = None
    check_every: int | None = later(None)
    corruption_patch: int = later(4)
    emphasis: tuple[float, float] | None = later(None)
    penalties: Options = later(())
    winners: str | None = later(None)
    winners_rate: float = later(0.05)
    linear_decoder: bool = later(False)
    local_weight: float = later(1.0)
    rate_decay: float = later(2.6)
    labels: int | None = later(None)
    end_lr: float | None = later(None)
    end_schedule: str | None = later(None)
    end_patience: int | None = later(None)
    on_fault: str = later("stop")
    # a spec that was recorded without it had corrupted statistics, if it corrupted anything: its id stands for those numbers
    recalibrate: bool = later(True, unsaid=lambda config: not config.corruptive)

    def __post_init__(self) -> None:
        from stacked.components.corruption import CORRUPTIONS, parts
        from stacked.components.nonfinite import FAULTS
        from stacked.components.objectives import LOSSES
        from stacked.components.optim import OPTIMISERS, SCHEDULES
        from stacked.components.penalties import PENALTIES
        from stacked.components.winner_take_all import WINNERS

        take_python_values(self)
        if isinstance(self.corruption_level, (int, float)):
            object.__setattr__(self, "corruption_level", (float(self.corruption_level),))
        if isinstance(self.loss, str):
            object.__setattr__(self, "loss", (self.loss,))
        object.__setattr__(self, "penalties", pairs(self.penalties))
        choice(self.optimiser, OPTIMISERS, "optimiser")
        choice(self.schedule, SCHEDULES, "schedule")
        if self.end_schedule is not None:
            choice(self.end_schedule, SCHEDULES, "end_schedule")
        choice(self.on_fault, FAULTS, "on_fault")
        for name in self.loss:
            choice(name, LOSSES, "loss")
        given = isinstance(self.corruption, str)
        need(given, f"corruption {self.corruption!r} is not allowed: give a name, or several joined by '+'")
        names = parts(self.corruption)
        for levels in map(as_tuple, self.corruption_level):
            need(
                len(levels) == len(names),
                f"corruption level {levels} does not fit {self.corruption!r}: give a number for each of {len(names)} parts",
            )
            for name, level in zip(names, levels, strict=True):
                most = CORRUPTIONS[name].most
                upper = "or more" if math.isinf(most) else f"to {most:g}"
                need(
                    finite(level) and 0 <= level <= most,
                    f"corruption level {level} of {name} is not allowed: give 0 {upper}",
                )
        need(isinstance(self.recalibrate, bool), f"recalibrate {self.recalibrate!r} is not allowed: give True or False")
        positive(self.lr, "learning rate")
        whole(self.batch_size, "batch_size")
        whole(self.corruption_patch, "corruption_patch")
        whole(self.warmup, "warmup", 0)
        need(
            finite(self.weight_decay) and self.weight_decay >= 0,
            f"weight_decay {self.weight_decay} is not allowed: give 0 or more",
        )
        need(0 <= self.momentum < 1, f"momentum {self.momentum} is not allowed: give 0 or more, below 1")
        for what in ("patience", "end_patience", "check_every", "labels"):
            if getattr(self, what) is not None:
                whole(getattr(self, what), what)
        for what in ("clip", "local_weight", "rate_decay", "end_lr"):
            if getattr(self, what) is not None:
                positive(getattr(self, what), what)
        if self.emphasis is not None:
            object.__setattr__(self, "emphasis", tuple(self.emphasis))
            need(
                len(self.emphasis) == 2
                and all(finite(weight) and weight >= 0 for weight in self.emphasis)
                and any(self.emphasis),
                f"emphasis {self.emphasis} is not allowed: give two weights of 0 or more, not both 0",
            )
            for name in names:
                need(
                    CORRUPTIONS[name].chooses,
                    f"emphasis cannot tell what {name} has hit, which hits all: leave one out",
                )
        for name, weight in self.penalties:
            choice(name, PENALTIES, "penalty")
            need(
                [other for other, _ in self.penalties].count(name) == 1,
                f"penalty {name!r} is not allowed twice: give it one weight",
            )
            positive(weight, f"weight of penalty {name!r}")
        if self.winners is not None:
            choice(self.winners, WINNERS, "winners")
        need(
            0 < self.winners_rate <= 1, f"winners_rate {self.winners_rate} is not allowed: give a number above 0, to 1"
        )

    @property
    def corruptive(self) -> bool:
        """Whether anything is corrupted at any depth."""
        return any(any(as_tuple(level)) for level in self.corruption_level)

    def corrupts(self, phase: Phase) -> bool:
        """Whether what is corrupted goes into the running statistics of the stages that learn in a phase."""
        read = range(*phase.trainable) if phase.local_loss == "alone" else ()
        return any(any(self.levels_at(depth)) for depth in {phase.input_depth, *read})

    def lr_of(self, phase: Phase) -> float:
        """The peak learning rate of a phase."""
        return self.end_lr if phase.is_finetuning and self.end_lr else self.lr

    def schedule_of(self, phase: Phase) -> str:
        """The learning rate's course over a phase."""
        return self.end_schedule if phase.is_finetuning and self.end_schedule else self.schedule

    def patience_of(self, phase: Phase) -> int | None:
        """The checks without improvement that end a phase (None: it is never ended)."""
        return self.end_patience if phase.is_finetuning else self.patience

    def levels_at(self, depth: int) -> tuple[float, ...]:
        """The corruption levels, one for each part, of what is read at `depth` (0: pixels)."""
        return as_tuple(self.corruption_level[depth if len(self.corruption_level) > 1 else 0])

    def loss_at(self, depth: int) -> str:
        """The loss of reconstructing what is read at `depth` (0: pixels)."""
        return self.loss[depth if len(self.loss) > 1 else 0]


def as_tuple(level: float | tuple[float, ...]) -> tuple[float, ...]:
    """A corruption level as one number for each part of the corruption."""
    return level if isinstance(level, tuple) else (level,)
