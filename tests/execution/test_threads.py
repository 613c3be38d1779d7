"""Runs compute with their share of the threads, and leave those of the process as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from threadpoolctl import threadpool_info

from stacked.spec import Budget, RunSpec, StackSpec
from studies.design.arms import Arm
from studies.execution.threads import thread_limit
from studies.framework import compute_budget
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from tests.helpers.splits import toy_splits


def now() -> tuple[int, set[int]]:
    """Threads of torch, and those of every BLAS."""
    return torch.get_num_threads(), {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_torch_and_blas_are_limited_and_given_back_also_after_a_fault() -> None:
    before = now()
    with thread_limit(before[0] + 1):
        assert now()[0] == before[0] + 1
    assert now() == before
    with thread_limit(2):
        inside = now()
        assert inside[1] == {2}
        with thread_limit(1):
            assert now() == (1, {1})
        with pytest.raises(ZeroDivisionError), thread_limit(1):
            1 / 0  # noqa: B018
        assert now() == inside
    assert now() == before


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of threads that contexts are entered with."""
    numbers = []

    @contextmanager
    def noted(count: int) -> Iterator[None]:
        numbers.append(count)
        with thread_limit(count):
            yield

    monkeypatch.setattr(compute_budget, "thread_limit", noted)
    monkeypatch.setattr("studies.execution.threads.thread_limit", noted)
    return numbers


@pytest.mark.slow
def test_seconds_are_measured_with_the_threads_of_a_run(asked: list[int]) -> None:
    base = RunSpec(stack=StackSpec.of("dense", 4), budget=Budget((2,), 2, "updates"))
    compute_budget.budgets(base, toy_splits(), (Arm("joint"),), "seconds", Arm("greedy"), threads=2)
    assert asked
    assert set(asked) == {2}


@pytest.mark.slow
def test_a_dry_run_foretells_with_the_threads_of_a_run(asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    before = now()
    with monkeypatch.context() as pretended:
        pretended.setattr(torch, "get_num_threads", lambda: 6)
        assert main(STUDY, ["--smoke", "--dry-run", "--jobs", "3"]) == 0
    torch.set_num_threads(before[0])  # contexts have given back the six of above
    assert asked == [2]
    assert now() == before
