"""Arms: the ways to train that a study compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stacked.util.checks import choice
from stacked.util.errors import InputError
from stacked.util.serialization import merged, named_values
from studies.design.search import Search

if TYPE_CHECKING:
    from stacked.spec import RunSpec

#: parts of a spec in which arms may differ; data and evaluation are the same for all arms
CHANGEABLE = ("stack", "budget", "optimisation", "classification")
#: fields of a spec that are no parts and in which arms may differ
WHOLE = ("blocks",)


@dataclass(frozen=True)
class Arm:
    """A way to train: a policy, and the fields in which its spec differs from that of the study.

    policy: name of the policy ("": the name of the arm). changes: plain values by dotted field name, such as
    {"optimisation.optimiser": "sgd", "stack.init": "uniform"}; a field of values by name also takes one of them, as
    {"optimisation.penalties.l1": 0.1}, and keeps the others; "blocks" is a field of the spec itself. own_budget: whether the
    arm keeps the budget of the study; otherwise it has the same cost as the study's `budget_arm`. cost_of: name of the arm of
    the study whose cost it has instead ("": that of `budget_arm`). search: search space of tuning, in addition to that of the
    study. tuned: whether the arm is tuned. tuning_measure: measure on validation images by which its trials are compared ("":
    that of the study).
    """

    name: str
    policy: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    own_budget: bool = False
    cost_of: str = ""
    search: Search = field(default_factory=dict)
    tuned: bool = True
    tuning_measure: str = ""

    def spec(self, base: RunSpec) -> RunSpec:
        """Return the spec of this arm, whose seed and budget are still those of `base`; InputError if it is not valid."""
        try:
            return dataclasses.replace(base, policy=self.policy_name, **self.parts(base))
        except InputError as error:
            raise InputError(f"arm {self.name!r}: {error}") from error

    def with_values(self, values: Mapping[str, Any]) -> Arm:
        """Return the arm with these additional changes."""
        return dataclasses.replace(self, changes={**self.changes, **values})

    @property
    def policy_name(self) -> str:
        """The name of its policy: `policy`, or the name of the arm."""
        return self.policy or self.name

    def is_valid_for(self, base: RunSpec) -> bool:
        """Return whether the arm's changes to `base` give a valid spec."""
        try:
            self.spec(base)
        except InputError:
            return False
        return True

    def parts(self, base: RunSpec) -> dict[str, Any]:
        """Return the parts of `base` that the arm changes, with its changes; InputError for an unknown field."""
        parts: dict[str, dict[str, Any]] = {}
        whole = {name: value for name, value in self.changes.items() if name in WHOLE}
        for name, value in self.changes.items():
            if name in whole:
                continue
            part, _, inner = name.partition(".")
            choice(part, CHANGEABLE, "changed part")
            field_name, _, option = inner.partition(".")
            fields = parts.setdefault(part, {})
            if option:
                others = fields.get(field_name, getattr(getattr(base, part), field_name, ()))
                value = dict(named_values(others, field_name)) | {option: value}
            fields[field_name] = value
        return whole | {part: merged(getattr(base, part), fields) for part, fields in parts.items()}
