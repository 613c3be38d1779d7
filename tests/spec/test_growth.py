"""Growth policies: their phases, word for word, and what holds of any policy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stacked.spec.growth import ENDS, GROWTHS, POLICIES, Phase, Updates
from stacked.util.errors import InputError

BUDGET = Updates((10, 20, 30), 40)
GREEDY = [Phase("stage 1", (1, 1), 0, 10), Phase("stage 2", (2, 2), 1, 20), Phase("stage 3", (3, 3), 2, 30)]
FINETUNE = [Phase("fine-tuning", (1, 3), 0, 40, inherits_unspent_flops=True, is_finetuning=True)]
UNFREEZE = [
    Phase("unfreezing 3-3", (3, 3), 2, 13, "pixels", layerwise_lr_decay=True, is_finetuning=True),
    Phase("unfreezing 2-3", (2, 3), 1, 13, "pixels", layerwise_lr_decay=True, is_finetuning=True),
    Phase(
        "unfreezing 1-3",
        (1, 3),
        0,
        14,
        "pixels",
        layerwise_lr_decay=True,
        inherits_unspent_flops=True,
        is_finetuning=True,
    ),
]
GOLDEN = {
    "greedy": GREEDY,
    "greedy-first": GREEDY[:1],
    "greedy-last": GREEDY[2:],
    "greedy-pixels": [
        Phase("stage 1", (1, 1), 0, 10, "pixels"),
        Phase("stage 2", (2, 2), 1, 20, "pixels"),
        Phase("stage 3", (3, 3), 2, 30, "pixels"),
    ],
    "greedy-images": [
        Phase("stage 1", (1, 1), 0, 10),
        Phase("stage 2", (2, 2), 0, 20),
        Phase("stage 3", (3, 3), 0, 30),
    ],
    "progressive": [
        Phase("stages 1-1", (1, 1), 0, 10),
        Phase("stages 1-2", (1, 2), 0, 20),
        Phase("stages 1-3", (1, 3), 0, 30),
    ],
    **{
        f"progressive-{begins}": [
            Phase("stages 1-1", (1, 1), 0, 10, begins=begins),
            Phase("stages 1-2", (1, 2), 0, 20, begins=begins),
            Phase("stages 1-3", (1, 3), 0, 30, begins=begins),
        ]
        for begins in ("copy", "identity")
    },
    "simultaneous": [Phase("simultaneous", (1, 3), 0, 30, local_loss="alone")],
    "supervised": [
        Phase("stage 1", (1, 1), 0, 10, "labels"),
        Phase("stage 2", (2, 2), 1, 20, "labels"),
        Phase("stage 3", (3, 3), 2, 30, "labels"),
    ],
    "converge": [
        Phase("stage 1", (1, 1), 0, 10, inherits_unspent_flops=True),
        Phase("stage 2", (2, 2), 1, 20, inherits_unspent_flops=True),
        Phase("stage 3", (3, 3), 2, 30, inherits_unspent_flops=True),
    ],
    "local": [replace(phase, target="objectives") for phase in GREEDY],
    "local-images": [replace(phase, input_depth=0, target="objectives") for phase in GREEDY],
    "local-simultaneous": [Phase("simultaneous", (1, 3), 0, 30, "objectives", local_loss="alone")],
    "resampled": [*GREEDY, Phase("resampling", (1, 3), 0, 0, resamples=True)],
    "joint": [Phase("joint", (1, 3), 0, 40)],
    "end-to-end": [Phase("end to end", (1, 3), 0, 40, "objectives")],
    "joint-local": [Phase("joint", (1, 3), 0, 40, local_loss="added")],
    "lock": [
        Phase("stages 1-3", (1, 3), 0, 14, "pixels"),
        Phase("stages 2-3", (2, 3), 1, 13, "pixels"),
        Phase("stages 3-3", (3, 3), 2, 13, "pixels"),
    ],
    "random": [],
}
AFTER = {"": [], "+finetune": FINETUNE, "+unfreeze": UNFREEZE}
#: the policies whose phases are written out above, alone and followed by an end
WRITTEN = [name for name in POLICIES if name.partition("+")[0] in GOLDEN]


@pytest.mark.parametrize("name", WRITTEN)
def test_the_phases_of_depth_three(name: str) -> None:
    growth, plus, end = name.partition("+")
    assert POLICIES[name](3, BUDGET) == [*GOLDEN[growth], *AFTER[plus + end]]


def test_all_that_is_written_out_is_a_policy() -> None:
    assert GOLDEN.keys() <= POLICIES.keys()
    assert AFTER.keys() == {"", *(f"+{end}" for end in ENDS)}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_phases_cover_the_stages_in_order(name: str, depth: int) -> None:
    """All of them, or those of the policy's name."""
    phases = POLICIES[name](depth, Updates(tuple(range(3, 3 + depth)), 7 * depth + 1))
    learnt = {k for phase in phases for k in range(phase.trainable[0], phase.trainable[1] + 1)}
    some = {"random": set(), "greedy-first": {1}, "greedy-last": {depth}}
    assert learnt == some.get(name, set(range(1, depth + 1)))
    assert all(phase.input_depth < phase.trainable[0] and phase.depth <= depth for phase in phases)
    assert [phase.depth for phase in phases] == sorted(phase.depth for phase in phases)  # a stack only grows
    assert len({phase.name for phase in phases}) == len(phases)  # checkpoints and curves tell them apart by it
    assert all(phase.updates > 0 or phase.resamples for phase in phases)


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "random"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_budget_adds_up(name: str, depth: int) -> None:
    stages, end = tuple(range(3, 3 + depth)), 7 * depth + 1
    whole, most = ("joint", "joint-local", "lock", "end-to-end"), max(stages)
    some = {
        "simultaneous": most,
        "local-simultaneous": most,
        **dict.fromkeys(whole, 0),
        "greedy-first": 3,
        "greedy-last": 2 + depth,
    }
    growing = some.get(name.partition("+")[0], sum(stages))
    ending = end if "+" in name or name in whole else 0
    assert sum(phase.updates for phase in POLICIES[name](depth, Updates(stages, end))) == growing + ending


def test_every_growth_is_followed_by_every_end() -> None:
    assert {name for name in POLICIES if "+" in name} == {f"{growth}+{end}" for growth in GROWTHS for end in ENDS}
    assert POLICIES["random"](3, BUDGET) == []


def test_a_short_locking_trains_all_stages() -> None:
    assert POLICIES["lock"](3, Updates(None, 2)) == [Phase("stages 1-3", (1, 3), 0, 2, "pixels")]


def test_a_short_unfreezing_ends_with_all_stages() -> None:
    assert POLICIES["greedy+unfreeze"](3, Updates((1, 1, 1), 2))[3:] == [
        Phase(
            "unfreezing 1-3",
            (1, 3),
            0,
            2,
            "pixels",
            layerwise_lr_decay=True,
            inherits_unspent_flops=True,
            is_finetuning=True,
        )
    ]


@pytest.mark.parametrize("name", POLICIES)
def test_a_missing_budget_is_named(name: str) -> None:
    """That which the phases depend on, and no other."""
    policy = POLICIES[name]
    phases = policy(2, Updates((5, 5), 5))
    for lacking, more, told in (
        (Updates(None, 5), Updates((9, 9), 5), "give the budget a number of updates or epochs a stage"),
        (Updates((5, 5), None), Updates((5, 5), 9), "give the budget an end_to_end part"),
    ):
        if policy(2, more) == phases:
            assert policy(2, lacking) == phases
        else:
            with pytest.raises(InputError, match=told):
                policy(2, lacking)
