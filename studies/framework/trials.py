"""The trials of tuning: what each draws, from which space, and what is recorded of it.

A trial draws values for the fields of the study's search space, trains the arm with the budget of a run of the record and with
a seed that no such run has, and is measured on validation images alone. Nothing here reads a test image.
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
from studies.design.search import Space, Times, places
from studies.framework.workers import Job, Row

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec
    from studies.cli.options import Options
    from studies.design.arms import Arm
    from studies.framework.training_study import TrainingStudy

#: The seed of all trials; those of a record are smaller.
SEED = MOST_SEEDS
#: Points of a trial's curve, at which a loss that is not finite is seen; it is not kept.
POINTS = 10
#: What is kept of a trial beside its values: columns of a run's row, and measures on validation images.
KEPT = (
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
MEASURES = ("recon_mse", "recon_fvu", "recon_sse", "probe_acc")


@dataclass(frozen=True)
class Trial(Job):
    """One trial of an arm: its number, the values drawn for it, and the space that they were drawn from."""

    number: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What progress calls the trial."""
        return f"{self.arm}, trial {self.number}"

    @property
    def drawn_from(self) -> str:
        """The space as rows have it."""
        return json.dumps(dict(self.space))

    def do(self, splits: Splits, stop: Callable[[], bool]) -> Row:
        """Train and measure on the validation images of these data, and record that; its row."""
        from stacked.runs.run import run
        from stacked.runtime.determinism import strict
        from stacked.tracking.work_folder import held
        from studies.framework.threads import limited

        given = self.given
        folder = given.store / "work" / self.spec.id
        with held(folder), limited(self.threads), strict(given.device, given.deterministic):
            done = run(
                self.spec,
                splits.without_test(),
                arm=self.arm,
                device=given.device,
                codes=given.codes,
                work=folder,
                checkpoint_every=given.checkpoint_every,
                stop=stop,
            )
        measures = {f"valid/{name}": done.row[f"final/{name}"] for name in MEASURES if f"final/{name}" in done.row}
        row = self.recorded({name: done.row[name] for name in KEPT} | measures)
        shutil.rmtree(folder, ignore_errors=True)  # its row is all that is kept of a trial
        return row

    def failed(self, reason: str) -> Row:
        """Record that the trial failed, and why: it counts as one that is worse than all others."""
        from studies.record import runs as record

        row = record.failed_row(self.spec, self.arm, reason)
        return self.recorded({name: value for name, value in row.items() if name != "spec"})

    def recorded(self, row: Row) -> Row:
        """Add the row of this trial to the record, and return it."""
        from stacked.util.serialization import to_json
        from studies.record import runs as record

        told = {
            "values": json.dumps(dict(self.values)),
            "space": self.drawn_from,
            "spec": to_json(self.spec),
        }
        row = {**row, "trial": self.number, **told}
        record.add_trial(self.given.out, row, self.arms)
        return row


def planned(study: TrainingStudy, given: Options, splits: Splits, threads: int) -> Iterator[Trial]:
    """The trials of all arms that can be tuned, trial by trial, so that an interrupted tuning has tried arms alike."""
    from stacked.data.stream import Order
    from stacked.spec.spec import LONGEST, Evaluation
    from studies.framework.compute_budget import budgets
    from studies.record.names import experiment_name

    arms = [arm for arm in map(study.arm, given.arms) if is_tuned(study, arm, given.base)]
    every = [study.arm(name) for name in dict.fromkeys([*study.arm_names, *given.arms])]
    fields = list(dict.fromkeys(name for arm in every for name in space_of(study, arm, given.base)))
    numbered = []
    for number, place in enumerate(places(fields, given.tune or 0, SEED)):
        for arm in arms:
            values = {name: within.at(place[name]) for name, within in space_of(study, arm, given.base).items()}
            tried = dataclasses.replace(arm, name=f"{arm.name}, trial {number}", policy=arm.grows_by).with_values(
                values
            )
            numbered.append((number, arm, values, tried))
    equal = budgets(
        given.base,
        splits,
        [tried for *_, tried in numbered],
        given.equal,
        study.arm(study.measure_of),
        given.device,
        threads,
    )
    digest = splits.without_test().digest  # of all that a trial gets
    for number, arm, values, tried in numbered:
        spec = dataclasses.replace(
            tried.spec(given.base),
            budget=equal[tried.name],
            seed=SEED,
            classification=dataclasses.replace(given.base.classification, labels=()),
        )
        per_epoch = Order(len(splits.train), spec.optimisation.batch_size, 0).updates_per_epoch
        updates = sum(phase.updates for phase in spec.phases(per_epoch))
        rarely = Evaluation(
            every=max(1, updates // POINTS),
            images=given.base.evaluation.images,
            probe_every=LONGEST,
            probe_labels=given.base.evaluation.probe_labels,
        )
        yield Trial(
            dataclasses.replace(spec, evaluation=rarely),
            arm.name,
            study.name,
            experiment_name(given.base),
            {},
            given,
            threads,
            study.arm_names,
            digest,
            number,
            values,
            {name: str(within) for name, within in space_of(study, arm, given.base).items()},
        )


def space_of(study: TrainingStudy, arm: Arm, base: RunSpec) -> Space:
    """The fields that are drawn for an arm: the study's, but for those that the arm sets itself, and its own.

    For arms that grow and then train end to end, how they divide their budget between the two is among them.
    """
    if not is_trained(arm):
        return {}
    phases = policy_phases(arm)
    divided = any(phase.is_finetuning for phase in phases) and not all(phase.is_finetuning for phase in phases)
    shared = {**study.search, **(study.search_split if divided else {})}
    drawn = {name: within for name, within in shared.items() if name not in arm.changes} | dict(arm.search)
    own = flat(dataclasses.replace(base, **arm.parts(base)))
    return {name: within.of(own[name]) if isinstance(within, Times) else within for name, within in drawn.items()}


def policy_phases(arm: Arm) -> list[Any]:
    """The phases of the arm's policy, as it has them for two stages."""
    from stacked.spec.growth import POLICIES, Updates

    return POLICIES[arm.grows_by](2, Updates((2, 2), 2))


def is_trained(arm: Arm) -> bool:
    """Whether the arm makes any updates."""
    return any(phase.updates for phase in policy_phases(arm))


def is_tuned(study: TrainingStudy, arm: Arm, base: RunSpec) -> bool:
    """Whether there is anything to draw for the arm."""
    return arm.tuned and bool(space_of(study, arm, base))
