"""What a study plans of its options, and that a worker does what was planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import studies.framework.compute_budget
import studies.record.runs
import studies.report
import studies.viewing.mlflow_page
import studies.viewing.ui
from stacked import InputError
from stacked.runs import run as running
from stacked.runtime.determinism import is_strict
from stacked.tracking import tracker
from stacked.tracking.backend.store import Store
from stacked.tracking.null_tracker import NullTracker
from studies.cli.options import Options
from studies.execution import job as working
from studies.execution.job import Job
from studies.framework import training_session
from studies.framework.main import run_session
from studies.framework.plan import plan
from studies.framework.training_session import TrainingSession
from studies.pretraining.layerwise import STUDY
from studies.report import terminal
from tests.helpers.options import given
from tests.helpers.splits import toy_splits


@pytest.fixture
def tiny(tmp_path: Path) -> Options:
    words = f"--channels 4 --batch-size 32 --labels 16 --seeds 2 --jobs 1 --out {tmp_path} --store {tmp_path}"
    return given(f"{words} --codes recompute --data-dir there")


def test_every_arm_has_every_seed_on_one_grid(tiny: Options) -> None:
    jobs = list(plan(STUDY, tiny, toy_splits()))
    assert [(job.spec.seed, job.arm) for job in jobs] == [(seed, arm) for seed in (0, 1) for arm in STUDY.arm_names]
    assert all(job.spec.policy == job.arm for job in jobs)
    assert len({job.spec.evaluation for job in jobs}) == 1
    base = {
        replace(j.spec, seed=0, policy="joint", budget=tiny.base.budget, evaluation=tiny.base.evaluation) for j in jobs
    }
    assert base == {tiny.base}


@pytest.mark.parametrize("asked", [False, True])
def test_budgets_are_measured_as_runs_are_trained(asked: bool, tiny: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    measured, budgets = [], studies.framework.compute_budget.budgets

    def noted(*words: Any) -> Any:
        measured.append(is_strict())
        return budgets(*words)

    monkeypatch.setattr(studies.framework.compute_budget, "budgets", noted)
    jobs = list(plan(STUDY, replace(tiny, deterministic=asked), toy_splits()))
    assert measured == [asked]
    assert not is_strict()
    assert {job.given.deterministic for job in jobs} == {asked}


def test_arms_that_cannot_train_do_not_keep_others_from_it(tmp_path: Path) -> None:
    """Cross-entropy of rectified codes; the grid is that of the arms that can."""
    words = f"--channels 4 6 --loss bce --batch-size 32 --labels 16 --seeds 1 --out {tmp_path} --store {tmp_path}"
    jobs = list(plan(STUDY, given(f"{words} --arms joint random"), toy_splits()))
    assert [job.arm for job in jobs] == ["joint", "random"]
    spec = jobs[0].spec
    longest = spec.phases(8)[0].updates
    assert spec.evaluation.until == longest // spec.evaluation.every * spec.evaluation.every
    with pytest.raises(InputError, match="loss 'bce' cannot be used in phase 'stage 2'"):
        list(plan(STUDY, given(f"{words} --arms joint greedy"), toy_splits()))


def test_a_worker_runs_what_was_asked_for(tiny: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Any, Any, dict[str, Any]]] = []
    aside: list[Path] = []

    def noted(spec: Any, splits: Any, **more: Any) -> Any:
        ran.append((spec, splits, more | {"strict": is_strict(), "threads": torch.get_num_threads()}))
        return SimpleNamespace(row={"run": spec.id}, curve=[], samples={})

    def never() -> bool:
        return False

    kept: list[Any] = []
    monkeypatch.setattr(studies.record.runs, "add", lambda *words: kept.append(words))
    monkeypatch.setattr(running, "run", noted)
    monkeypatch.setattr(tracker, "open_store", lambda path, must_answer: SimpleNamespace(root=path))
    monkeypatch.setattr(tracker, "Tracker", lambda *_, **__: NullTracker())
    monkeypatch.setattr(tracker, "set_aside", lambda store, folder: aside.append(folder))
    theirs = toy_splits()
    job = list(plan(STUDY, tiny, theirs))[5]
    for resume in (True, False):
        given = replace(tiny, device="meta", resume=resume, deterministic=not resume)
        before = torch.get_num_threads()
        wanted = replace(job, given=given, threads=before + 1)
        assert working.run_job(wanted, theirs, never) == {"run": job.spec.id}
        assert kept.pop() == (tiny.out, {"run": job.spec.id}, [], {}, STUDY.arm_names)
        spec, splits, more = ran.pop()
        assert spec == job.spec
        assert splits is theirs
        assert more["stop"] is never
        assert more["strict"] == (not resume)
        assert more["threads"] == before + 1
        assert torch.get_num_threads() == before
        asked = {name: more[name] for name in ("arm", "device", "codes", "work")}
        work = tmp_path / "work" / spec.id
        assert asked == {"arm": "greedy+finetune", "device": "meta", "codes": "recompute", "work": work}
        assert aside == ([] if resume else [work])


def test_processes_share_the_threads_that_torch_may_use(tiny: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    for jobs, threads in ((1, 5), (2, 2), (8, 1)):
        assert {job.threads for job in plan(STUDY, replace(tiny, jobs=jobs), toy_splits())} == {threads}


def test_finished_runs_are_left_unless_no_resume_says_otherwise(
    tiny: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, todo, asked = toy_splits(), [], []
    studies.record.runs.prepare(tiny.out, tiny.base, tiny.equal, splits.digest)
    jobs = list(plan(STUDY, tiny, splits))

    def loading(*words: Any) -> Any:
        asked.append(words)
        return splits

    def working(wanted: list[Job], processes: int, given: Any, stop: Any) -> Any:
        assert given is splits
        todo.append((wanted, processes))
        return iter(())

    monkeypatch.setattr(running, "load", loading)
    monkeypatch.setattr(training_session, "run_jobs", working)
    monkeypatch.setattr(tracker, "open_store", lambda path: Store("http://nowhere", path))
    monkeypatch.setattr(studies.record.runs, "finished", lambda out: {job.spec.id for job in jobs[:3]})
    monkeypatch.setattr(studies.report, "write_report", lambda *_, **__: None)
    monkeypatch.setattr(terminal, "ending", lambda *_: "")
    monkeypatch.setattr(studies.viewing.mlflow_page, "save", lambda *_, **__: {})
    monkeypatch.setattr(studies.viewing.ui, "print_addresses", lambda *_, **__: None)
    for resume, download, left in ((True, False, jobs[3:]), (False, True, jobs)):
        wanted = replace(tiny, resume=resume, download=download)
        assert run_session(TrainingSession(STUDY, wanted), "command") == 0
        assert [job.spec for job in todo[-1][0]] == [job.spec for job in left]
        assert todo[-1][1] == 1
        assert asked[-1] == (tiny.base, "there", download, None)
