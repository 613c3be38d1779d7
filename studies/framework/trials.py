"""The trials of tuning: the values that each trial gets, and the row that is recorded for it.

A trial draws values from the search space, trains the arm with the budget of a run and with a seed that no run has, and is
evaluated on validation images only. No trial reads a test image. Where trials are compared by the accuracy of a fine-tuned
classifier, each trial fine-tunes one as a run does.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stacked.util.serialization import flat
from studies.cli.options import MOST_SEEDS
from studies.design.search import Space, Times, refined, sobol_points
from studies.execution.job import Job, Row
from studies.framework.tuning_measures import MEASURES, check_classes, label_budget, probes_of, validation_measures

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec
    from studies.cli.options import Options
    from studies.design.arms import Arm
    from studies.framework.training_design import TrainingDesign

#: The seed of all trials; the seeds of runs are smaller.
TRIAL_SEED = MOST_SEEDS
#: Points of the curve of a trial. They serve to detect a loss that is not finite; the curve is not recorded.
POINTS = 10
#: Columns of the row of a run that the row of a trial has as well, beside the measures on validation images.
ROW_COLUMNS = (
    "run",
    "arm",
    "seed",
    "status",
    "commit",
    "updates",
    "images_seen",
    "gflop",
    "train_seconds",
    "seconds",
    "threads",
)


@dataclass(frozen=True)
class Trial(Job):
    """One trial of an arm.

    measure: the measure by which trials of the arm are compared. number: from 0. values: the drawn values by field. space: the
    range of each field as text. centre: id of the trial's run on whose values the ranges are centred, empty for the search
    space of the study.
    """

    measure: str = MEASURES[0]
    number: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, str] = field(default_factory=dict)
    centre: str = ""

    @property
    def label(self) -> str:
        """The name of the trial in progress messages."""
        return f"{self.arm}, trial {self.number}"

    @property
    def drawn_from(self) -> str:
        """The search space as JSON, as in the column `space`."""
        return json.dumps(dict(self.space))

    def run(self, splits: Splits, stop: Callable[[], bool]) -> Row:
        """Train, evaluate on the validation images of `splits`, record the row and return it."""
        from stacked.runs.run import run
        from stacked.runtime.determinism import strict
        from stacked.tracking.work_folder import held
        from studies.execution.threads import thread_limit

        given = self.given
        folder = given.store / "work" / self.spec.id
        with held(folder), thread_limit(self.threads), strict(given.device, given.deterministic):
            done = run(
                self.spec,
                splits.without_test(),
                arm=self.arm,
                device=given.device,
                codes=given.codes,
                disk_cache=given.disk_cache,
                work=folder,
                checkpoint_every=given.checkpoint_every,
                stop=stop,
            )
        row = self.record_row(
            {name: done.row[name] for name in ROW_COLUMNS} | validation_measures(done.row, self.measure)
        )
        shutil.rmtree(folder, ignore_errors=True)  # only the row of a trial is kept
        return row

    def record_failure(self, reason: str) -> Row:
        """Record that the trial failed, with the reason, and return its row; a failed trial counts as the worst of all."""
        from studies.record import runs as record

        row = record.failed_row(self.spec, self.arm, reason)
        return self.record_row({name: value for name, value in row.items() if name != "spec"})

    def record_row(self, row: Row) -> Row:
        """Add the columns of this trial to `row`, write it to trials.csv and return it."""
        from stacked.util.serialization import to_json
        from studies.record import runs as record

        trial_columns = {
            "values": json.dumps(dict(self.values)),
            "space": self.drawn_from,
            "spec": to_json(self.spec),
            "centre": self.centre,
        }
        row = {**row, "trial": self.number, **trial_columns}
        record.add_trial(self.given.out, row, self.arms)
        return row


def plan_trials(
    study: TrainingDesign, given: Options, splits: Splits, threads: int, best: Mapping[str, Row] | None = None
) -> Iterator[Trial]:
    """Yield the trials of all tuned arms by number, so that an interruption leaves about the same number of trials per arm.

    best: for each arm the row of its best trial so far; then the trials of `--refine` are planned, in ranges around its values.
    """
    from stacked.spec.spec import LONGEST, Evaluation
    from studies.framework.compute_budget import budgets_of
    from studies.record.names import experiment_name

    arms = [arm for arm in map(study.arm, given.arms) if is_tuned(study, arm, given.base)]
    for measure in dict.fromkeys(study.tuning_measure_of(arm) for arm in arms):
        check_classes(measure, splits)
    every = [study.arm(name) for name in dict.fromkeys([*study.arm_names, *given.arms])]
    fields = list(dict.fromkeys(name for arm in every for name in search_space(study, arm, given.base)))
    spaces = {arm.name: search_space(study, arm, given.base) for arm in arms}
    first, count, seed = 0, given.tune or 0, TRIAL_SEED
    if best is not None:
        spaces = {arm: refined(space, json.loads(best[arm]["values"])) for arm, space in spaces.items()}
        first, count, seed = count, given.refine, TRIAL_SEED + 1
    numbered = []
    for number, point in enumerate(sobol_points(fields, count, seed), start=first):
        for arm in arms:
            values = {name: range_.at(point[name]) for name, range_ in spaces[arm.name].items()}
            tried = dataclasses.replace(arm, name=f"{arm.name}, trial {number}", policy=arm.policy_name)
            numbered.append((number, arm, values, tried.with_values(values)))
    arm_budgets = budgets_of(
        study, given.base, splits, [tried for *_, tried in numbered], given.equal, given.device, threads
    )
    digest = splits.without_test().digest  # trials get no test images
    for number, arm, values, tried in numbered:
        spec, measure = tried.spec(given.base), study.tuning_measure_of(arm)
        is_classified, labels = label_budget(measure)
        recipe = spec.classification if is_classified else given.base.classification
        spec = dataclasses.replace(
            spec,
            budget=arm_budgets[tried.name],
            seed=TRIAL_SEED,
            classification=dataclasses.replace(recipe, labels=(labels,) if is_classified else ()),
        )
        updates = sum(phase.updates for phase in spec.phases(spec.updates_per_epoch(len(splits.train))))
        short_curve = Evaluation(
            every=max(1, updates // POINTS),
            images=given.base.evaluation.images,
            probe_every=LONGEST,  # no probes between the first and the last point of the curve
            probe_labels=given.base.evaluation.probe_labels,
            probes=probes_of(measure, given.base.evaluation.probes),
        )
        yield Trial(
            spec=dataclasses.replace(spec, evaluation=short_curve),
            arm=arm.name,
            study=study.name,
            experiment=experiment_name(given.base),
            tags={},
            given=given,
            threads=threads,
            arms=study.arm_names,
            data=digest,
            measure=measure,
            number=number,
            values=values,
            space={name: str(range_) for name, range_ in spaces[arm.name].items()},
            centre=best[arm.name]["run"] if best is not None else "",
        )


def search_space(study: TrainingDesign, arm: Arm, base: RunSpec) -> Space:
    """Return the search space of an arm: that of the study without the fields that the arm sets, and that of the arm.

    For arms that grow and then train end to end, it includes the study's `search_split`. It holds only fields that can change
    the arm's tuning measure: those of `classification` if that is the accuracy of a classifier, those of `optimisation` and
    `budget` if the arm is trained before, and those of `stack` in either case. So an arm without pretraining has the fields of
    fine-tuning, or an empty space.
    """
    is_classified, trains = label_budget(study.tuning_measure_of(arm))[0], is_trained(arm)
    effective = {"classification": is_classified, "stack": is_classified or trains}
    phases = policy_phases(arm)
    has_split = any(phase.is_finetuning for phase in phases) and not all(phase.is_finetuning for phase in phases)
    shared = {**study.search, **(study.search_split if has_split else {})}
    searched = {name: range_ for name, range_ in shared.items() if name not in arm.changes} | dict(arm.search)
    searched = {name: range_ for name, range_ in searched.items() if effective.get(name.partition(".")[0], trains)}
    default = flat(dataclasses.replace(base, **arm.parts(base)))
    return {
        name: range_.of(default[name]) if isinstance(range_, Times) else range_ for name, range_ in searched.items()
    }


def policy_phases(arm: Arm) -> list[Any]:
    """Return the phases of the arm's policy for a stack of two stages."""
    from stacked.spec.growth import POLICIES, Updates

    return POLICIES[arm.policy_name](2, Updates((2, 2), 2))


def is_trained(arm: Arm) -> bool:
    """Return whether the arm makes any updates."""
    return any(phase.updates for phase in policy_phases(arm))


def is_tuned(study: TrainingDesign, arm: Arm, base: RunSpec) -> bool:
    """Return whether the arm is to be tuned and has a search space."""
    return arm.tuned and bool(search_space(study, arm, base))
