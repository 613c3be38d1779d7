"""The design of a study of training runs: arms, search space, options, and what its page shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stacked.spec.growth import POLICIES
from stacked.util.checks import choice
from stacked.util.errors import InputError
from studies.cli.command_line import parser
from studies.cli.listing import show_list
from studies.cli.options import Options, options
from studies.cli.parsing import parse
from studies.cli.typed import typed_options
from studies.cli.without_effect import check_image_size, check_server
from studies.cli.yaml_validation import config_files
from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.design.references import Reference
from studies.design.search import Among, LogRange, Search, Times
from studies.design.study import Study
from studies.framework.tuning_measures import MEASURES, check_measure

if TYPE_CHECKING:
    from studies.design.drawing import Drawing
    from studies.figures.panels import Record
    from studies.report.page import Quote

#: The default search space of tuning: for every arm, and the addition for arms that grow and then train end to end.
SEARCH: Search = {
    "optimisation.lr": LogRange(1e-3, 0.2),
    "optimisation.batch_size": Among((8, 16, 32, 64, 128)),
    "optimisation.schedule": Among(("cosine", "onecycle")),
}
SEARCH_SPLIT: Search = {"budget.end_to_end": Times(0.25, 32.0)}


@dataclass(frozen=True, kw_only=True)
class TrainingDesign(Study):
    """A question and the arms that answer it, without the command; every arm is trained with every seed.

    Attributes:

    arms: the arms. reference: the arm that the other arms are compared with. budget_arm: the arm that has the budget of the
    command line; every other arm has the same cost. defaults: values of options that differ from the general defaults. smoke:
    values of options for the smoke run. scales: for each name that --scale takes, the first by default, the values of options
    that differ from those defaults (empty: there is no --scale). valid: fraction of the official training set that is held out
    for validation, by name of the dataset (others: 1/12, or their own validation set). claims: results of a paper that the rows
    are compared with. paper: name of the paper, whose claims are one family of Holm's correction in the table of all papers if
    several studies reproduce it ("": the name of the study). comparisons: further comparisons, in a table of their own.
    references: methods that claims and comparisons can name beside the arms, "pca" and "mean image". quote: function of the rows
    and the reference that returns the answer in a few sentences (None: the answer has one line for each metric). drawings:
    figures that only this study has, by name, the most important first. figures: names of the figures to show of those that any
    training study can show (None: all of them).

    search: search space of `--tune` for every arm that is trained. search_split: addition to it for arms that grow and then
    train end to end. tuning_measure: measure on validation images by which trials are compared: "recon_mse", "recon_fvu",
    "recon_sse", "probe_acc", "svm_acc" (a linear support vector machine on the code), or "classifier_acc_all" or
    "classifier_acc_N", the accuracy of the classifier that is fine-tuned with all or N labels; arms without pretraining then have
    trials too, of the fields of `classification` and `stack`. chosen: values of each arm that tuning chose, committed with the
    study; they are used with the study's default settings only.
    """

    arms: tuple[Arm, ...]
    reference: str = "joint"
    budget_arm: str = "greedy+finetune"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    smoke: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    valid: Mapping[str, float] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    paper: str = ""
    comparisons: tuple[Claim, ...] = ()
    references: Mapping[str, Reference] = field(default_factory=dict)
    quote: Quote | None = None
    drawings: Mapping[str, Drawing[[Record]]] = field(default_factory=dict)
    figures: tuple[str, ...] | None = None
    search: Search = field(default_factory=lambda: SEARCH)
    search_split: Search = field(default_factory=lambda: SEARCH_SPLIT)
    tuning_measure: str = MEASURES[0]
    chosen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for measure in dict.fromkeys(self.tuning_measure_of(arm) for arm in self.arms):
            check_measure(measure)

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The names of the arms."""
        return tuple(arm.name for arm in self.arms)

    def arm(self, name: str) -> Arm:
        """Return the arm called `name`, or an arm with the policy of that name; raise InputError if there is neither."""
        known = {arm.name: arm for arm in self.arms}
        choice(name, [*known, *(policy for policy in POLICIES if policy not in known)], "arm")
        return known.get(name) or Arm(name)

    def tuning_measure_of(self, arm: Arm) -> str:
        """Return the measure by which the trials of an arm are compared: its own, or that of the study."""
        return arm.tuning_measure or self.tuning_measure

    def given(self, argv: list[str]) -> Options:
        """Return the options of the command-line arguments `argv`; raise InputError for a value that is not allowed.

        The message names a file of --config with which alone it would be the same. Where an option has the value list, prints
        what it takes, and exits.
        """
        show_list(argv, {arm.name: arm.policy_name for arm in self.arms})
        try:
            return self._read(argv)
        except InputError as error:
            for path in config_files(argv):
                try:
                    self._read(["--config", path])
                except InputError as alone:
                    if str(alone) == str(error) and path not in str(error):
                        raise InputError(f"in the file {path}: {error}") from error
            raise

    def _read(self, argv: list[str]) -> Options:
        command_line = parser(self.prog, self.question, self.arm_names, tuple(self.scales))
        given = options(self.name, parse(command_line, argv, self.defaults, self.smoke, self.scales), self.valid)
        given = dataclasses.replace(given, typed=typed_options(argv))
        for name in given.arms:
            self.arm(name)
        check_image_size(given.typed, given.base.data.name)
        check_server(given.typed, given.ui)
        return given
