"""A forecast says exactly what can be counted, and what is measured as a run measures it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stacked import InputError, RunSpec, StackSpec, estimate_cost
from stacked.cost import roofline
from stacked.cost.fake_execution import Operation, encoding, update
from stacked.cost.phase_cost import phase_cost
from stacked.cost.roofline import H100, Machine, this_machine
from stacked.model.stack import StackedAutoencoder, build
from stacked.runs.run import run
from stacked.runtime.progress import duration
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.spec.growth import POLICIES, Phase, Updates
from stacked.stages import kinds
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from tests.helpers.counted import prefix_flops, training_bytes, update_flops
from tests.helpers.splits import toy_splits

SHAPE = (1, 12, 12)
HOW = Optimisation(batch_size=16, corruption_level=(0.2,), penalties={"l1": 0.1})


def cut(stack: StackedAutoencoder, phase: Phase) -> StackedAutoencoder:
    return StackedAutoencoder(stack.input_shape, list(stack.stages)[: phase.depth])


@pytest.mark.parametrize("policy", ["greedy", "greedy-pixels", "joint", "joint-local", "simultaneous", "supervised"])
@pytest.mark.parametrize("kind", list(kinds()))
def test_what_is_imitated_is_what_is_done(kind: str, policy: str) -> None:
    """FLOPs of updates to the last, bytes nearly: what kernels make for themselves differs."""
    shape = (1, 16, 16)
    spec = StackSpec.of(kind, 8, 8)
    stack = build(spec, shape).to(memory_format=torch.channels_last)  # as `grow` lays it out
    for phase in POLICIES[policy](2, Updates((1, 1), 1)):
        imitated = update(spec, shape, phase, HOW, 16, classes=4)
        real = cut(stack, phase)
        assert imitated.flop == update_flops(real, phase, HOW, 4, 16)
        assert imitated.peak_bytes == pytest.approx(training_bytes(real, phase, HOW, 16, 4), rel=0.2)


@pytest.mark.parametrize("kind", list(kinds()))
def test_encoding_is_counted_as_it_is_done(kind: str) -> None:
    spec = StackSpec.of(kind, 8, 8)
    stack = build(spec, (1, 16, 16)).to(memory_format=torch.channels_last)
    assert encoding(spec, (1, 16, 16), 2, 16).flop == 16 * prefix_flops(stack, 2)


@pytest.mark.parametrize("policy", ["greedy+finetune", "joint", "supervised+unfreeze", "random"])
def test_a_plan_is_what_a_run_reports(policy: str, tmp_path: Path) -> None:
    splits = toy_splits()
    spec = RunSpec(
        policy=policy,
        stack=StackSpec.of("conv", 4, 6),
        budget=Budget((2.0,), 3.0, "epochs"),
        optimisation=Optimisation(batch_size=32),
        evaluation=Evaluation(images=32, probe_images=32, probe_labels=32),
        classification=Classification(labels=(), updates=1, checks=1),
    )
    told = estimate_cost(spec, SHAPE, len(splits.train), classes=4)
    row = run(spec, splits, work=tmp_path).row
    assert told.updates == row["updates"]
    assert told.gflop == pytest.approx(row["gflop"], rel=1e-12)
    assert max((phase.peak_bytes for phase in told.phases), default=0) == pytest.approx(1e6 * row["peak_mb"], abs=64)
    assert max((phase.codes_bytes for phase in told.phases), default=0) == pytest.approx(1e6 * row["codes_mb"])
    assert told.disk_bytes >= sum(path.stat().st_size for path in tmp_path.iterdir())
    assert (told.seconds > 0) == (policy != "random")


def test_time_is_the_larger_of_two_bounds() -> None:
    machine = Machine("two bounds", gflops=1.0, gb_per_second=1.0, efficiency=0.5)
    bound_by_flops, bound_by_bytes = Operation("mm", 2 * 10**9, 8), Operation("add", 8, 3 * 10**9)
    assert machine.seconds([bound_by_flops]) == pytest.approx(4, rel=1e-4)
    assert machine.seconds([bound_by_flops, bound_by_bytes]) == pytest.approx(10, rel=1e-4)


def test_another_machine_and_millions_of_images_take_no_time_to_tell() -> None:
    spec = RunSpec(
        stack=StackSpec.of("conv", 32, 64, 128, 256, 512), policy="joint", budget=Budget(None, 1.0, "epochs")
    )
    told = estimate_cost(spec, (3, 224, 224), 1_300_000, machine=H100)
    assert told.machine == H100
    assert told.updates == 1_300_000 // 256
    faster = estimate_cost(
        spec, (3, 224, 224), 1_300_000, machine=replace(H100, gflops=2 * H100.gflops, gb_per_second=6700)
    )
    assert faster.seconds < 0.6 * told.seconds
    assert told.gflop == faster.gflop
    with pytest.raises(InputError, match="too small"):
        estimate_cost(spec, (3, 24, 24), 1000, machine=H100)


def test_this_machine_is_measured() -> None:
    machine = this_machine()
    assert machine.gflops > 1
    assert machine.gb_per_second > 0.1
    assert str(torch.get_num_threads()) in machine.name
    assert this_machine() is machine  # a dry run of many arms measures once


def test_a_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    assert main(STUDY, ["--smoke", "--dry-run", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{arm} " in said for arm in ("greedy", "greedy+finetune", "joint", "random"))
    assert "1 seed, 1 run at a time" in said
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == threads


def test_durations_are_told_as_people_do() -> None:
    assert [duration(s) for s in (0.04, 12, 600, 7200)] == ["0.0 s", "12 s", "10 min", "2.0 h"]


@pytest.mark.parametrize("policy", ["greedy+finetune", "supervised", "joint-local"])
def test_the_cost_of_a_phase_is_that_of_its_parts(policy: str) -> None:
    """Counted on real tensors: updates, codes kept or recomputed, and batches of recalibration."""
    how = replace(HOW, corruption="masking", corruption_level=(0.3,), batch_size=16)
    spec = RunSpec(policy=policy, stack=StackSpec.of("conv", 8, 8), optimisation=how)
    stack = build(spec.stack, (1, 16, 16)).to(memory_format=torch.channels_last)
    for updates in (2, 50):
        for phase in POLICIES[policy](2, Updates((updates,) * 2, updates)):
            cost, real = phase_cost(spec, (1, 16, 16), phase, 100, 4), cut(stack, phase)
            below = prefix_flops(real, phase.input_depth) if phase.input_depth else 0
            learning, kept = update_flops(real, phase, how, 4, 16), bool(phase.input_depth) and updates * 16 > 100
            assert cost.recalibrations == min(6, updates)
            each = 0 if kept else 16 * below
            assert cost.flops_per_update == learning + each
            assert cost.flops_once == (100 * below if kept else 0)
            assert 0 < cost.recalibration.flop < learning
            total = cost.flops_once + updates * (learning + each)
            assert cost.flops == total + cost.recalibrations * (cost.recalibration.flop + each)


@pytest.mark.parametrize("shape", [(6,), (8, 30), (1, 4, 5, 6)])
def test_data_of_other_ranks_have_a_forecast(shape: tuple[int, ...]) -> None:
    spec = RunSpec(stack=StackSpec.of("dense", 4, 3, output="linear"))
    forecast = estimate_cost(spec, shape, 200)
    assert forecast.gflop > 0
    assert forecast.seconds > 0


def test_a_forecast_measures_the_machine_in_a_fraction_of_a_benchmarks_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rates need to be right in proportion only, because the updates that it times correct them."""
    sizes = dict[str, tuple[int, int]]()

    def noted(name: str) -> Callable[[int, int], float]:
        def rate(size: int, times: int) -> float:
            sizes[name] = size, times
            return 1.0

        return rate

    monkeypatch.setattr(roofline, "product_rate", noted("product"))
    monkeypatch.setattr(roofline, "copy_rate", noted("copy"))
    roofline._this_machine.cache_clear()
    try:
        this_machine()
    finally:
        roofline._this_machine.cache_clear()
    (side, products), (count, copies) = sizes["product"], sizes["copy"]
    assert (products + 1) * side**3 < 0.3 * (roofline.TIMES + 1) * roofline.SIDE**3
    assert min(products, copies) > roofline.TIMES
    assert 4 * 2 * count >= 2**28  # both tensors together are larger than the caches of most processors
