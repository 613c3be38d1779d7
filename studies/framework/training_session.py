"""A session of a study of training runs: what is not finished yet is run in parallel, each run writing its row."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.runtime.progress import Bar, say
from studies.design.study import Session
from studies.framework import tuning
from studies.framework.plan import plan, settings
from studies.framework.threads import share
from studies.framework.workers import work
from studies.record import reference
from studies.record import runs as record

if TYPE_CHECKING:
    from studies.cli.options import Options
    from studies.framework.training_study import TrainingStudy


class TrainingSession(Session):
    """Runs every arm with every seed; a run that failed is not tried again unless the options say so."""

    def __init__(self, study: TrainingStudy, given: Options) -> None:
        self.study, self.given, self.out = study, given, given.out
        self.began = time.perf_counter()
        self.made = self.failed = 0

    def begin(self) -> int | None:
        """Load the data, and check that all arms can be trained on them and be written; the exit code of --ui or --dry-run."""
        from stacked.evaluation.evaluate import varies
        from stacked.runs.run import check, load
        from stacked.runtime.determinism import strict
        from stacked.runtime.environment import device_of

        study, given = self.study, self.given
        if given.ui:
            from studies.framework import ui

            return ui.show(study.name, given)
        with strict(given.device, given.deterministic):  # CUDA starts here
            device_of(given.device)
        self.splits = splits = load(given.base, given.data_dir, given.download)
        for name in given.arms:
            check(study.arm(name).spec(given.base), splits)
        for name, split in (("validation", splits.valid), ("test", splits.test)):
            if not varies(split.images):
                many = f"{len(split):,} image{'s' * (len(split) > 1)}"
                say(f"FVU is not defined on the {name} images, which do not differ ({many}): it is left blank")
        if given.dry_run:
            from studies.framework import dry_run

            return dry_run.show(given, splits, lambda options: plan(study, options, splits))
        from stacked.tracking.tracker import open_store  # loads MLflow, which takes a second
        from studies.framework.disk_check import check_places

        self.store = open_store(given.store)
        check_places(given, self.store)
        return None

    def prepare(self) -> None:
        """Note in the folder what its runs share."""
        record.prepare(self.out, self.given.base, self.given.equal, self.splits.digest)

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Make the runs that are missing; raises Interrupted when `stop` says so."""
        from studies.framework.disk_check import check_enough

        study, given, out = self.study, self.given, self.out
        with Bar("equal budgets", None):
            jobs = list(plan(study, given, self.splits))
        record.check_same_arms(out, {(job.arm, job.spec.seed): job.spec.id for job in jobs})
        done = record.finished(out) if given.resume else set()
        before = record.failed(out) - done if given.resume and not given.retry_failed else set()
        todo = [job for job in jobs if job.spec.id not in done | before]
        say(
            f"{study.title}: {len(jobs)} runs, {sum(job.spec.id in done for job in jobs)} finished already; results in {out}"
        )
        if study.chosen and not settings(study, given):
            say("arms are not tuned for these settings: --tune N does that, with N trials for each")
        self.failed = sum(job.spec.id in before for job in jobs)
        if self.failed:
            say(f"{self.failed} runs failed before and are left as they are: --retry-failed tries them again")
        check_enough(given, self.store, todo, self.splits)
        self.made = len(todo)
        yield
        for row in work(todo, given.jobs, self.splits, stop):
            self.failed += row["status"] != "finished"
            say(f"{row['arm']}/s{row['seed']}: {summary(row)}")
            yield

    def report(self, command: str) -> bool:
        """Put the rows in order, and write references, figures and page."""
        from studies.report import write_report
        from studies.report.protocol import facts

        study, out = self.study, self.out
        record.settle(out, study.arm_names)
        reference.write_reference(out, self.splits, self.given.base)
        write_report(
            out,
            title=study.title,
            question=study.question,
            command=command,
            protocol=study.protocol.format(**facts(self.given.base, self.splits)),
            reference=study.reference,
            claims=study.claims,
            comparisons=study.comparisons,
            quote=study.quote,
            drawings=study.drawings,
            figures=study.figures,
        )
        return True

    def block(self, root: Path) -> str:
        """What the index of records, which lies in `root`, says of this one."""
        return block(self.study, self.out, root)

    def end(self) -> int:
        """Save views of the runs in MLflow, and say where all is; returns 1 where runs failed."""
        from stacked.doctor import unsent
        from stacked.tracking.backend.store import OUTAGES, reason_of
        from studies.framework import mlflow_page, ui
        from studies.report.terminal import ending

        study, given = self.study, self.given
        try:
            views = mlflow_page.save(f"{study.name}-{given.configuration}", given.base, self.out, self.store)
        except OUTAGES as error:
            views = []
            say(f"MLflow has no report and no views of this ({reason_of(error)}): run the same again when it works")
        seconds = time.perf_counter() - self.began
        print(f"\n{ending(self.out, self.store.root / 'work', study.reference, study.quote, study.claims)}")
        print(f"{self.made} runs in {seconds:.0f} s. All tables and figures: {self.out / 'README.md'}")
        ui.tell(views, self.store, given.port, given.host)
        try:
            lacks = any(finding.repair for finding in unsent.find(self.store))
        except OUTAGES:
            lacks = True
        if lacks:
            say(f"MLflow lacks some of this, since it failed: python -m stacked.doctor --store {given.store} sends it")
        return 1 if self.failed else 0


class TuningSession(TrainingSession):
    """Tries settings of every arm instead, and keeps the best for later runs in the same folder."""

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Make the trials that are missing, choose, and print what was chosen; raises Interrupted when `stop` says so."""
        yield from tuning.tune(self.study, self.given, self.splits, share(self.given.jobs), stop)

    def report(self, command: str) -> bool:
        """Nothing: there are no runs yet."""
        return False

    def end(self) -> int:
        """Nothing more is told."""
        return 0


def block(study: TrainingStudy, out: Path, root: Path) -> str:
    """What the index of records, which lies in `root`, says of the record of `study` in `out`."""
    from studies.report import headline

    general = study.figures is None or "headline" in study.figures
    return headline(
        out,
        root,
        study.reference,
        study.claims,
        study.comparisons,
        quote=study.quote,
        figure="headline" if general else next(iter(study.drawings)),
    )


def summary(row: dict[str, Any]) -> str:
    """A run in a line."""
    if row["status"] != "finished":
        return str(row["status"])
    shown = [f"test MSE {row['final/recon_mse']:.5f}"]
    shown += [f"probe {100 * row['final/probe_acc']:.2f} %"] if "final/probe_acc" in row else []
    return ", ".join([*shown, f"{row['gflop']:.3g} GFLOP, {row['seconds']:.0f} s"])
