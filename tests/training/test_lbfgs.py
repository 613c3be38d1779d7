"""L-BFGS: against torch's own, to exact linear targets, resumed to the bit, and counted by its evaluations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stacked import Budget, RunSpec, StackSpec
from stacked.components.corruption import masking
from stacked.components.lbfgs import most_evaluations, vectors
from stacked.cost.forecast import estimate_cost
from stacked.cost.phase_cost import phase_cost
from stacked.cost.roofline import H100
from stacked.data.order import Order
from stacked.model.batch_norm import norms
from stacked.model.stack import build
from stacked.runs.run import run
from stacked.runtime.rng import generator, seeded
from stacked.spec import Classification, Evaluation, Optimisation
from stacked.spec.growth import Phase
from stacked.training.codes import StoredInputs
from stacked.training.fit import Training
from stacked.training.phase_loss import PhaseLoss
from stacked.util.errors import Interrupted
from tests.helpers.phases import IMAGES, stack_of
from tests.helpers.runs import same_weights
from tests.helpers.splits import toy_splits

SPLITS = toy_splits()
HOW = Optimisation("lbfgs", lr=1.0, batch_size=64, lbfgs_iterations=5, corruption_level=0.2)
SPEC = RunSpec(
    "greedy+finetune",
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget((5,), 4, "updates"),
    optimisation=HOW,
    evaluation=Evaluation(every=3, images=20, probe_images=20, probe_labels=20),
    classification=Classification(labels=()),
)


def training(stack: Any, phase: Phase, how: Optimisation = HOW, **more: Any) -> Training:
    order = Order(len(IMAGES), how.batch_size, 0)
    return Training(stack, phase, StoredInputs(IMAGES), how, order=order, seed=0, **more)


def test_an_update_is_that_of_torch_on_one_batch_with_one_corruption() -> None:
    ours, plain = stack_of(9, 6), stack_of(9, 6)
    done = training(ours, Phase("joint", (1, 2), 0, 4))
    list(done.train())
    order, evaluations = Order(len(IMAGES), 64, 0), 0
    for update in range(4):
        optimiser = torch.optim.LBFGS(plain.parameters(), 1.0, max_iter=5, max_eval=11, line_search_fn="strong_wolfe")
        clean = StoredInputs(IMAGES)(order.batch(update))
        seen = masking(clean, 0.2, generator(0, "corruption", update)).x

        def closure(optimiser: Any = optimiser, clean: Tensor = clean, seen: Tensor = seen) -> Tensor:
            nonlocal evaluations
            evaluations += 1
            optimiser.zero_grad()
            loss = F.mse_loss(plain(seen), clean)
            loss.backward()
            return loss

        optimiser.step(closure)
    assert same_weights(ours, plain)
    assert done.further_evaluations == evaluations - 4 > 4


def test_full_batches_reach_the_optimum_of_a_linear_stage(linear_data: tuple[Tensor, dict[int, float]]) -> None:
    """Of PCA (Bourlard & Kamp 1988), in one update of many iterations."""
    x, pca = linear_data
    with seeded(0, "init"):
        stack = build(StackSpec.of("dense", 6, activation="linear", output="linear"), (12,)).double()
    how = replace(HOW, corruption_level=0.0, lbfgs_iterations=3000, batch_size=len(x))
    order = Order(len(x), len(x), 0)
    list(Training(stack, Phase("stage 1", (1, 1), 0, 2), StoredInputs(x), how, order=order, seed=0).train())
    assert (stack(x) - x).square().sum(1).mean().item() == pytest.approx(12 * pca[6], abs=1e-5)


def test_running_statistics_count_every_batch_once_and_maps_may_lie_channels_last() -> None:
    stack = stack_of(4, 6, kind="conv").to(memory_format=torch.channels_last)
    plain = stack_of(4, 6, kind="conv").to(memory_format=torch.channels_last)
    phase, how = Phase("joint", (1, 2), 0, 1), replace(HOW, corruption_level=0.0)
    done = training(stack, phase, how)
    list(done.train())
    assert done.further_evaluations > 0
    PhaseLoss(plain.train(), phase, how)(StoredInputs(IMAGES)(Order(len(IMAGES), 64, 0).batch(0)), None, 0)
    for mine, theirs in zip(norms(stack), norms(plain), strict=True):
        assert mine.num_batches_tracked == 1
        assert torch.equal(mine.running_mean, theirs.running_mean)  # type: ignore[arg-type]


def test_it_lowers_the_loss_and_reports_the_gradient_of_the_batch() -> None:
    stack, plain = stack_of(9, 6), stack_of(9, 6)
    points = list(training(stack, Phase("joint", (1, 2), 0, 8), every=1).train())
    assert points[-1].loss < 0.5 * points[0].loss
    loss = PhaseLoss(plain, Phase("joint", (1, 2), 0, 8), HOW)(
        StoredInputs(IMAGES)(Order(len(IMAGES), 64, 0).batch(0)), None, 0
    )
    loss.backward()
    grads = [p.grad for p in plain.parameters() if p.grad is not None]
    assert points[0].loss == pytest.approx(loss.item())
    assert points[0].grad_norm == pytest.approx(torch.nn.utils.get_total_norm(grads).item())


@pytest.mark.parametrize("on_nonfinite", ["stop", "rollback"])
def test_a_run_resumes_to_the_bit(on_nonfinite: str, tmp_path: Path) -> None:
    spec = replace(SPEC, optimisation=replace(HOW, on_nonfinite=on_nonfinite))
    whole = run(spec, SPLITS)
    for stop_at in (2, 7, 12):
        seen: list[int] = []

        def stop(seen: list[int] = seen, at: int = stop_at) -> bool:
            seen.append(1)
            return len(seen) == at

        work = tmp_path / str(stop_at)
        with pytest.raises(Interrupted):
            run(spec, SPLITS, work=work, checkpoint_every=1, stop=stop)
        again = run(spec, SPLITS, work=work)
        assert same_weights(again.stack, whole.stack)
        assert again.row["gflop"] == whole.row["gflop"]


def test_flops_are_those_of_the_evaluations_that_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known before is the most that an update can have."""
    calls: list[str] = []
    loss = PhaseLoss.loss

    def counted(self: PhaseLoss, *words: Any) -> Tensor:
        calls.append(self.phase.name)
        return loss(self, *words)

    monkeypatch.setattr(PhaseLoss, "loss", counted)
    spec = replace(SPEC, stack=StackSpec.of("dense", 9, 6))
    result = run(spec, SPLITS)
    phases = spec.phases()
    costs = {phase.name: phase_cost(spec, SPLITS.input_shape, phase, len(SPLITS.train)) for phase in phases}
    counts = {phase.name: calls.count(phase.name) for phase in phases}
    made = sum(counts[name] * cost.update.flop + cost.flops_once for name, cost in costs.items())
    assert result.row["gflop"] * 1e9 == pytest.approx(made, rel=1e-12)
    limit = estimate_cost(spec, SPLITS.input_shape, len(SPLITS.train), machine=H100).gflop
    assert result.row["gflop"] < limit
    assert all(cost.evaluations == most_evaluations(5) == 11 for cost in costs.values())


def test_memory_counts_the_history() -> None:
    phase = SPEC.phases()[0]
    few, many, none = (
        phase_cost(replace(SPEC, optimisation=how), (1, 12, 12), phase, 256).peak_bytes
        for how in (HOW, replace(HOW, lbfgs_iterations=50), replace(HOW, optimiser="sgd", momentum=0.0))
    )
    weights = sum(p.numel() for p in build(replace(SPEC.stack, stages=SPEC.stack.stages[:1]), (1, 12, 12)).parameters())
    assert many - few == 4 * weights * (vectors(50) - vectors(5))
    assert few - none == 4 * weights * vectors(5)
