"""Valid specs of all kinds as plain values, and the words that are right somewhere in one."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from stacked import RunSpec, StackSpec
from stacked.components.corruption import CORRUPTIONS
from stacked.components.losses import LOSSES
from stacked.components.optim import OPTIMISERS
from stacked.components.penalties import PENALTIES
from stacked.components.schedules import SCHEDULES
from stacked.components.winner_take_all import WINNER_TAKE_ALL
from stacked.data import names
from stacked.spec import Budget, DataSpec, Optimisation, StageSpec
from stacked.spec.growth import POLICIES
from stacked.stages import kinds
from stacked.stages.activations import ACTIVATIONS
from stacked.stages.initialise import INITS
from stacked.stages.norms import NORMS
from stacked.util.serialization import to_dict
from tests.helpers.policies import needs_equal_stages, needs_patience

MIXED = RunSpec(
    policy="converge+finetune",
    data=DataSpec("digits", limit=500),
    stack=StackSpec(
        (
            StageSpec("conv-pool", 4, options={"unpool": "switches", "kernel": 5}),  # type: ignore[arg-type]
            StageSpec("transformer", 8, options={"patch": 2, "heads": 2}),  # type: ignore[arg-type]
            StageSpec("dense", 9, "sigmoid", (("tied", True),), "softplus"),
        ),
    ),
    budget=Budget((2.0, 3.0, 1.0), 4.0, "updates"),
    optimisation=Optimisation(
        corruption="masking+gaussian",
        corruption_level=((0.1, 0.2), (0.0, 0.0), (0.0, 0.1)),
        patience=2,
        penalties={"l1": 1},
        schedule="step",
        schedule_options={"factor": 0.5, "at": [0.2, 0.6]},
        end_schedule="inverse",
        end_schedule_options={"decay": 0.01},
    ),
)
SIGMOID = RunSpec(
    policy="joint",
    stack=StackSpec.of("dense", 9, 5, activation="sigmoid", init="he", norm="none"),
    optimisation=Optimisation(
        winner_take_all="lifetime",
        penalties={"kl": 0.1, "contractive": 0.2},
        emphasis=(1, 0.5),
        loss=("bce", "mse"),
        labels=10,
    ),
)
VALID = [
    *(RunSpec(), MIXED, SIGMOID),
    *(
        dataclasses.replace(RunSpec(), policy=policy)
        for policy in POLICIES
        if not needs_patience(policy) and not needs_equal_stages(policy)
    ),
]
#: words that are right somewhere
WORDS = [
    *(
        *POLICIES,
        *kinds(),
        *ACTIVATIONS,
        *INITS,
        *LOSSES,
        *OPTIMISERS,
        *SCHEDULES,
        *PENALTIES,
        *NORMS,
        *WINNER_TAKE_ALL,
    ),
    *(*names(), "folder:/nowhere", *CORRUPTIONS, "masking+gaussian", "epochs", "updates", "skip-batch", "rollback"),
]


def full(spec: Any) -> Any:
    """A spec as plain values, with the fields that came later."""
    found = to_dict(spec)
    for f in dataclasses.fields(spec):
        value = getattr(spec, f.name)
        if dataclasses.is_dataclass(value):
            found[f.name] = full(value)
        elif "if_absent" in f.metadata:
            found[f.metadata.get("stored_name", f.name)] = (
                dict(value) if f.type == "Options" else json.loads(json.dumps(value))
            )
    return found


PLAIN = [*map(to_dict, VALID), *map(full, VALID[:3])]
