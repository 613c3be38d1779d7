"""The command line: what each word means, and that it reaches the runs."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import toy_splits

import studies.record
import studies.report
import studies.ui
from stacked import run as running
from stacked import tracking
from stacked.untracked import Untracked
from studies import study
from studies.layerwise import STUDY
from studies.options import Options, options, parser

MEANINGS: list[tuple[str, str, Any]] = [
    ("--data digits", "base.data.name", "digits"),
    ("--limit 700", "base.data.limit", 700),
    ("--image-size 64", "base.data.image_size", 64),
    ("--grey", "base.data.grey", True),
    ("--data-dir there", "data_dir", "there"),
    ("--download", "download", True),
    ("--corruption gaussian --level 0.2", "base.optimisation.corruption", "gaussian"),
    ("--level 0.2", "base.optimisation.corruption_level", (0.2,)),
    ("--level 0.1 0.2 0.3 0.4", "base.optimisation.corruption_level", (0.1, 0.2, 0.3, 0.4)),
    ("--loss bce mse mse mse", "base.optimisation.loss", ("bce", "mse", "mse", "mse")),
    ("--optimiser sgd", "base.optimisation.optimiser", "sgd"),
    ("--lr 0.3", "base.optimisation.lr", 0.3),
    ("--schedule onecycle", "base.optimisation.schedule", "onecycle"),
    ("--warmup 7", "base.optimisation.warmup", 7),
    ("--clip 0.5", "base.optimisation.clip", 0.5),
    ("--batch-size 33", "base.optimisation.batch_size", 33),
    ("--patience 3", "base.optimisation.patience", 3),
    ("--epochs 2 3 4 5", "base.budget.stages", (2, 3, 4, 5)),
    ("--finetune 6", "base.budget.end_to_end", 6),
    ("--unit updates", "base.budget.unit", "updates"),
    ("--labels 50 all", "base.classification.labels", (50, None)),
    ("--arms joint random", "arms", ("joint", "random")),
    ("--seeds 2", "seeds", (0, 1)),
    ("--equal updates", "equal", "updates"),
    ("--device meta", "device", "meta"),
    ("--jobs 3", "jobs", 3),
    ("--codes recompute", "codes", "recompute"),
    ("--out here", "out", Path("here")),
    ("--store kept", "store", Path("kept")),
    ("--no_resume", "resume", False),
    ("--ui", "ui", True),
    ("--port 7000", "port", 7000),
]


def given(words: str = "") -> Options:
    return options("layerwise", parser("p", "q", STUDY.arms).parse_args(words.split()))


@pytest.mark.parametrize(("words", "field", "value"), MEANINGS, ids=[words for words, _, _ in MEANINGS])
def test_words_mean_what_they_say(words: str, field: str, value: Any) -> None:
    assert attrgetter(field)(given(words)) == value
    assert attrgetter(field)(given()) != value


def test_words_change_nothing_else() -> None:
    plain = given()
    for words, field, _ in MEANINGS:
        found, top = given(words), field.split(".")[0]
        if top != "base":
            assert replace(found, **{top: getattr(plain, top), "out": plain.out}) == plain, words


@pytest.fixture
def tiny(tmp_path: Path) -> Options:
    words = f"--channels 4 --batch-size 32 --labels 16 --seeds 2 --jobs 1 --out {tmp_path} --store {tmp_path}"
    return given(f"{words} --codes recompute --data-dir there")


def test_every_arm_has_every_seed_on_one_grid(tiny: Options) -> None:
    jobs = list(study.plan(STUDY, tiny, toy_splits()))
    assert [(job.spec.seed, job.arm) for job in jobs] == [(seed, arm) for seed in (0, 1) for arm in STUDY.arms]
    assert all(job.spec.policy == job.arm for job in jobs)
    assert len({job.spec.evaluation for job in jobs}) == 1
    base = {
        replace(j.spec, seed=0, policy="joint", budget=tiny.base.budget, evaluation=tiny.base.evaluation) for j in jobs
    }
    assert base == {tiny.base}


def test_a_worker_runs_what_was_asked_for(tiny: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Any, Any, dict[str, Any]]] = []
    aside: list[Path] = []

    def noted(spec: Any, splits: Any, **more: Any) -> Any:
        ran.append((spec, splits, more))
        return SimpleNamespace(row={}, curve=[], samples={})

    monkeypatch.setattr(running, "run", noted)
    monkeypatch.setattr(tracking, "open_store", lambda path: SimpleNamespace(root=path))
    monkeypatch.setattr(tracking, "Tracker", lambda *_, **__: Untracked())
    monkeypatch.setattr(tracking, "set_aside", lambda store, experiment, folder: aside.append(folder))
    monkeypatch.setattr(study, "cached_splits", lambda base, data_dir: (base, data_dir))
    job = list(study.plan(STUDY, tiny, toy_splits()))[5]
    for resume in (True, False):
        assert study.work_one(replace(job, given=replace(tiny, device="meta", resume=resume))) == ({}, [], {})
        spec, splits, more = ran.pop()
        assert spec == job.spec
        assert splits == (tiny.base, "there")
        asked = {name: more[name] for name in ("arm", "device", "codes", "work")}
        work = tmp_path / "work" / spec.id
        assert asked == {"arm": "greedy+finetune", "device": "meta", "codes": "recompute", "work": work}
        assert aside == ([] if resume else [work])


def test_finished_runs_are_left_unless_no_resume_says_otherwise(
    tiny: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, todo, asked = toy_splits(), [], []
    jobs = list(study.plan(STUDY, tiny, splits))

    def loading(*words: Any) -> Any:
        asked.append(words)
        return splits

    def working(wanted: list[study.Job], processes: int) -> Any:
        todo.append((wanted, processes))
        return iter(())

    monkeypatch.setattr(running, "load", loading)
    monkeypatch.setattr(study, "work", working)
    monkeypatch.setattr(tracking, "open_store", lambda path: SimpleNamespace(root=path))
    monkeypatch.setattr(studies.record, "finished", lambda out: {job.spec.id for job in jobs[:3]})
    monkeypatch.setattr(studies.report, "write_report", lambda *_, **__: None)
    monkeypatch.setattr(studies.ui, "save", lambda *_, **__: {})
    monkeypatch.setattr(studies.ui, "tell", lambda *_, **__: None)
    for resume, download, left in ((True, False, jobs[3:]), (False, True, jobs)):
        wanted = replace(tiny, resume=resume, download=download)
        assert study.conduct(STUDY, wanted, "command") == 0
        assert [job.spec for job in todo[-1][0]] == [job.spec for job in left]
        assert todo[-1][1] == 1
        assert asked[-1] == (tiny.base, "there", download)
