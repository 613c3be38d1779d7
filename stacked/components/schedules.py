"""Learning-rate schedules: the course of the learning rate over a phase.

Each is a function of (update, updates), the number of an update after warm-up, from 0, and how many there are, that returns a
factor of the peak learning rate. Its options are keywords, each with a default. To add a schedule, write the function and name
it in SCHEDULES.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stacked.util.checks import choice, finite, need, positive, whole
from stacked.util.serialization import Options

#: Where a "step" schedule decreases the learning rate by default: at these fractions of a phase (He et al. 2016, section 4.2).
STEPS = (0.5, 0.75)


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule.

    of: the function of (update, updates, **options).
    check: function of the options that raises InputError for invalid values.
    """

    of: Callable[..., float]
    check: Callable[..., None] = lambda: None

    @property
    def defaults(self) -> dict[str, Any]:
        """The options with their defaults."""
        return {name: p.default for name, p in list(inspect.signature(self.of).parameters.items())[2:]}


def constant(update: int, updates: int) -> float:
    """A constant factor of 1."""
    return 1.0


def half_cosine(progress: float) -> float:
    """Return a value that falls from 1 to 0 along half a cosine while `progress` increases from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def cosine(update: int, updates: int) -> float:
    """Decrease from 1 to 0 along half a cosine (Loshchilov & Hutter 2017, equation 5, one period)."""
    return half_cosine(update / max(1, updates))


def onecycle(update: int, updates: int) -> float:
    """Increase from 1/25 to 1 over the first 30 %, then decrease to 1e-4/25, both along half a cosine (Smith & Topin 2019)."""
    start, end, peak = 1 / 25, 1e-4 / 25, 0.3
    progress = update / max(1, updates)
    if progress < peak:
        return start + (1 - start) * (1 - half_cosine(progress / peak))
    return end + (1 - end) * half_cosine((progress - peak) / (1 - peak))


def inverse(update: int, updates: int, *, decay: float = 1e-3) -> float:
    """Return 1 / (1 + update * decay), which is 1/2 after 1 / decay updates (Bottou 2012, section 5.2)."""
    return 1 / (1 + update * decay)


def check_inverse(*, decay: float) -> None:
    """Raise InputError unless the decay is above 0."""
    positive(decay, "option decay of schedule 'inverse'")


def step(
    update: int, updates: int, *, factor: float = 0.1, every: int | None = None, at: Sequence[float] | None = None
) -> float:
    """Return a power of `factor`: multiply by it once every `every` updates, or at each of the fractions `at` of the phase.

    Without either, the fractions are STEPS.
    """
    if every is not None:
        return factor ** (update // every)
    progress = update / max(1, updates)
    return factor ** sum(progress >= fraction for fraction in (STEPS if at is None else at))


def check_step(*, factor: float, every: int | None, at: Any) -> None:
    """Raise InputError unless the factor decreases the learning rate and the places where it does are given in one way."""
    of = "of schedule 'step'"
    need(
        finite(factor) and 0 < factor < 1,
        f"option factor {of} {factor!r} is not allowed: give a number between 0 and 1",
    )
    need(every is None or at is None, f"options every and at {of} exclude each other: leave one of them out")
    if every is not None:
        whole(every, f"option every {of}")
    if at is not None:
        fractions = at if isinstance(at, tuple) else ()
        need(
            len(fractions) > 0 and all(finite(each) and 0 < each < 1 for each in fractions),
            f"option at {of} {at!r} is not allowed: give a list of fractions of the phase, between 0 and 1",
        )


SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(constant),
    "cosine": Schedule(cosine),
    "onecycle": Schedule(onecycle),
    "inverse": Schedule(inverse, check_inverse),
    "step": Schedule(step, check_step),
}


def check_schedule(name: str, options: Options, what: str) -> None:
    """Raise InputError for an unknown schedule, or options that it does not have; `what` names the field of the schedule."""
    choice(name, SCHEDULES, what)
    defaults = SCHEDULES[name].defaults
    for option, _ in options:
        need(bool(defaults), f"option {option!r} does not fit schedule {name!r}, which has none: leave it out")
        choice(option, defaults, f"option of schedule {name!r}")
        given = [other for other, _ in options].count(option)
        need(given == 1, f"option {option!r} of schedule {name!r} is not allowed twice: give it one value")
    SCHEDULES[name].check(**defaults | dict(options))


def learning_rate(lr: float, schedule: str, warmup: int, update: int, updates: int, options: Options = ()) -> float:
    """Return the learning rate of `update` (from 0) of `updates`: linear warm-up over `warmup` updates, then the schedule."""
    if update < warmup:
        return lr * (update + 1) / (warmup + 1)
    return lr * SCHEDULES[schedule].of(update - warmup, updates - warmup, **dict(options))
