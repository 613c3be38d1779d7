"""The jobs of a study of training runs: each arm with its settings, budget and seeds, measured at the same steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stacked.spec.growth import POLICIES
from stacked.util.checks import need
from stacked.util.errors import InputError
from studies.execution.job import Job
from studies.framework.tuning_measures import label_budget
from studies.record.names import experiment_name
from studies.statistics.trials import CHOICES

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec
    from studies.cli.options import Options
    from studies.framework.training_design import TrainingDesign

#: Points of the longest curve of a study; all arms are measured at multiples of the same number of updates.
POINTS = 200


def tuned_settings(study: TrainingDesign, given: Options) -> Mapping[str, Mapping[str, Any]]:
    """Return the values that tuning chose for each arm: those in the folder of results, else those committed with the study.

    The committed values were chosen for the study's default stack, budget and optimisation, and, where trials fine-tune
    classifiers, for its default classification; they are used only if all of these are the defaults. Raises InputError if
    choices.json does not fit the study.
    """
    from studies.framework import tuning

    found = tuning.chosen_values(given.out)
    for name, values in found.items():
        try:
            study.arm(name).with_values(values).spec(given.base)
        except InputError as error:
            need(
                name in study.arm_names and not study.arm(name).is_valid_for(given.base),
                f"{given.out / CHOICES} does not fit this study ({error}): restore it, or choose another --out",
            )
    if found or not study.chosen:
        return found
    default = study.given([]).base
    classified = any(label_budget(study.tuning_measure_of(arm))[0] for arm in study.arms)
    parts = ("stack", "budget", "optimisation", *(["classification"] if classified else []))
    is_default = all(getattr(default, part) == getattr(given.base, part) for part in parts)
    return study.chosen if is_default else {}


def chosen_elsewhere(study: TrainingDesign, given: Options) -> Mapping[str, Mapping[str, Any]] | None:
    """Return the values committed with the study if arms have them, and not values chosen in the folder of results; else None."""
    values = tuned_settings(study, given)
    return values if values and values is study.chosen else None


def plan(study: TrainingDesign, given: Options, splits: Splits) -> Iterator[Job]:
    """Yield the jobs seed by seed, so that an interrupted study has complete pairs of arms."""
    from stacked.runtime.determinism import strict
    from stacked.tracking.run_record import source_tags
    from stacked.viewing.group_colours import group_tags
    from studies.execution.threads import threads_per_process
    from studies.figures.style import arm_colours
    from studies.framework.compute_budget import budgets_of
    from studies.record import runs as record

    threads = threads_per_process(given.jobs)
    # of all arms, not only those of --arms: the measured steps must stay the same when an arm is added later
    values = tuned_settings(study, given)
    arms = {name: study.arm(name).with_values(values.get(name, {})) for name in [*study.arm_names, *given.arms]}
    arms = {name: arm for name, arm in arms.items() if name in given.arms or arm.is_valid_for(given.base)}
    arm_budgets = record.load_budgets(given.out)
    missing = [arm for name, arm in arms.items() if name not in arm_budgets]
    if missing:
        if given.equal == "seconds":
            record.check_budgets(given.out, {arm.name for arm in missing})
        with strict(given.device, given.deterministic):
            arm_budgets |= budgets_of(study, given.base, splits, missing, given.equal, given.device, threads)
    record.save_budgets(given.out, arm_budgets)
    specs: dict[str, RunSpec] = {}
    for name, arm in arms.items():
        spec = arm.spec(given.base)
        try:
            specs[name] = dataclasses.replace(spec, budget=arm_budgets[name])
        except InputError as error:
            raise InputError(
                f"{given.out / 'budgets.json'} does not fit arm {name!r} ({error}): restore it, or choose another --out"
            ) from error

    for k, name in enumerate(given.arms):
        for other in given.arms[:k]:
            need(
                specs[name] != specs[other],
                f"arms {other!r} and {name!r} are the same run, which the record can hold once: leave one of them out",
            )

    def n_updates(name: str) -> int:
        spec = specs[name]
        return sum(phase.updates for phase in spec.phases(spec.updates_per_epoch(len(splits.train))))

    longest = max(n_updates(name) for name in [name for name in study.arm_names if name in arms] or given.arms)
    every = max(1, longest // POINTS)
    evaluation = dataclasses.replace(given.base.evaluation, every=every, until=longest // every * every)
    groups = group_tags(arm_colours([*arms, *POLICIES]))
    source = source_tags(study.prog)
    for seed in given.seeds:
        for name in given.arms:
            yield Job(
                spec=dataclasses.replace(specs[name], seed=seed, evaluation=evaluation),
                arm=name,
                study=f"{study.name}-{given.configuration}",
                experiment=experiment_name(given.base),
                tags=source | groups[name],
                given=given,
                threads=threads,
                arms=study.arm_names,
                data=splits.digest,
            )
