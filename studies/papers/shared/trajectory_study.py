"""A study of training runs with a figure of trajectories, whose networks are trained apart from the runs, by --trajectories."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from stacked.util.checks import need
from studies.design.study import Session
from studies.framework.training_study import TrainingStudy

OPTION = "--trajectories"


@dataclass(frozen=True, kw_only=True)
class TrajectoryStudy(TrainingStudy):
    """A study of training runs that compares what the networks of some arms compute while classifiers are fine-tuned.

    trajectories: the names of these arms, whose stacks have dense stages. One of the drawings has the name "trajectories".
    """

    trajectories: tuple[str, ...]

    def session(self, argv: list[str]) -> Session:
        """Return the session of the arguments `argv`, with --trajectories a `TrajectorySession`; raises as `given`."""
        if OPTION not in argv:
            return super().session(argv)
        given = self.given([word for word in argv if word != OPTION])
        need(not given.tune, f"{OPTION} trains with the settings that were chosen: leave out --tune")
        need(not given.register, f"--register registers a trained run, and {OPTION} trains none: leave out one of them")
        need(len(given.seeds) > 1, f"{OPTION} compares seeds: give --seeds 2 or more")
        from studies.papers.shared.trajectory_session import TrajectorySession  # which takes seconds to load

        return TrajectorySession(self, dataclasses.replace(given, arms=self.trajectories), OPTION)
