"""A session of a study of training runs: runs what is not finished, in worker processes; each run writes its row."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.runtime.progress import Bar, say
from stacked.util.errors import InputError
from studies.design.study import Session
from studies.execution.pool import run_jobs
from studies.execution.threads import threads_per_process
from studies.framework import tuning
from studies.framework.plan import chosen_elsewhere, plan, tuned_settings
from studies.framework.small_data import fit_to_data, load_data
from studies.record import reference
from studies.record import runs as record
from studies.record.names import experiment_name
from studies.statistics.measures import budget_name, budgets
from studies.statistics.rows import check_curves
from studies.statistics.words import Words

if TYPE_CHECKING:
    from studies.cli.options import Options
    from studies.framework.training_design import TrainingDesign


class TrainingSession(Session):
    """Runs every arm with every seed; a failed run is repeated only with --retry-failed."""

    def __init__(self, study: TrainingDesign, given: Options) -> None:
        self.study, self.given, self.out = study, given, given.out
        self.started = time.perf_counter()
        self.n_runs = self.n_failed = 0

    def begin(self) -> int | None:
        """Load the data and check that every arm can be trained and recorded; return the exit code of --ui or --dry-run."""
        from stacked.evaluation.evaluate import varies
        from stacked.runs.run import check
        from stacked.runtime.determinism import strict
        from stacked.runtime.environment import device_of

        study, given = self.study, self.given
        if given.ui:
            from studies.viewing import ui

            return ui.show(study.name, given, study.prog)
        with strict(given.device, given.deterministic):  # CUDA starts here
            device_of(given.device)
        own = study.given([]).base.data
        given, self.splits = load_data(given, own)
        splits = self.splits
        self.given = given = fit_to_data(given, splits, own)
        for name in given.arms:
            check(study.arm(name).spec(given.base), splits)
        for name, split in (("validation", splits.valid), ("test", splits.test)):
            if not varies(split.inputs):
                count = f"{len(split):,} image{'s' * (len(split) > 1)}"
                say(
                    Words.of_splits(splits).said(
                        f"FVU is not defined on the {name} images, because they are all equal ({count}): its cells are blank"
                    )
                )
        if given.dry_run:
            from studies.framework import dry_run

            self.say_if_not_tuned()
            return dry_run.print_forecast(given, splits, lambda options: plan(study, options, splits))
        from stacked.tracking.tracker import open_store  # loads MLflow, which takes a second
        from studies.framework.disk_check import check_folders

        self.store = open_store(given.store)
        check_folders(given, self.store)
        if given.register:
            from stacked.tracking.backend.registry import Registry

            Registry(self.store, experiment_name(given.base)).check()
        return None

    def say_if_not_tuned(self) -> None:
        """Print a line if the arms have none of the values that tuning chose for the study."""
        if self.study.chosen and not tuned_settings(self.study, self.given):
            say("arms are not tuned for these settings: --tune N tunes them, with N trials for each arm")

    def prepare(self) -> None:
        """Write configuration.json, which holds what the runs of the folder share."""
        record.prepare(self.out, self.given.base, self.given.equal, self.splits.digest)

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Run the jobs that are missing; raise Interrupted if `stop` returns True."""
        from studies.framework.disk_check import check_free_space

        study, given, out = self.study, self.given, self.out
        with Bar("equal budgets", None):
            jobs = list(plan(study, given, self.splits))
        record.check_same_arms(out, {(job.arm, job.spec.seed): job.spec.id for job in jobs})
        record.check_other_seeds(out, {job.arm: job.spec for job in jobs})
        if given.resume:
            check_curves(out)
        done = record.finished(out) if given.resume else set()
        failed_before = record.failed(out) - done if given.resume and not given.retry_failed else set()
        todo = [job for job in jobs if job.spec.id not in done | failed_before]
        say(
            f"{study.title}: {len(jobs)} runs, {sum(job.spec.id in done for job in jobs)} finished already; results in {out}"
        )
        self.say_if_not_tuned()
        self.n_failed = sum(job.spec.id in failed_before for job in jobs)
        if self.n_failed:
            say(f"{self.n_failed} runs failed before and are not repeated: --retry-failed repeats them")
        check_free_space(given, self.store, todo, self.splits)
        self.n_runs = len(todo)
        yield
        ended = set[str]()
        for row in run_jobs(todo, given.jobs, self.splits, stop):
            ended.add(row["run"])
            self.n_failed += row["status"] != "finished"
            say(f"{row['arm']}/s{row['seed']}: {summary(row)}")
            yield
        record.check_recorded(out, ended)

    def report(self, command: str) -> bool:
        """Sort the rows, and write the references, the figures and the page."""
        from studies.report import write_report
        from studies.report.protocol import protocol

        study, out = self.study, self.out
        record.sort_rows(out, study.arm_names)
        reference.write_reference(out, self.splits, self.given.base, study.references)
        write_report(
            out,
            title=study.title,
            question=study.question,
            command=command,
            protocol=protocol(study.protocol, self.given.base, self.splits),
            reference=study.reference,
            claims=study.claims,
            comparisons=study.comparisons,
            quote=study.quote,
            drawings=study.drawings,
            figures=study.figures,
            chosen=chosen_elsewhere(study, self.given),
        )
        return True

    def section(self, root: Path) -> str:
        """Return this record's section for results/README.md, as Markdown. root: the folder of that file."""
        return section(self.study, self.out, root)

    def end(self) -> int:
        """Save views of the runs in MLflow, print where the results are, and register the best models if that is asked for.

        Returns 1 if a run failed or the models could not be registered, else 0.
        """
        from stacked.doctor import unsent
        from stacked.tracking.backend.store import OUTAGES, reason_of
        from studies.report.terminal import ending
        from studies.viewing import mlflow_page, ui

        study, given = self.study, self.given
        try:
            name = f"{study.name}-{given.configuration}"
            views = mlflow_page.save(name, given.base, self.out, self.store, command=study.prog)
        except OUTAGES as error:
            views = []
            say(
                f"MLflow could not save the report and the views ({reason_of(error)}): give the same command again when MLflow "
                "works"
            )
        seconds = time.perf_counter() - self.started
        print(f"\n{ending(self.out, self.store.root / 'work', study.reference, study.quote, study.claims)}")
        print(f"{self.n_runs} runs in {seconds:.0f} s. All tables and figures: {self.out / 'README.md'}")
        ui.print_addresses(views, self.store, given.port, given.host)
        try:
            is_incomplete = any(finding.repair for finding in unsent.find(self.store))
        except OUTAGES:
            is_incomplete = True
        if is_incomplete:
            where = "" if self.store.is_local else f"MLFLOW_TRACKING_URI={self.store.name} "
            say(
                f"MLflow lacks some results because it failed meanwhile: {where}python -m stacked.doctor --store {given.store} "
                "sends them"
            )
        is_registered = self.register(given.register) if given.register else True
        return 0 if is_registered and not self.n_failed else 1

    def register(self, name: str) -> bool:
        """Register the best models in MLflow under this name, print it in one line, and return whether that was possible."""
        from stacked.tracking.backend.store import OUTAGES, reason_of
        from studies.viewing.registering import register_best

        base, study = self.given.base, f"{self.study.name}-{self.given.configuration}"
        try:
            print(register_best(name, study, self.out, self.store, experiment_name(base)))
        except InputError as error:
            say(f"not registered: {error}")
        except OUTAGES as error:
            say(
                f"MLflow could not register {name!r} ({reason_of(error)}): give the same command again when MLflow works"
            )
        else:
            return True
        return False


class TuningSession(TrainingSession):
    """Tunes the arms instead: tries settings of each arm and writes the best ones for later runs in the same folder."""

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Run the trials that are missing, choose and print the best settings; raise Interrupted if `stop` returns True."""
        yield from tuning.tune(self.study, self.given, self.splits, threads_per_process(self.given.jobs), stop)

    def report(self, command: str) -> bool:
        """Write nothing, because there are no runs yet, and return False."""
        return False

    def end(self) -> int:
        """Return the exit code 0."""
        return 0


def section(study: TrainingDesign, out: Path, root: Path) -> str:
    """Return the section of the record in `out` for results/README.md, as Markdown. root: the folder of that file."""
    from studies.report import headline

    has_headline = study.figures is None or "headline" in study.figures
    return headline(
        out,
        root,
        study.reference,
        study.claims,
        study.comparisons,
        quote=study.quote,
        figure="headline" if has_headline else next(iter(study.drawings)),
    )


def summary(row: dict[str, Any]) -> str:
    """Return the results of a run as one line of text: of what it trained, and of its probe.

    A run that trained a classifier or regressor alone has no reconstruction error, because its decoder is not trained, and no
    FLOPs, which are those of training the stack.
    """
    if row["status"] != "finished":
        return str(row["status"])
    of_labels = [
        f"classifier {100 * row[f'final/classifier_acc_{labels}']:.2f} % ({budget_name(labels)} labels)"
        for labels in budgets(row)[-1:]
    ]
    of_labels += [
        f"R² {row[f'final/regressor_r2_{labels}']:.3f} ({budget_name(labels)} labels)"
        for labels in budgets(row, "regressor_r2")[-1:]
    ]
    is_stack = bool(row["updates"]) or not of_labels
    shown = [f"test MSE {row['final/recon_mse']:.5f}"] if is_stack else []
    shown += [f"probe {100 * row['final/probe_acc']:.2f} %"] if "final/probe_acc" in row else []
    costs = [f"{row['gflop']:.3g} GFLOP"] if is_stack else []
    return ", ".join([*shown, *of_labels, *costs, f"{row['seconds']:.0f} s"])
