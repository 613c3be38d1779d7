"""Equal tuning: every arm gets the same number of trials, each a full run judged on validation images.

A trial draws values for the fields of the study's search space, trains the arm with the budget of a run of the record and with
a seed that no such run has, and is measured on validation images alone. All trials are rows of trials.csv; the values of each
arm's best are kept in choices.json, from which later runs in the same folder take them. Nothing here reads a test image.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.runtime.progress import say
from stacked.util.atomic import write_atomically
from stacked.util.checks import need
from stacked.util.errors import InputError, Interrupted
from stacked.util.serialization import flat
from studies.design.search import Space, Times, places
from studies.framework.options import MOST_SEEDS
from studies.framework.workers import Job, Row, progress, work
from studies.report.trials import CHOICES, FILE, best, edges, load_choices, load_trials

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec
    from studies.design.arms import Arm
    from studies.framework.options import Options
    from studies.framework.study import Study

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
                bar=lambda label, total: progress(f"{self.arm}, trial {self.number} {label}", total, given.jobs),
                checkpoint_every=given.checkpoint_every,
                stop=stop,
            )
        measures = {f"valid/{name}": done.row[f"final/{name}"] for name in MEASURES if f"final/{name}" in done.row}
        row = self.recorded({name: done.row[name] for name in KEPT} | measures)
        shutil.rmtree(folder, ignore_errors=True)  # its row is all that is kept of a trial
        return row

    def failed(self, reason: str) -> Row:
        """Record that the trial failed, and why: it counts as one that is worse than all others."""
        from studies.framework import record

        row = record.failed_row(self.spec, self.arm, reason)
        return self.recorded({name: value for name, value in row.items() if name != "spec"})

    def recorded(self, row: Row) -> Row:
        """Add the row of this trial to the record, and return it."""
        from stacked.util.serialization import to_json
        from studies.framework import record

        told = {
            "values": json.dumps(dict(self.values)),
            "space": self.drawn_from,
            "spec": to_json(self.spec),
        }
        row = {**row, "trial": self.number, **told}
        record.add_trial(self.given.out, row, self.arms)
        return row


def tune(
    study: Study,
    given: Options,
    splits: Splits,
    threads: int,
    stop: Callable[[], bool],
    look: Callable[[], None] = lambda: None,
) -> int:
    """Make the trials that are missing, choose, and print what was chosen; returns the exit code.

    look: called after each trial. Raises InputError where the folder holds runs already, and Interrupted when `stop` says so:
    the same command goes on.
    """
    from studies.framework import record

    need(given.equal != "seconds", "--tune with --equal seconds is not possible: give --equal flops or updates")
    need(
        not record.finished(given.out),
        f"{given.out} holds runs on the test set already, before which settings must be chosen: give --tune another --out",
    )
    trials = list(planned(study, given, splits, threads))
    need(bool(trials), "--tune has nothing to choose: none of these arms is trained and has values to draw")
    there = {} if not (given.out / FILE).exists() else recorded(given.out)
    for one in trials:  # what another search space had drawn already is not made again, and counts as drawn twice
        twin = there.get(one.spec.id, {}).get("")
        if twin and one.drawn_from not in there[one.spec.id]:
            there[one.spec.id][one.drawn_from] = one.recorded(twin)
    made = {one.spec.id: there.get(one.spec.id, {}).get(one.drawn_from, {}).get("status") for one in trials}
    todo = [
        one for one in trials if made[one.spec.id] is None or (given.retry_failed and made[one.spec.id] != "finished")
    ]
    say(f"{study.title}: {len(trials)} trials, {len(trials) - len(todo)} made already; results in {given.out / FILE}")
    for row in work(todo, given.jobs, splits.without_test(), stop):
        measure = judging(study, row["arm"])[0]
        told = f"validation {measure} {row[f'valid/{measure}']:.5g}" if row["status"] == "finished" else row["status"]
        say(f"{row['arm']}, trial {row['trial']}: {told}; {row['values']}")
        look()
    if stop():
        raise Interrupted("stopped as asked")
    record.settle(given.out, study.arm_names)
    choose(study, given.out, given.base)
    print("\n".join(outcome(given.out)))
    return 0


def recorded(out: Path) -> dict[str, dict[str, Row]]:
    """The rows of the trials made already, by run and by the space that they were drawn from; "" is any of a run's."""
    found: dict[str, dict[str, Row]] = {}
    for row in load_trials(out).to_dict("records"):
        named = {str(name): value for name, value in row.items()}
        found.setdefault(named["run"], {"": named})[named["space"]] = named
    return found


def planned(study: Study, given: Options, splits: Splits, threads: int) -> Iterator[Trial]:
    """The trials of all arms that can be tuned, trial by trial, so that an interrupted tuning has tried arms alike."""
    from stacked.data.stream import Order
    from stacked.spec.spec import LONGEST, Evaluation
    from studies.framework.compute_budget import budgets
    from studies.framework.names import experiment_name

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
            "",
            given,
            threads,
            study.arm_names,
            digest,
            number,
            values,
            {name: str(within) for name, within in space_of(study, arm, given.base).items()},
        )


def space_of(study: Study, arm: Arm, base: RunSpec) -> Space:
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


def is_tuned(study: Study, arm: Arm, base: RunSpec) -> bool:
    """Whether there is anything to draw for the arm."""
    return arm.tuned and bool(space_of(study, arm, base))


def judging(study: Study, arm: str) -> tuple[str, bool]:
    """The measure on validation images that compares the trials of an arm, and whether higher is better."""
    measure = study.arm(arm).judged_by or study.judged_by
    return measure, measure.endswith("_acc")


def choose(study: Study, out: Path, base: RunSpec) -> None:
    """Write the values of each arm's best trial to choices.json, and which of them lie at an edge of what was searched.

    InputError unless all arms that have trials have as many, and one of them finished.
    """
    rows = load_trials(out)
    counts = rows["arm"].value_counts()
    most = int(counts.max())
    told = ", ".join(f"{arm} has {count}" for arm, count in counts.items() if count != most)
    need(not told, f"every arm is tuned with as many trials, and of {most} {told}: give --tune with all --arms")
    found = {}
    for arm in dict.fromkeys(rows["arm"]):
        measure, higher = judging(study, arm)
        row = best(rows, arm, measure, higher)
        if row is None:
            raise InputError(f"no trial of arm {arm!r} finished: widen its search space, or look at {out / FILE}")
        values = json.loads(row["values"])
        at_edge = edges(space_of(study, study.arm(arm), base), values)
        found[arm] = {"judged_by": measure, "run": row["run"], "values": values, "edges": at_edge}
    write_atomically(out / CHOICES, json.dumps({"trials": most, "seed": SEED, "arms": found}, indent=1) + "\n")


def chosen(out: Path) -> dict[str, dict[str, Any]]:
    """The values of each arm's best trial, by arm; empty where nothing was tuned. Errors as `load_choices`."""
    return {arm: choice["values"] for arm, choice in load_choices(out).items()}


def outcome(out: Path) -> Sequence[str]:
    """Lines that say what was chosen for each arm, and which values lie at the edge of what was searched."""
    lines, rows = [], load_trials(out)
    for arm, choice in load_choices(out).items():
        row = rows[rows["run"] == choice["run"]].iloc[0]
        told = f"validation {choice['judged_by']} {row['valid/' + choice['judged_by']]:.5g}"
        lines.append(f"{arm}: {choice['values']} ({told})")
        for name, side in choice["edges"].items():
            lines.append(f"  {name} lies at the {side} edge of its range: widen it for all arms and tune on")
    return [*lines, f"Later runs with --out {out} take these values."]
