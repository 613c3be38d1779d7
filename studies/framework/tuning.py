"""Equal tuning: every arm gets the same number of trials, each with the budget of a run and compared on validation images.

Each trial is a row of trials.csv. The values of the best trial of each arm are written to choices.json; later runs in the same
folder use them.
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
from studies.design.search import Space, refined
from studies.execution.job import Row
from studies.execution.pool import run_jobs
from studies.framework.trials import TRIAL_SEED, Trial, plan_trials, search_space
from studies.statistics.checksums import object_text
from studies.statistics.trials import CHOICES, FILE, best, edges, load_choices, load_trials

if TYPE_CHECKING:
    import pandas as pd

    from stacked.data import Splits
    from stacked.spec import RunSpec
    from studies.cli.options import Options
    from studies.framework.training_design import TrainingDesign


def tune(
    study: TrainingDesign,
    given: Options,
    splits: Splits,
    threads: int,
    stop: Callable[[], bool],
) -> Generator[None, None, None]:
    """Run the trials that are missing and yield after each; then choose the best of each arm and print them.

    Raises InputError if the folder already holds runs, and Interrupted if `stop` returns True; the same command then continues.
    """
    from studies.record import runs as record

    need(given.equal != "seconds", "--tune cannot be combined with --equal seconds: give --equal flops or updates")
    need(
        not record.finished(given.out),
        f"{given.out} already holds runs, which read the test set; settings must be chosen before: give --tune another --out",
    )
    yield from run_trials(study, given, splits, list(plan_trials(study, given, splits, threads)), stop)
    if given.refine:
        found = best_of_search(study, given)
        yield from run_trials(study, given, splits, list(plan_trials(study, given, splits, threads, found)), stop)
    record.sort_rows(given.out, study.arm_names)
    choose(study, given.out, given.base)
    print("\n".join(summary_lines(given.out)))


def run_trials(
    study: TrainingDesign, given: Options, splits: Splits, trials: Sequence[Trial], stop: Callable[[], bool]
) -> Generator[None, None, None]:
    """Run the trials that are missing and yield after each; raise Interrupted if `stop` returns True."""
    need(bool(trials), "--tune has nothing to tune: none of these arms has a search space; give other --arms")
    recorded, first_rows = recorded_rows(given.out) if (given.out / FILE).exists() else ({}, {})
    for trial in trials:  # reuse a trial with the same settings from an earlier search space
        same_run = first_rows.get(trial.spec.id)
        if same_run and (trial.spec.id, trial.drawn_from) not in recorded:
            recorded[trial.spec.id, trial.drawn_from] = trial.record_row(same_run)
    status = {trial.spec.id: recorded.get((trial.spec.id, trial.drawn_from), {}).get("status") for trial in trials}
    todo = [
        trial
        for trial in trials
        if status[trial.spec.id] is None or (given.retry_failed and status[trial.spec.id] != "finished")
    ]
    say(f"{study.title}: {len(trials)} trials, {len(trials) - len(todo)} made already; results in {given.out / FILE}")
    for row in run_jobs(todo, given.jobs, splits.without_test(), stop):
        measure = study.tuning_measure_of(study.arm(row["arm"]))
        result = f"validation {measure} {row[f'valid/{measure}']:.5g}" if row["status"] == "finished" else row["status"]
        say(f"{row['arm']}, trial {row['trial']}: {result}; {row['values']}")
        yield
    if stop():
        raise Interrupted("stopped as asked")


def best_of_search(study: TrainingDesign, given: Options) -> dict[str, Row]:
    """Return the row of the best trial of each arm in the search space of the study; raise InputError if none finished."""
    rows, found = load_trials(given.out), dict[str, Row]()
    for arm in map(study.arm, given.arms):
        space = search_space(study, arm, given.base)
        if arm.tuned and space:
            drawn = rows[rows["space"] == json.dumps({name: str(range_) for name, range_ in space.items()})]
            found[arm.name] = best_row(study, given.out, drawn, arm.name).to_dict()
    return found


def best_row(study: TrainingDesign, out: Path, rows: pd.DataFrame, arm: str) -> pd.Series:
    """Return the best of these trials of an arm; raise InputError if none finished."""
    row = best(rows, arm, study.tuning_measure_of(study.arm(arm)))
    if row is None:
        raise InputError(
            f"no trial of arm {arm!r} finished: see the reasons in {out / FILE}, or widen its search space"
        )
    return row


def recorded_rows(out: Path) -> tuple[dict[tuple[str, str], Row], dict[str, Row]]:
    """Return the rows of trials.csv by the id of the run and the search space, and the first row of each run by its id."""
    rows: dict[tuple[str, str], Row] = {}
    first_rows: dict[str, Row] = {}
    for record in load_trials(out).to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        rows[row["run"], row["space"]] = row
        first_rows.setdefault(row["run"], row)
    return rows, first_rows


def choose(study: TrainingDesign, out: Path, base: RunSpec) -> None:
    """Write the values of each arm's best trial to choices.json, with those that lie at an edge of their range.

    Raises InputError if the arms have different numbers of trials, or if no trial of an arm finished.
    """
    rows = load_trials(out)
    counts = rows["arm"].value_counts()
    most = int(counts.max())
    fewer = ", ".join(f"{arm} has {count}" for arm, count in counts.items() if count != most)
    need(
        not fewer,
        f"every arm must have the same number of trials, {most}, but {fewer}: give --tune {most} with all --arms",
    )
    choices = {}
    for arm in dict.fromkeys(rows["arm"]):
        row = best_row(study, out, rows, arm)
        values = json.loads(row["values"])
        at_edge = edges(tried_space(study, arm, base, rows), values)
        # "judged_by" is the stored key of the tuning measure
        choices[arm] = {
            "judged_by": study.tuning_measure_of(study.arm(arm)),
            "run": row["run"],
            "values": values,
            "edges": at_edge,
        }
    write_atomically(out / CHOICES, object_text({"trials": most, "seed": TRIAL_SEED, "arms": choices}))


def tried_space(study: TrainingDesign, arm: str, base: RunSpec, rows: pd.DataFrame) -> Space:
    """Return the search space of an arm, extended by the ranges of its trials of `--refine`."""
    space = tried = search_space(study, study.arm(arm), base)
    centres = set(rows.loc[rows["arm"] == arm, "centre"]) - {""}
    for centre in rows[rows["run"].isin(centres)].drop_duplicates("run").to_dict("records"):
        around = refined(space, json.loads(centre["values"]))
        tried = {name: range_.joined(around[name]) for name, range_ in tried.items()}  # type: ignore[arg-type]
    return tried


def chosen_values(out: Path) -> dict[str, dict[str, Any]]:
    """Return the values of the best trial of each arm, empty if no arm was tuned; raises as `load_choices`."""
    return {arm: choice["values"] for arm, choice in load_choices(out).items()}


def summary_lines(out: Path) -> Sequence[str]:
    """Return lines with the chosen values of each arm and a warning for each value at an edge of its range."""
    lines, rows = [], load_trials(out)
    for arm, choice in load_choices(out).items():
        row = rows[rows["run"] == choice["run"]].iloc[0]
        result = f"validation {choice['judged_by']} {row['valid/' + choice['judged_by']]:.5g}"
        lines.append(f"{arm}: {choice['values']} ({result})")
        for name, side in choice["edges"].items():
            lines.append(
                f"  {name} is at the {side} edge of its range: give --refine N, or widen the range for all arms and tune again"
            )
    return [*lines, f"Later runs with --out {out} use these values."]
