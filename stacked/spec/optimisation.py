"""The optimisation part of a spec: learning rates, corruption, losses, penalties and early stopping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from stacked.spec.growth import Phase
from stacked.util.checks import choice, finite, need, positive, whole
from stacked.util.serialization import Options, omit_if_default, python_value, take_python_values

T = TypeVar("T")

#: the most iterations of an update by L-BFGS: each keeps two vectors of the size of all weights, up to a hundred
MOST_ITERATIONS = 100_000
#: the most updates by which a code may be old: the codes of as many batches are kept in memory and in checkpoints
MOST_STALE = 1000


@dataclass(frozen=True)
class Optimisation:
    """How phases are trained.

    Some settings are one value for all stages, or one for each: `lr`, `end_lr`, `batch_size`, `corruption_level`,
    `end_corruption_level` and `loss` (of what the stage reads), `dropout`, `end_dropout`, `sparsity_target` and the weight of
    each penalty and objective.

    optimiser: "adam", "adamw", "sgd" or "lbfgs". An update by "lbfgs" makes up to `lbfgs_iterations` iterations on its
        batch, each with a line search that evaluates the loss once or more. `lr` is the step length that it tries first, usually
        1; in the first iteration of every update that is `lr` * min(1, 1 / sum |g|), with g the gradient.
    momentum, nesterov: of "sgd": the factor of the velocity v, which an update makes v = momentum * v + g, with g the gradient,
        before it subtracts lr * v from the weights. With `nesterov` it subtracts lr * (g + momentum * v), which is Nesterov's
        accelerated gradient, in the weights at which the gradient is taken (Sutskever et al. 2013, equations 3 and 4).
    lr: peak learning rate. A phase that trains several stages trains each at its own; a head has that of the deepest stage.
    schedule, schedule_options: the learning rate's course over a phase, after `warmup` updates of linear increase, one of
        `components.schedules.SCHEDULES`, and its options by name.
    end_lr, end_schedule, end_schedule_options, end_batch_size: those of phases after growth (fine-tuning, unfreezing); None: the
        same.
    batch_size: images in an update. A phase that trains several stages at once has the number of the deepest one.
    clip: largest global norm of the gradient (None: no clipping).
    patience: end a phase of growth when its validation loss has not improved for this many checks, and restore the best
        weights (None: never). A check is made every `check_every` updates (None: every epoch).
    end_patience: the patience of phases after growth (None: never).
    on_nonfinite: what to do when a loss or a gradient is NaN or infinite. "stop": end the run. "skip-batch": leave the batch
        out and count it, at most ten in a row. "rollback": return to the last evaluation and halve the learning rate, at
        most ten times in a phase.
    corruption: a name, or several joined by "+"; a level is then a tuple with a number for each.
    end_corruption_level: the levels in phases after growth (None: the same).
    corruption_patch: side of the blocks of block-masking and patch-masking, in positions of the map that is read.
    emphasis: weights (alpha, beta) of the loss on corrupted and on uncorrupted elements (None: 1 and 1).
    penalties: weights of penalty terms by name, applied to every trained stage with a weight above 0.
    objectives: weights of objectives by name, of `stacked.objectives`, for policies whose phases learn them ("local",
        "local-images", "local-simultaneous", "end-to-end"); a block has the weights of its last stage, and no objective with
        the weight 0. None given: "input", the reconstruction of what a block reads. Other policies ignore them, because a study
        gives all its arms, of whatever policy, the same optimisation.
    objective_options: options of objectives, "NAME.OPTION" by name, as in {"labels.layers": 2}.
    sparsity_target: mean activation of each unit that penalty "kl" aims at, between 0 and 1.
    winner_take_all: constraint on the deepest code of a phase, and on every code with a local loss alone, while training
        (None: no constraint), at rate `winner_take_all_rate`. Only the decoders of the stages read the constrained code:
        heads, objectives other than "input", and evaluation use the unconstrained one.
    dropout: fraction of a trained stage's code that is dropped before the stage above, the decoder or the head reads it, with the
        rest scaled up; with local losses alone (policy "simultaneous") only the decoder reads what is left, and the stage
        above reads the whole code. Frozen stages and evaluation drop nothing.
    end_dropout: that of phases after growth (None: the same).
    linear_decoder: phases that train a dense stage on its own input leave out the decoder's activation.
    local_weight: weight of the local losses that a phase adds to its loss.
    staleness: where blocks learn alone at once, each above the first reads the code of one of the last 1 + `staleness` batches of
        the block below, as it was then, drawn with equal probability for each update: decoupled greedy learning with a buffer,
        whose blocks need not wait for each other (Belilovsky et al. 2020). 0: the current code. Other policies ignore it, as
        they do objectives.
    rate_decay: factor by which the learning rate decreases at each stage downwards in gradual unfreezing.
    labels: number of labels in phases that learn classes (None: all labels).
    recalibrate: whether a phase that corrupts its input re-estimates the running statistics of its batch norms on clean inputs
        at its end: the mean over as many batches as the phase has updates, at most 100 and at most one epoch, in the run's
        order and batch size. Without it the statistics are those of corrupted training, as in specs recorded before this
        field existed.
    """

    optimiser: str = "adam"
    lr: float | tuple[float, ...] = 1e-3
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    momentum: float = 0.9
    clip: float | None = None
    batch_size: int | tuple[int, ...] = 256
    corruption: str = "masking"
    corruption_level: tuple[float | tuple[float, ...], ...] = (0.0,)
    loss: tuple[str, ...] = ("mse",)
    patience: int | None = None
    check_every: int | None = omit_if_default(None)
    corruption_patch: int = omit_if_default(4)
    emphasis: tuple[float, float] | None = omit_if_default(None)
    penalties: Options = omit_if_default(())
    winner_take_all: str | None = omit_if_default(None, stored_name="winners")
    winner_take_all_rate: float = omit_if_default(0.05, stored_name="winners_rate")
    linear_decoder: bool = omit_if_default(False)
    local_weight: float = omit_if_default(1.0)
    rate_decay: float = omit_if_default(2.6)
    labels: int | None = omit_if_default(None)
    end_lr: float | tuple[float, ...] | None = omit_if_default(None)
    end_schedule: str | None = omit_if_default(None)
    end_patience: int | None = omit_if_default(None)
    on_nonfinite: str = omit_if_default("stop", stored_name="on_fault")
    schedule_options: Options = omit_if_default(())
    end_schedule_options: Options = omit_if_default(())
    dropout: tuple[float, ...] = omit_if_default((0.0,))
    end_dropout: tuple[float, ...] | None = omit_if_default(None)
    end_corruption_level: tuple[float | tuple[float, ...], ...] | None = omit_if_default(None)
    end_batch_size: int | None = omit_if_default(None)
    sparsity_target: float | tuple[float, ...] = omit_if_default(0.05)
    lbfgs_iterations: int = omit_if_default(20)
    nesterov: bool = omit_if_default(False)
    objectives: Options = omit_if_default(())
    objective_options: Options = omit_if_default(())
    staleness: int = omit_if_default(0)
    # a spec recorded without this field kept the statistics of corrupted training, and its id stands for those numbers
    recalibrate: bool = omit_if_default(True, if_absent=lambda config: not config.corruptive)

    def __post_init__(self) -> None:
        from stacked.components.corruption import CORRUPTIONS, parts
        from stacked.components.losses import LOSSES
        from stacked.components.nonfinite import ON_NONFINITE
        from stacked.components.optim import OPTIMISERS
        from stacked.components.penalties import PENALTIES
        from stacked.components.schedules import check_schedule
        from stacked.components.winner_take_all import WINNER_TAKE_ALL
        from stacked.objectives import objectives
        from stacked.spec.objectives import check_options

        for name in ("corruption_level", "end_corruption_level"):
            level = python_value(getattr(self, name))
            if isinstance(level, (int, float)):
                object.__setattr__(self, name, (float(level),))
        take_python_values(self)
        for name in ("lr", "end_lr", "batch_size", "sparsity_target"):
            object.__setattr__(self, name, one_or_each(getattr(self, name), name))
        choice(self.optimiser, OPTIMISERS, "optimiser")
        check_schedule(self.schedule, self.schedule_options, "schedule")
        if self.end_schedule is not None:
            check_schedule(self.end_schedule, self.end_schedule_options, "end_schedule")
        need(
            self.end_schedule is not None or not self.end_schedule_options,
            "end_schedule_options belong to end_schedule, which is not given: give both",
        )
        choice(self.on_nonfinite, ON_NONFINITE, "on_nonfinite")
        for name in self.loss:
            choice(name, LOSSES, "loss")
        given = isinstance(self.corruption, str)
        need(given, f"corruption {self.corruption!r} is not allowed: give a name, or several joined by '+'")
        names = parts(self.corruption)
        for levels in map(as_tuple, (*self.corruption_level, *(self.end_corruption_level or ()))):
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
        for rate in (*self.dropout, *(self.end_dropout or ())):
            need(finite(rate) and 0 <= rate < 1, f"dropout {rate!r} is not allowed: give 0 or more, below 1")
        for name in ("linear_decoder", "recalibrate", "nesterov"):
            given = getattr(self, name)
            need(isinstance(given, bool), f"{name} {given!r} is not allowed: give True or False")
        for lr in as_tuple(self.lr):
            positive(lr, "learning rate")
        for size in as_tuple(self.batch_size):
            whole(size, "batch_size")
        if self.end_lr is not None:
            for lr in as_tuple(self.end_lr):
                positive(lr, "end_lr")
        for target in as_tuple(self.sparsity_target):
            need(
                finite(target) and 0 < target < 1,
                f"sparsity_target {target!r} is not allowed: give a number between 0 and 1",
            )
        whole(self.corruption_patch, "corruption_patch")
        whole(self.lbfgs_iterations, "lbfgs_iterations", most=MOST_ITERATIONS)
        whole(self.warmup, "warmup", 0)
        whole(self.staleness, "staleness", 0, MOST_STALE)
        need(
            finite(self.weight_decay) and self.weight_decay >= 0,
            f"weight_decay {self.weight_decay} is not allowed: give 0 or more",
        )
        need(
            finite(self.momentum) and 0 <= self.momentum < 1,
            f"momentum {self.momentum} is not allowed: give 0 or more, below 1",
        )
        if self.nesterov:
            need(
                self.optimiser == "sgd",
                f"nesterov True has no effect on optimiser {self.optimiser!r}: leave it out, or use optimiser 'sgd'",
            )
            need(self.momentum > 0, "nesterov True needs a momentum above 0: give one, or leave nesterov out")
        for what in ("patience", "end_patience", "check_every", "labels", "end_batch_size"):
            if getattr(self, what) is not None:
                whole(getattr(self, what), what)
        for what in ("clip", "local_weight", "rate_decay"):
            if what != "clip" or self.clip is not None:
                positive(getattr(self, what), what)
        if self.optimiser == "lbfgs":
            search = "cannot be used with optimiser 'lbfgs', whose line search"
            need(self.clip is None, f"clip {search} needs the gradient of the loss: leave it out")
            need(self.weight_decay == 0, f"weight_decay {search} sees the loss alone: use penalty 'weight-decay'")
            need(
                self.on_nonfinite != "skip-batch",
                f"on_nonfinite 'skip-batch' {search} evaluates a batch more than once: use 'stop' or 'rollback'",
            )
            need(self.staleness == 0, f"staleness {search} changes the codes of a batch: leave it out")
        need(
            self.staleness == 0 or self.on_nonfinite != "skip-batch",
            f"staleness {self.staleness} cannot be used with on_nonfinite 'skip-batch', because the codes of batches left out "
            "would be read later: use 'stop' or 'rollback'",
        )
        if self.emphasis is not None:
            need(
                len(self.emphasis) == 2
                and all(finite(weight) and weight >= 0 for weight in self.emphasis)
                and any(self.emphasis),
                f"emphasis {self.emphasis} is not allowed: give two weights of 0 or more, not both 0",
            )
            for name in names:
                need(
                    CORRUPTIONS[name].chooses,
                    f"emphasis cannot be used with corruption {name}, which changes every element: leave one of them out",
                )
        check_weights(self.penalties, PENALTIES, "penalty")
        check_weights(self.objectives, objectives(), "objective")
        check_options([name for name, _ in self.objectives], self.objective_options)
        if self.winner_take_all is not None:
            choice(self.winner_take_all, WINNER_TAKE_ALL, "winner_take_all")
        need(
            finite(self.winner_take_all_rate) and 0 < self.winner_take_all_rate <= 1,
            f"winner_take_all_rate {self.winner_take_all_rate} is not allowed: give a number above 0, to 1",
        )

    @property
    def corruptive(self) -> bool:
        """Whether the input is corrupted at any depth."""
        return any(any(as_tuple(level)) for level in (*self.corruption_level, *(self.end_corruption_level or ())))

    def corrupts(self, phase: Phase) -> bool:
        """Whether corrupted inputs or dropped codes enter the running statistics of the stages that a phase trains."""
        read = [first - 1 for first, _ in phase.ranges] if phase.local_loss == "alone" else []
        drops = any(self.dropout_of(phase, stage) for stage in range(phase.trainable[0], phase.depth + 1))
        return drops or any(any(self.levels_at(depth, phase)) for depth in {phase.input_depth, *read})

    def lr_of(self, phase: Phase, stage: int | None = None) -> float:
        """The peak learning rate of a stage (counted from 1; None: the deepest one) in this phase."""
        return of_stage(self.end_lr if phase.is_finetuning and self.end_lr else self.lr, stage or phase.depth)

    def batch_size_of(self, phase: Phase) -> int:
        """The number of images in an update of this phase."""
        end = self.end_batch_size if phase.is_finetuning else None
        return end or of_stage(self.batch_size, phase.depth)

    def penalties_of(self, stage: int) -> list[tuple[str, float]]:
        """The penalties of a stage (counted from 1) whose weight is above 0, by name, and these weights."""
        weights = [(name, of_stage(weight, stage)) for name, weight in self.penalties]
        return [(name, weight) for name, weight in weights if weight]

    def objectives_of(self, stage: int) -> list[tuple[str, float]]:
        """The objectives of a block by its last stage (counted from 1), by name, and their weights, which are above 0."""
        weights = [(name, of_stage(weight, stage)) for name, weight in self.objectives or (("input", 1.0),)]
        return [(name, weight) for name, weight in weights if weight]

    def sparsity_target_of(self, stage: int) -> float:
        """The mean activation that penalty "kl" aims at in a stage (counted from 1)."""
        return of_stage(self.sparsity_target, stage)

    def schedule_of(self, phase: Phase) -> str:
        """The name of the learning-rate schedule of this phase."""
        return self.end_schedule if phase.is_finetuning and self.end_schedule else self.schedule

    def schedule_options_of(self, phase: Phase) -> Options:
        """The options of the learning-rate schedule of this phase."""
        return self.end_schedule_options if phase.is_finetuning and self.end_schedule else self.schedule_options

    def patience_of(self, phase: Phase) -> int | None:
        """The number of checks without improvement that ends this phase (None: early stopping is off)."""
        return self.end_patience if phase.is_finetuning else self.patience

    def levels_at(self, depth: int, phase: Phase | None = None) -> tuple[float, ...]:
        """The corruption levels of the input at `depth` (0: pixels) in a phase, one for each part of the corruption.

        phase: None for the phases of growth.
        """
        is_end = phase is not None and phase.is_finetuning and self.end_corruption_level is not None
        return as_tuple(of_stage(self.end_corruption_level if is_end else self.corruption_level, depth + 1))

    def dropout_of(self, phase: Phase, stage: int) -> float:
        """The dropout of the code of a stage (counted from 1) in a phase: 0 unless the phase trains it."""
        rates = self.end_dropout if phase.is_finetuning and self.end_dropout is not None else self.dropout
        return of_stage(rates, stage) if phase.trainable[0] <= stage <= phase.depth else 0.0

    def loss_at(self, depth: int) -> str:
        """The name of the loss for reconstructing the input at `depth` (0: pixels)."""
        return of_stage(self.loss, depth + 1)


def check_weights(weights: Options, known: Iterable[str], what: str) -> None:
    """Raise InputError unless each of these is known, given once, and has a weight above 0, or 0 or more for each stage."""
    names = [name for name, _ in weights]
    for name, weight in weights:
        choice(name, known, what)
        need(names.count(name) == 1, f"{what} {name!r} is not allowed twice: give it one weight")
        if not isinstance(weight, tuple):
            positive(weight, f"weight of {what} {name!r}")
            continue
        need(
            all(finite(each) and each >= 0 for each in weight) and any(weight),
            f"weights {weight} of {what} {name!r} are not allowed: give 0 or more for each stage, not 0 for all",
        )


def as_tuple(values: T | tuple[T, ...]) -> tuple[T, ...]:
    """Return one value, or several, as a tuple: those of all stages, or of the parts of a corruption."""
    return values if isinstance(values, tuple) else (values,)


def of_stage(values: Any, stage: int) -> Any:
    """Return the value of a stage (counted from 1), where `values` is one for all stages, or a tuple of one for each."""
    if not isinstance(values, tuple):
        return values
    return values[stage - 1 if len(values) > 1 else 0]


def one_or_each(values: Any, name: str) -> Any:
    """Return a list of values of all stages as a tuple, or as its value if it has one; InputError if it has none."""
    if not isinstance(values, (list, tuple)):
        return values
    need(len(values) > 0, f"{name} {values!r} is not allowed: give one value, or one for each stage")
    return tuple(values) if len(values) > 1 else values[0]
