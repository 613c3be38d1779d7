"""Equal tuning: every arm gets the same number of trials, each a full run compared on validation images.

All trials are rows of trials.csv; the values of each arm's best are kept in choices.json, from which later runs in the same
folder take them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.runtime.progress import say
from stacked.util.atomic import write_atomically
from stacked.util.checks import need
from stacked.util.errors import InputError, Interrupted
from studies.framework.trials import SEED, planned, space_of
from studies.framework.workers import Row, work
from studies.statistics.trials import CHOICES, FILE, best, edges, load_choices, load_trials

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec
    from studies.cli.options import Options
    from studies.framework.training_study import TrainingStudy


def tune(
    study: TrainingStudy,
    given: Options,
    splits: Splits,
    threads: int,
    stop: Callable[[], bool],
) -> Generator[None, None, None]:
    """Make the trials that are missing, and yield after each; then choose, and print what was chosen.

    Raises InputError where the folder holds runs already, and Interrupted when `stop` says so: the same command goes on.
    """
    from studies.record import runs as record

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
        measure = tuning_measure(study, row["arm"])[0]
        told = f"validation {measure} {row[f'valid/{measure}']:.5g}" if row["status"] == "finished" else row["status"]
        say(f"{row['arm']}, trial {row['trial']}: {told}; {row['values']}")
        yield
    if stop():
        raise Interrupted("stopped as asked")
    record.settle(given.out, study.arm_names)
    choose(study, given.out, given.base)
    print("\n".join(outcome(given.out)))


def recorded(out: Path) -> dict[str, dict[str, Row]]:
    """The rows of the trials made already, by run and by the space that they were drawn from; "" is any of a run's."""
    found: dict[str, dict[str, Row]] = {}
    for row in load_trials(out).to_dict("records"):
        named = {str(name): value for name, value in row.items()}
        found.setdefault(named["run"], {"": named})[named["space"]] = named
    return found


def tuning_measure(study: TrainingStudy, arm: str) -> tuple[str, bool]:
    """The measure on validation images that compares the trials of an arm, and whether higher is better."""
    measure = study.arm(arm).tuned_by or study.tuned_by
    return measure, measure.endswith("_acc")


def choose(study: TrainingStudy, out: Path, base: RunSpec) -> None:
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
        measure, higher = tuning_measure(study, arm)
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
