"""A study of training runs: a grid of arms and seeds on one dataset, with equal budgets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from studies.cli.command_line import parser
from studies.cli.options import Options, options
from studies.cli.parsing import parse
from studies.cli.typed import typed_options
from studies.design.study import Session
from studies.framework.training_design import TrainingDesign


@dataclass(frozen=True, kw_only=True)
class TrainingStudy(TrainingDesign):
    """A question, the arms that answer it, and the command that trains every arm with every seed."""

    def given(self, argv: list[str]) -> Options:
        """Return the options of the command-line arguments `argv`; raise InputError for a value that is not allowed."""
        command_line = parser(self.prog, self.question, self.arm_names)
        given = options(self.name, parse(command_line, argv, self.defaults, self.smoke))
        given = dataclasses.replace(given, typed=typed_options(argv))
        for name in given.arms:
            self.arm(name)
        return given

    def session(self, argv: list[str]) -> Session:
        """Return the session of the command-line arguments `argv`; raises as `given`."""
        given = self.given(argv)
        # imports torch, which takes seconds that `--help` and wrong options need not wait
        from studies.framework.training_session import TrainingSession, TuningSession

        return (TuningSession if given.tune else TrainingSession)(self, given)
