"""The state of a run: counts, costs and the curve so far."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from stacked.util.checks import need
from stacked.util.serialization import from_dict


@dataclass
class RunState:
    """What a run has spent and measured so far; a checkpoint holds it beside the weights.

    flop: FLOPs of training, including those of frozen stages. span: those of them that are computed one after another if each
    block that learns alone has a worker of its own (see `PhaseCost.span`). seconds: time of training and of computing codes,
    without evaluation. curve: the evaluations, as rows. commits: commits of the code that trained, several if a resumed run
    used other code. threads: number of threads of the training process. deterministic: whether training was strictly
    deterministic from the start. skipped, rollbacks: numbers of batches left out and of rollbacks for non-finite values. spare:
    unspent FLOPs of phases that converged early, which later phases may spend. peak_bytes: most memory of an update.
    codes_bytes: most memory of cached codes. data: digest of the examples.
    """

    updates: int = 0
    images_seen: int = 0
    flop: int = 0
    span: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    threads: int = 0
    deterministic: bool = False
    skipped: int = 0
    rollbacks: int = 0
    spare: int = 0
    peak_bytes: int = 0
    codes_bytes: int = 0
    data: str = ""

    @classmethod
    def of(cls, values: dict[str, Any]) -> RunState:
        """Return the state stored as a dictionary in JSON; InputError unless every field is present and valid."""
        missing = [f.name for f in fields(cls) if f.name not in values]
        need(not missing, f"it lacks {', '.join(missing)}")
        state = from_dict(cls, values)
        for name, value in vars(state).items():
            need(isinstance(value, (list, str)) or value >= 0, f"{name} {value!r} is below 0")
        for point in state.curve:
            right = isinstance(point.get("phase"), str) and all(
                type(value) in (int, float) for name, value in point.items() if name != "phase"
            )
            need(
                right and all(type(point.get(name)) is int for name in ("step", "phase_step")),
                f"{point!r} is not an evaluation of a curve",
            )
        return state
