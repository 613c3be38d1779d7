"""Learning-rate schedules: against torch's, and in training against a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from stacked import InputError
from stacked.components.schedules import SCHEDULES, learning_rate, onecycle
from stacked.data.order import Order
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.codes import StoredInputs
from stacked.training.fit import Training, fit
from tests.helpers.phases import IMAGES, stack_of
from tests.helpers.runs import same_weights

UPDATES = 100


def torchs(scheduler: Callable[[torch.optim.Optimizer], Any], updates: int = UPDATES) -> list[float]:
    """The learning rates of one of torch's schedulers, whose optimiser begins with 0.1."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    made, found = scheduler(optimiser), []
    for _ in range(updates):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        made.step()
    return found


def ours(name: str, warmup: int = 0, updates: int = UPDATES, **options: Any) -> list[float]:
    how = Optimisation(schedule=name, schedule_options=options)  # type: ignore[arg-type]
    return [learning_rate(0.1, name, warmup, k, updates, how.schedule_options) for k in range(updates)]


@pytest.mark.parametrize("decay", [1e-3, 0.5, 2])
def test_inverse_is_that_of_the_formula(decay: float) -> None:
    assert ours("inverse", decay=decay) == torchs(lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t * decay)))
    assert ours("inverse") == ours("inverse", decay=1e-3)


@pytest.mark.parametrize(("factor", "every"), [(0.1, 30), (0.5, 7), (0.9, 1), (0.5, 1000)])
def test_step_every_so_many_updates_is_torchs(factor: float, every: int) -> None:
    theirs = torchs(lambda o: lr_scheduler.StepLR(o, every, factor))
    assert ours("step", factor=factor, every=every) == pytest.approx(theirs, rel=1e-13)  # torch rounds at every step
    power = torchs(lambda o: lr_scheduler.LambdaLR(o, lambda t: factor ** (t // every)))
    assert ours("step", factor=factor, every=every) == power


@pytest.mark.parametrize(
    ("at", "milestones"), [([0.5, 0.75], [50, 75]), ([0.07, 0.29, 0.3], [7, 29, 30]), ([0.333], [34])]
)
def test_step_at_fractions_of_the_phase_is_torchs(at: list[float], milestones: list[int]) -> None:
    theirs = torchs(lambda o: lr_scheduler.MultiStepLR(o, milestones, 0.1))
    assert ours("step", at=at) == pytest.approx(theirs, rel=1e-13)
    if at == [0.5, 0.75]:
        assert ours("step") == ours("step", at=at)


def test_cosine_and_onecycle_are_torchs() -> None:
    assert ours("cosine") == pytest.approx(torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, UPDATES)), rel=1e-10)
    theirs = torchs(lambda o: lr_scheduler.OneCycleLR(o, 0.1, UPDATES + 1, cycle_momentum=False))
    # torch's phases are 0.3 * 101 - 1 and the rest long: one step of difference at most
    assert np.abs(np.array(ours("onecycle")) - np.array(theirs)).max() < 0.004
    # its ends and its peak are those of torch exactly
    assert [onecycle(update, 1000) for update in (0, 300, 1000)] == pytest.approx([1 / 25, 1, 1e-4 / 25], rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_starts_after_the_warm_up_and_does_not_exceed_the_peak(name: str) -> None:
    rates = ours(name, 5, UPDATES + 5)
    assert rates[:5] == [0.1 * (k + 1) / 6 for k in range(5)]
    assert rates[5:] == ours(name)
    assert max(rates) <= 0.1 + 1e-12
    ends = {"constant": 0.1, "inverse": 0.1 / 1.099, "step": 0.001}
    assert rates[-1] == pytest.approx(ends[name]) if name in ends else rates[-1] < 1e-3
    assert learning_rate(0.1, name, 5, 4, 5) == 0.1 * 5 / 6  # a phase of warm-up alone


def test_a_phase_trains_as_with_torchs_scheduler_and_fine_tuning_has_its_own() -> None:
    how = Optimisation(
        optimiser="sgd",
        lr=0.1,
        momentum=0.0,
        batch_size=32,
        schedule="inverse",
        schedule_options={"decay": 0.3},  # type: ignore[arg-type]
        end_schedule="step",
        end_schedule_options={"factor": 0.5, "every": 4},  # type: ignore[arg-type]
    )
    schedulers: dict[bool, Callable[[torch.optim.Optimizer], Any]] = {
        False: lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t * 0.3)),
        True: lambda o: lr_scheduler.StepLR(o, 4, 0.5),
    }
    for is_finetuning, scheduler in schedulers.items():
        mine, plain = stack_of(9, 6), stack_of(9, 6)
        order, images = Order(len(IMAGES), 32, 0), StoredInputs(IMAGES)
        phase = Phase("joint", (1, 2), 0, 12, is_finetuning=is_finetuning)
        list(fit(mine, phase, images, how, order=order, seed=0))
        optimiser = torch.optim.SGD(plain.parameters(), lr=0.1, fused=True)
        made = scheduler(optimiser)
        for update in range(12):
            x = images(order.batch(update))
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(plain(x), x).backward()
            optimiser.step()
            made.step()
        assert same_weights(mine, plain)


def test_a_phase_that_goes_on_inside_has_the_rates_of_one_that_was_not_stopped() -> None:
    how = Optimisation(lr=0.01, batch_size=32, schedule="step", schedule_options={"every": 3})  # type: ignore[arg-type]
    phase, order = Phase("joint", (1, 2), 0, 10), Order(len(IMAGES), 32, 0)

    class Stopped(Exception):
        pass

    def stop() -> None:
        if left.update == 5:
            raise Stopped

    whole, stack = stack_of(9, 6), stack_of(9, 6)
    list(fit(whole, phase, StoredInputs(IMAGES), how, order=order, seed=0))
    left = Training(stack, phase, StoredInputs(IMAGES), how, order=order, seed=0)
    with pytest.raises(Stopped):
        list(left.train(stop))
    resumed = Training(stack, phase, StoredInputs(IMAGES), how, order=order, seed=0)
    resumed.restore(*left.state())
    assert [metrics.lr for metrics in resumed.train()][-1] == pytest.approx(0.01 * 1e-3)
    assert same_weights(whole, stack)


def test_options_belong_to_the_schedule_of_the_phase() -> None:
    how = Optimisation(schedule="inverse", schedule_options={"decay": 0.1})  # type: ignore[arg-type]
    growth, end = Phase("stage 1", (1, 1), 0, 1), Phase("fine-tuning", (1, 1), 0, 1, is_finetuning=True)
    assert how.schedule_options_of(growth) == how.schedule_options_of(end) == (("decay", 0.1),)
    other = replace(how, end_schedule="cosine")
    assert other.schedule_options_of(growth) == (("decay", 0.1),)
    assert other.schedule_options_of(end) == ()


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"schedule_options": {"decay": 1.0}},
        "option 'decay' does not fit schedule 'constant', which has none: leave it out",
    ),
    (
        {"schedule": "inverse", "schedule_options": {"factor": 1.0}},
        "option of schedule 'inverse' 'factor' is not known: choose from decay",
    ),
    (
        {"schedule": "inverse", "schedule_options": {"decay": 0}},
        "option decay of schedule 'inverse' 0 is not allowed: give a number above 0",
    ),
    (
        {"schedule": "inverse", "schedule_options": (("decay", 1.0), ("decay", 2.0))},
        "option 'decay' of schedule 'inverse' is not allowed twice: give it one value",
    ),
    (
        {"schedule": "step", "schedule_options": {"factor": 1.0}},
        "option factor of schedule 'step' 1.0 is not allowed: give a number between 0 and 1",
    ),
    (
        {"schedule": "step", "schedule_options": {"every": 0}},
        "option every of schedule 'step' 0 is not allowed: give an integer of at least 1",
    ),
    (
        {"schedule": "step", "schedule_options": {"every": 10, "at": [0.5]}},
        "options every and at of schedule 'step' exclude each other: leave one of them out",
    ),
    *(
        (
            {"schedule": "step", "schedule_options": {"at": at}},
            f"option at of schedule 'step' {shown} is not allowed: give a list of fractions of the phase, between 0 and 1",
        )
        for at, shown in ((0.5, "0.5"), ([], "()"), ([0.5, 1.0], "(0.5, 1.0)"), (["x"], "('x',)"))
    ),
    (
        {"end_schedule_options": {"decay": 1.0}},
        "end_schedule_options belong to end_schedule, which is not given: give both",
    ),
    (
        {"end_schedule": "step", "end_schedule_options": {"decay": 1.0}},
        "option of schedule 'step' 'decay' is not known: choose from factor, every, at",
    ),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_options_that_have_no_meaning_are_refused_in_a_sentence(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        Optimisation(**given)
    assert str(refused.value) == message
