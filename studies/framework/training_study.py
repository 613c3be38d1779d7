"""A study of training runs: a grid of arms and seeds on one dataset, with equal budgets."""

from __future__ import annotations

from dataclasses import dataclass

from studies.design.study import Session
from studies.framework.training_design import TrainingDesign


@dataclass(frozen=True, kw_only=True)
class TrainingStudy(TrainingDesign):
    """A question, the arms that answer it, and the command that trains every arm with every seed."""

    def session(self, argv: list[str]) -> Session:
        """Return the session of the command-line arguments `argv`; raises as `given`."""
        given = self.given(argv)
        from studies.framework.training_session import TrainingSession, TuningSession  # which take seconds to load

        return (TuningSession if given.tune else TrainingSession)(self, given)
