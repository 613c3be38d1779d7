"""Arms: the ways to train that a study compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stacked.util.checks import choice
from stacked.util.errors import InputError
from stacked.util.serialization import merged
from studies.design.search import Search

if TYPE_CHECKING:
    from stacked.spec import RunSpec

#: parts of a spec in which arms may differ; data and how curves are measured are a study's alone
CHANGEABLE = ("stack", "budget", "optimisation", "classification")


@dataclass(frozen=True)
class Arm:
    """A way to train: a policy (default: the one of its name), and the fields in which its spec differs from the study's.

    `changes` maps dotted names of fields to plain values: {"optimisation.optimiser": "sgd", "stack.init": "uniform"}. An arm
    with `own_budget` has the study's budget as it stands; others get as much as the study's `measure_of` arm. `search`: the
    fields that tuning draws for this arm, beside those that the study draws for all; `tuned` is False for an arm that is left
    as it is. `tuned_by`: the measure on validation images by which its trials are compared ("": the study's).
    """

    name: str
    policy: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    own_budget: bool = False
    search: Search = field(default_factory=dict)
    tuned: bool = True
    tuned_by: str = ""

    def spec(self, base: RunSpec) -> RunSpec:
        """The spec of a run of this arm, before its seed and its budget; InputError when it cannot be trained."""
        try:
            return dataclasses.replace(base, policy=self.grows_by, **self.parts(base))
        except InputError as error:
            raise InputError(f"arm {self.name!r}: {error}") from error

    def with_values(self, values: Mapping[str, Any]) -> Arm:
        """The arm with these fields changed as well."""
        return dataclasses.replace(self, changes={**self.changes, **values})

    @property
    def grows_by(self) -> str:
        """The name of its policy."""
        return self.policy or self.name

    def trains(self, base: RunSpec) -> bool:
        """Whether it can be trained with what `base` says."""
        try:
            self.spec(base)
        except InputError:
            return False
        return True

    def parts(self, base: RunSpec) -> dict[str, Any]:
        """The parts of `base` that this arm changes, as it has them; InputError for a field that is not there."""
        parts: dict[str, dict[str, Any]] = {}
        for name, value in self.changes.items():
            part, _, inner = name.partition(".")
            choice(part, CHANGEABLE, "changed part")
            parts.setdefault(part, {})[inner] = value
        return {part: merged(getattr(base, part), fields) for part, fields in parts.items()}
