"""The study of training runs: a grid of arms and seeds, on one dataset and with equal budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stacked.spec.growth import POLICIES
from stacked.util.checks import choice
from studies.cli.command_line import parser
from studies.cli.options import Options, options
from studies.cli.parsing import parse
from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.design.search import Among, LogRange, Search, Times
from studies.design.study import Session, Study

if TYPE_CHECKING:
    from studies.design.drawing import Drawing
    from studies.figures.panels import Record
    from studies.report.page import Quote

#: What tuning draws where a study does not say otherwise: for every arm, and for those that grow and then train end to end.
SEARCH: Search = {
    "optimisation.lr": LogRange(1e-3, 0.2),
    "optimisation.batch_size": Among((8, 16, 32, 64, 128)),
    "optimisation.schedule": Among(("cosine", "onecycle")),
}
SEARCH_SPLIT: Search = {"budget.end_to_end": Times(0.25, 32.0)}


@dataclass(frozen=True, kw_only=True)
class TrainingStudy(Study):
    """A question and the arms, each trained with every seed, that answer it.

    reference: the arm that the others are compared with. measure_of: the arm whose budget the command line gives, and whose
    cost every other arm may spend. defaults: of options, where they differ from those of all studies; smoke: those of its
    smoke run. claims: what a paper reports, to be held beside the rows; comparisons: of our own, in a table apart. quote: what
    makes the answer in a few sentences from the rows and the reference (None: an answer a metric). drawings: figures of its own,
    the most telling first. figures: which of all studies' figures it has (None: all).

    search: the fields that tuning (`--tune`) draws for every arm that is trained; search_split: further ones for arms that grow
    and then train end to end, which divide their budget between the two. tuned_by: the measure on validation images that
    compares trials. chosen: values of each arm that were chosen so and are recorded with the project; they are used where the
    study's own settings are.
    """

    arms: tuple[Arm, ...]
    reference: str = "joint"
    measure_of: str = "greedy+finetune"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    smoke: Mapping[str, Any] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    comparisons: tuple[Claim, ...] = ()
    quote: Quote | None = None
    drawings: Mapping[str, Drawing[[Record]]] = field(default_factory=dict)
    figures: tuple[str, ...] | None = None
    search: Search = field(default_factory=lambda: SEARCH)
    search_split: Search = field(default_factory=lambda: SEARCH_SPLIT)
    tuned_by: str = "recon_mse"
    chosen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The names of its arms."""
        return tuple(arm.name for arm in self.arms)

    def arm(self, name: str) -> Arm:
        """The arm called `name`: one of this study's, or the policy of that name; InputError when it is neither."""
        known = {arm.name: arm for arm in self.arms}
        choice(name, [*known, *(policy for policy in POLICIES if policy not in known)], "arm")
        return known.get(name) or Arm(name)

    def given(self, words: list[str]) -> Options:
        """What the words of its command line mean; InputError for those that are not allowed."""
        command_line = parser(self.prog, self.question, self.arm_names)
        given = options(self.name, parse(command_line, words, self.defaults, self.smoke))
        for name in given.arms:
            self.arm(name)
        return given

    def session(self, words: list[str]) -> Session:
        """The session that the words ask for; errors as of `given`."""
        from studies.framework.training_session import TrainingSession, TuningSession

        given = self.given(words)
        return (TuningSession if given.tune else TrainingSession)(self, given)
