"""Drawn combinations of all that a spec can name: each trains, or is refused in a line that says what to do."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from stacked import InputError, StackSpec
from stacked.components.corruption import CORRUPTIONS
from stacked.components.losses import LOSSES
from stacked.components.penalties import PENALTIES
from stacked.components.winner_take_all import WINNER_TAKE_ALL
from stacked.objectives import objectives
from stacked.spec import StageSpec
from stacked.spec.growth import POLICIES
from stacked.stages import kinds
from stacked.stages.activations import ACTIVATIONS
from tests.helpers.policies import makes_updates
from tests.helpers.trainable import ADVICE, spec, trains


def drawn(number: int) -> dict[str, Any]:
    """Any combination of what can be combined, by its number."""
    dice = random.Random(number)
    stages = tuple(
        StageSpec(
            dice.choice(sorted(kinds()) if k == 0 else ["conv", "dense", "conv-pool"]),
            8,
            dice.choice(["sigmoid", *ACTIVATIONS]),
            decoder=dice.choice([None, None, *ACTIVATIONS]),
        )
        for k in range(2)
    )
    if not kinds()[stages[0].kind].maps:  # maps cannot follow vectors
        stages = (stages[0], replace(stages[1], kind="dense"))
    composed = dice.random() < 0.2
    names = dice.choice(list(CORRUPTIONS))
    level: Any = (0.2, dice.choice([0.0, 0.1])) if composed else dice.choice([0.0, 0.3])
    return {
        "policy": dice.choice([name for name in POLICIES if makes_updates(name)]),
        "stack": StackSpec(stages, output=dice.choice(["sigmoid", "sigmoid", "linear"])),
        "loss": (dice.choice(["mse", *LOSSES]), dice.choice(["mse", *LOSSES])),
        "corruption": f"masking+{names}" if composed else names,
        "corruption_level": (level, dice.choice([level, (0.0, 0.0) if composed else 0.0])),
        "penalties": {name: 0.01 for name in PENALTIES if dice.random() < 0.1},
        "winner_take_all": dice.choice([None, None, None, *WINNER_TAKE_ALL]),
        "emphasis": dice.choice([None, None, None, None, (1.0, 0.5), (1.0, 0.0)]),
        "linear_decoder": dice.random() < 0.2,
        "dropout": dice.choice([0.0, 0.0, 0.2, (0.0, 0.5)]),
        "objectives": {name: 1.0 for name in objectives() if dice.random() < 0.2},
    }


@pytest.mark.parametrize("start", range(0, 320, 40))
def test_a_spec_that_exists_can_train_and_any_other_says_what_to_do(start: int) -> None:
    """Forty drawn combinations at a time."""
    accepted, said = 0, []
    for number in range(start, start + 40):
        try:
            made = spec(**drawn(number))
        except InputError as error:
            said.append(str(error))
            continue
        accepted += 1
        trains(made)
    assert 3 <= accepted <= 35
    for message in said:
        assert "\n" not in message
        assert any(word in message for word in ADVICE), message
