"""What every study shares: a grid of arms and seeds, run in parallel, recorded row by row, and reported."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentError, Namespace

from stacked.cli.command import called, misspelt, options_of
from stacked.runtime.interruption import Interruption
from stacked.runtime.progress import say, say_warnings
from stacked.runtime.starting import ready
from stacked.spec.growth import POLICIES
from stacked.util.checks import choice, need
from stacked.util.errors import InputError, Interrupted
from stacked.util.paths import command_without_folders
from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.design.search import Among, LogRange, Search, Times
from studies.framework import yaml_validation
from studies.framework.command_line import LISTS, MAPPINGS, SMOKE, Parser, check_flags, parser, plainly
from studies.framework.exit_codes import ended
from studies.framework.names import experiment_name
from studies.framework.options import Options, options
from studies.framework.places import INDEX, ROOT
from studies.framework.workers import Job, work

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec
    from studies.figures.figures import Drawing
    from studies.report.page import Quote

#: What tuning draws where a study does not say otherwise: for every arm, and for those that grow and then train end to end.
SEARCH: Search = {
    "optimisation.lr": LogRange(1e-3, 0.2),
    "optimisation.batch_size": Among((8, 16, 32, 64, 128)),
    "optimisation.schedule": Among(("cosine", "onecycle")),
}
SEARCH_SPLIT: Search = {"budget.end_to_end": Times(0.25, 32.0)}
#: Points of a curve, on the grid that all arms of a study share.
POINTS = 200


@dataclass(frozen=True)
class Study:
    """A question and the arms that answer it. `protocol` is printed in the study's README, as Markdown.

    reference: the arm that the others are compared with. measure_of: the arm whose budget the command line gives, and whose
    cost every other arm may spend. defaults: of options, where they differ from those of all studies; smoke: those of its
    smoke run. claims: what a paper reports, to be held beside the rows; comparisons: of our own, in a table apart. quote: what
    makes the answer in a few sentences from the rows and the reference (None: an answer a metric). drawings: figures of its own,
    the most telling first. figures: which of all studies' figures it has (None: all). module: its name below `studies`, where
    that is not `name`.

    search: the fields that tuning (`--tune`) draws for every arm that is trained; search_split: further ones for arms that grow
    and then train end to end, which divide their budget between the two. judged_by: the measure on validation images that
    compares trials. chosen: values of each arm that were chosen so and are recorded with the project; they are used where the
    study's own settings are.
    """

    name: str
    title: str
    question: str
    protocol: str
    arms: tuple[Arm, ...]
    reference: str = "joint"
    measure_of: str = "greedy+finetune"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    smoke: Mapping[str, Any] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    comparisons: tuple[Claim, ...] = ()
    quote: Quote | None = None
    drawings: Mapping[str, Drawing] = field(default_factory=dict)
    figures: tuple[str, ...] | None = None
    module: str = ""
    search: Search = field(default_factory=lambda: SEARCH)
    search_split: Search = field(default_factory=lambda: SEARCH_SPLIT)
    judged_by: str = "recon_mse"
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


def main(study: Study, words: list[str] | None = None) -> int:
    """The command line of a study; returns the exit code: 0, 1 when runs failed, 2 for bad input, 130 when interrupted."""
    say_warnings()
    words = sys.argv[1:] if words is None else words
    prog = called(f"studies.{study.module or study.name}")
    stop = Interruption()

    def do() -> int:
        given = options(study.name, parse(study, parser(prog, study.question, study.arm_names), words))
        for name in given.arms:
            study.arm(name)
        if given.ui:
            from studies.framework.ui import show

            ready()
            return show(study.name, given)
        with stop:
            return conduct(study, given, command_without_folders([*prog.split(), *words]), stop)

    return ended(prog, stop, do)


def conduct(study: Study, given: Options, command: str, stop: Callable[[], bool] = lambda: False) -> int:
    """Run what is not finished yet, each run writing its row, then the report; returns the exit code.

    A run that failed is not tried again unless `given` says so. Raises Interrupted when `stop` says so.
    """
    from stacked.doctor import unsent
    from stacked.evaluation.evaluate import varies
    from stacked.runs.run import check, load
    from stacked.runtime.determinism import strict
    from stacked.runtime.environment import device_of
    from stacked.tracking.backend.store import OUTAGES, reason_of
    from stacked.tracking.tracker import open_store
    from studies.framework import record, tuning, ui
    from studies.framework.disk_check import check_enough, check_places
    from studies.framework.threads import share
    from studies.report import has_block, update_readme, write_report

    began = time.perf_counter()
    with strict(given.device, given.deterministic):  # CUDA starts here
        device_of(given.device)
    splits = load(given.base, given.data_dir, given.download)
    for name in given.arms:
        check(study.arm(name).spec(given.base), splits)
    for name, split in (("validation", splits.valid), ("test", splits.test)):
        if not varies(split.images):
            many = f"{len(split):,} image{'s' * (len(split) > 1)}"
            say(f"FVU is not defined on the {name} images, which do not differ ({many}): it is left blank")
    if given.dry_run:
        from studies.framework.dry_run import show

        return show(given, splits, lambda options: plan(study, options, splits))
    store = open_store(given.store)
    check_places(given, store)
    with record.alone(given.out) as files:
        record.prepare(given.out, given.base, given.equal, splits.digest)
        files.look()
        if given.tune:
            return tuning.tune(study, given, splits, share(given.jobs), stop, files.look)
        jobs = list(plan(study, given, splits))
        record.check_same_arms(given.out, {(job.arm, job.spec.seed): job.spec.id for job in jobs})
        done = record.finished(given.out) if given.resume else set()
        before = record.failed(given.out) - done if given.resume and not given.retry_failed else set()
        todo = [job for job in jobs if job.spec.id not in done | before]
        say(
            f"{study.title}: {len(jobs)} runs, {sum(job.spec.id in done for job in jobs)} finished already; "
            f"results in {given.out}"
        )
        if study.chosen and not settings(study, given):
            say("arms are not tuned for these settings: --tune N does that, with N trials for each")
        failed = sum(job.spec.id in before for job in jobs)
        if failed:
            say(f"{failed} runs failed before and are left as they are: --retry-failed tries them again")
        check_enough(given, store, todo, splits)
        files.look()
        for row in work(todo, given.jobs, splits, stop):
            failed += row["status"] != "finished"
            say(f"{row['arm']}/s{row['seed']}: {summary(row)}")
            files.look()
        if stop():
            raise Interrupted("stopped as asked")
        record.settle(given.out, study.arm_names)
        record.write_reference(given.out, splits, given.base)
        write_report(
            given.out,
            title=study.title,
            question=study.question,
            command=command,
            protocol=study.protocol.format(**facts(given.base, splits)),
            reference=study.reference,
            claims=study.claims,
            comparisons=study.comparisons,
            quote=study.quote,
            drawings=study.drawings,
            figures=study.figures,
        )
    kept = record.committed_as(given.out, ROOT)
    if kept and has_block(INDEX, kept):
        update_readme(INDEX, kept, block(study, given.out))
    try:
        views = ui.save(f"{study.name}-{given.configuration}", given.base, given.out, store)
    except OUTAGES as error:
        views = []
        say(f"MLflow has no report and no views of this ({reason_of(error)}): run the same again when it works")
    print(f"\n{len(todo)} runs in {time.perf_counter() - began:.0f} s. Table and figures: {given.out / 'README.md'}")
    ui.tell(views, store, given.port, given.host)
    try:
        lacks = any(finding.repair for finding in unsent.find(store))
    except OUTAGES:
        lacks = True
    if lacks:
        say(f"MLflow lacks some of this, since it failed: python -m stacked.doctor --store {given.store} sends it")
    return 1 if failed else 0


def block(study: Study, out: Path) -> str:
    """What the index of records says of the record of `study` in `out`."""
    from studies.report import headline

    general = study.figures is None or "headline" in study.figures
    return headline(
        out,
        INDEX.parent,
        study.reference,
        study.claims,
        study.comparisons,
        quote=study.quote,
        figure="headline" if general else next(iter(study.drawings)),
    )


def parse(study: Study, command_line: Parser, words: list[str]) -> Namespace:
    """The command line's words; InputError in one line for those it does not take. A smoke run has defaults of its own."""
    yaml_validation.check_words(words)
    yaml_validation.check_files(words, LISTS)
    needed = [name for name, value in vars(command_line.get_defaults()).items() if value is not None]
    try:
        command_line.set_defaults(dict(study.defaults))
        given = command_line.parse_args(words)
        check_flags(given)
        if given.smoke:
            command_line.set_defaults(SMOKE | dict(study.smoke))
            given = command_line.parse_args(words)
    except (ArgumentError, OverflowError) as error:
        reason = yaml_validation.fault(words) or " ".join(str(error).split())
        near = misspelt(reason, options_of(command_line))
        raise InputError(f"{reason}{near} (--help shows what is allowed)") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the file of --config is not UTF-8 text ({error}): save it as such") from error
    for name in needed:
        if given[name] is None:  # which YAML can say of any option
            raise InputError(f"{name} null is not allowed: give a value, or leave it out")
    widths = [name for name in ("kind", "channels", "activation") if given[name] != command_line.get_default(name)]
    if widths and "stages" in study.defaults.get("stack", {}):
        raise InputError(
            f"--{widths[0]} has no effect here, where the stack is given stage by stage: use --stack '{{stages: [...]}}'"
        )
    for name in {"every", "until"} & set(plainly(given["evaluation"])):
        raise InputError(
            f"evaluation {name!r} is not allowed: leave it out, it follows from the budgets of a study's arms"
        )
    for part in MAPPINGS:  # what a user says of a part leaves the rest of the study's own as it is
        given[part] = {**study.defaults.get(part, {}), **plainly(given[part])}
    return given


def facts(base: RunSpec, splits: Splits) -> dict[str, Any]:
    """What a protocol may name: the numbers of this study, as they were used."""
    from stacked.evaluation.evaluate import PROBED
    from stacked.model.stack import empty_stack

    labelled, tuned = int((splits.train.labels >= 0).sum()), base.classification
    wide = empty_stack(base.stack, splits.image_shape).widest(splits.image_shape) > PROBED
    return {
        "averaged": f", codes of more than {PROBED:,} values averaged over neighbouring places" if wide else "",
        "valid": f"{len(splits.valid):,}",
        "probe_labels": f"{min(base.evaluation.probe_labels, labelled):,}",
        "probe_images": f"{min(base.evaluation.probe_images, labelled):,}",
        "updates": tuned.updates,
        "epochs": f"{tuned.epochs:g}",
        "lrs": " or ".join(f"{lr:g}" for lr in tuned.lrs),
        "checked": selection(base, splits),
        "lr": f"{base.optimisation.lr:g}",
        "end_lr": f"{base.optimisation.end_lr or base.optimisation.lr:g}",
        "weight_decay": f"{base.optimisation.weight_decay:g}",
        "schedule": base.optimisation.schedule,
        "optimiser": {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}[base.optimisation.optimiser],
        "batch": f"{base.optimisation.batch_size:,}",
        "train": f"{len(splits.train):,}",
    }


def selection(base: RunSpec, splits: Splits) -> str:
    """On how many labelled validation images classifiers are selected, for a protocol."""
    how, labelled = base.classification, int((splits.valid.labels >= 0).sum())
    most = min(how.images, labelled)
    if how.selection == "images":
        return f"{most:,} labelled validation images, also for small label budgets"
    return f"as many labelled validation images as there are training labels, at most {most:,}"


def summary(row: dict[str, Any]) -> str:
    """A run in a line."""
    if row["status"] != "finished":
        return str(row["status"])
    shown = [f"test MSE {row['final/recon_mse']:.5f}"]
    shown += [f"probe {100 * row['final/probe_acc']:.2f} %"] if "final/probe_acc" in row else []
    return ", ".join([*shown, f"{row['gflop']:.3g} GFLOP, {row['seconds']:.0f} s"])


def settings(study: Study, given: Options) -> Mapping[str, Mapping[str, Any]]:
    """The values that tuning chose, by arm: those of the folder for results, else the project's own.

    The latter were chosen for the study's own stack, budget and optimisation, and are left out where any of these differs.
    """
    from studies.framework import tuning
    from studies.report.trials import CHOICES

    found = tuning.chosen(given.out)
    for name, values in found.items():
        try:
            study.arm(name).with_values(values).spec(given.base)
        except InputError as error:
            need(
                name in study.arm_names and not study.arm(name).trains(given.base),
                f"{given.out / CHOICES} does not fit this study ({error}): restore it, or choose another --out",
            )
    if found or not study.chosen:
        return found
    own = options(study.name, parse(study, parser("", "", study.arm_names), [])).base
    alike = all(getattr(own, part) == getattr(given.base, part) for part in ("stack", "budget", "optimisation"))
    return study.chosen if alike else {}


def plan(study: Study, given: Options, splits: Splits) -> Iterator[Job]:
    """The jobs, seed by seed, so that an interrupted study has whole pairs."""
    from stacked.data.stream import Order
    from stacked.runtime.determinism import strict
    from studies.figures.style import arm_colours
    from studies.framework import record
    from studies.framework.compute_budget import budgets
    from studies.framework.threads import share

    threads = share(given.jobs)
    # of all arms, also those not asked for now: the grid must stay the same when they are added later
    values = settings(study, given)
    arms = {name: study.arm(name).with_values(values.get(name, {})) for name in [*study.arm_names, *given.arms]}
    arms = {name: arm for name, arm in arms.items() if name in given.arms or arm.trains(given.base)}
    equal = record.remembered_budgets(given.out)
    missing = [arm for name, arm in arms.items() if name not in equal]
    if missing:
        measure_of = study.arm(study.measure_of)
        with strict(given.device, given.deterministic):
            equal |= budgets(given.base, splits, missing, given.equal, measure_of, given.device, threads)
    record.remember_budgets(given.out, equal)
    specs = {}
    for name, arm in arms.items():
        spec = arm.spec(given.base)
        try:
            specs[name] = dataclasses.replace(spec, budget=equal[name])
        except InputError as error:
            raise InputError(
                f"{given.out / 'budgets.json'} does not fit arm {name!r} ({error}): restore it, or choose another --out"
            ) from error

    def updates(name: str) -> int:
        spec = specs[name]
        per_epoch = Order(len(splits.train), spec.optimisation.batch_size, 0).updates_per_epoch
        return sum(phase.updates for phase in spec.phases(per_epoch))

    longest = max(updates(name) for name in [name for name in study.arm_names if name in arms] or given.arms)
    every = max(1, longest // POINTS)
    evaluation = dataclasses.replace(given.base.evaluation, every=every, until=longest // every * every)
    colours = arm_colours([*arms, *POLICIES])
    for seed in given.seeds:
        for name in given.arms:
            yield Job(
                dataclasses.replace(specs[name], seed=seed, evaluation=evaluation),
                name,
                f"{study.name}-{given.configuration}",
                experiment_name(given.base),
                colours[name],
                given,
                threads,
                study.arm_names,
                splits.digest,
            )
