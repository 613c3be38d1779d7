"""The training loop: against plain PyTorch, against exact linear targets, and against the faults of others."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from stacked import StackedAutoencoder, StackSpec
from stacked.components.corruption import masking
from stacked.data.order import Order
from stacked.model.stack import build
from stacked.runtime.rng import generator, seeded
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.code_cache import choose_cache
from stacked.training.codes import InMemory, Recomputed, StoredInputs, inputs
from stacked.training.fit import Training, fit
from stacked.util.errors import Diverged, InputError
from tests.helpers.counted import prefix_flops, update_flops
from tests.helpers.phases import IMAGES, TOY, stack_of


def train(stack: StackedAutoencoder, phase: Phase, how: Optimisation, **more: object) -> list:
    order = Order(len(IMAGES), how.batch_size, 0)
    reads = inputs(
        stack.learn_only(*phase.trainable).eval(), phase.input_depth, StoredInputs(IMAGES), "recompute", order.size
    )
    return list(fit(stack, phase, reads, how, order=order, seed=0, **more))  # type: ignore[arg-type]


HOW = Optimisation(batch_size=32, lr=1e-2)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "sgd, nesterov"])
def test_equals_a_plain_loop_bit_for_bit(name: str) -> None:
    """Stage 2 of a stack, masked: the input is corrupted, the target is clean, nothing is rescaled."""
    name, _, nesterov = name.partition(", ")
    how = replace(HOW, optimiser=name, corruption_level=(0.3,), schedule="cosine", clip=0.1, weight_decay=0.01)
    how = replace(how, nesterov=bool(nesterov))
    how = replace(how, recalibrate=False)
    ours, plain = stack_of(4, 6, kind="conv"), stack_of(4, 6, kind="conv")
    train(ours, Phase("stage 2", (2, 2), 1, 20), how, done=7)

    stage, first = plain.stages[1], plain.stages[0].eval()
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    more: dict[str, Any] = {"momentum": 0.9, "nesterov": bool(nesterov)} if name == "sgd" else {}
    optimiser = kinds[name](stage.parameters(), lr=1e-2, weight_decay=0.01, fused=True, **more)
    for update in range(20):
        permutation = torch.randperm(256, generator=generator(0, "order", (7 + update) // 8))
        index = permutation[(7 + update) % 8 * 32 :][:32]
        with torch.no_grad():
            clean = first.encoder(IMAGES[index].float() / 255)
        seen = masking(clean, 0.3, generator(0, "corruption", 7 + update)).x
        loss = F.mse_loss(stage.decoder(stage.encoder(seen)), clean)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.parameters(), 0.1)
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * update / 20))
        optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), plain.state_dict().values(), strict=True))


def test_trains_the_stage_that_is_used_and_leaves_the_frozen_ones() -> None:
    stack = stack_of(4, 6, 8, kind="conv")
    stage, before = stack.stages[1], copy.deepcopy(stack.state_dict())
    train(stack, Phase("stage 2", (2, 2), 1, 5), HOW)
    assert stack.stages[1] is stage
    x = torch.rand(3, 1, 12, 12)
    stack.eval()
    with torch.no_grad():
        assert torch.equal(stack.encode(x, 2), stage.encode(stack.encode(x, 1)))
        assert torch.equal(stack.decode(stack.encode(x, 2), 2, stop=1), stage(stack.encode(x, 1)))
    for name, value in stack.state_dict().items():
        changed = not torch.equal(before[name], value)
        assert changed == name.startswith("stages.1."), name


def test_every_stage_is_corrupted_the_last_too() -> None:
    """A peer leaves its last stage uncorrupted."""
    for reads in (0, 1):
        runs = []
        for level in (0.0, 0.5):
            stack = stack_of(4, 6, kind="conv")
            train(stack, Phase("p", (reads + 1, reads + 1), reads, 3), replace(HOW, corruption_level=(level,)))
            runs.append(stack.state_dict()[f"stages.{reads}.encoder.0.weight"])
        assert not torch.equal(*runs)


def test_levels_and_losses_go_by_depth() -> None:
    how = Optimisation(corruption_level=(0.1, 0.2), loss=("bce", "mse"))
    assert [how.levels_at(0), how.levels_at(1)] == [(0.1,), (0.2,)]
    assert [how.loss_at(0), how.loss_at(1)] == ["bce", "mse"]


def test_kept_codes_equal_recomputed_ones_bit_for_bit() -> None:
    """Also in training, also when the number of images is no multiple of the batch."""
    results = []
    for mode in ("recompute", "memory"):
        for kind, widths in (("conv", (4, 6)), ("dense", (30, 20))):
            stack = stack_of(*widths, kind=kind)
            stack.learn_only(2, 2).eval()
            images = StoredInputs(IMAGES[:250])
            order = Order(250, 32, 0)
            reads = inputs(stack, 1, images, mode, order.size)
            assert isinstance(reads, InMemory if mode == "memory" else Recomputed)
            how = replace(HOW, corruption_level=(0.2,))
            list(fit(stack, Phase("stage 2", (2, 2), 1, 30), reads, how, order=order, seed=0))
            results.append(list(stack.state_dict().values()))
    for a, b in zip(results[:2], results[2:], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_codes_are_kept_when_that_pays_and_fits() -> None:
    assert choose_cache(1, 50, 100, 3, 10).mode == "recompute"  # 30 uses of 100 images
    kept = choose_cache(1, 50, 100, 30, 10)
    assert (kept.mode, kept.bytes) == ("memory", 4 * 50 * 100)
    asked = choose_cache(1, 50, 100, 30, 10, "recompute")
    assert (asked.mode, asked.why, asked.bytes) == ("recompute", "as requested", 0)
    assert "free" in choose_cache(1, 50, 100, 30, 10, free=1000).why
    assert choose_cache(1, 2**24, 100, 30, 10).mode == "recompute"
    assert choose_cache(0, 1, 100, 30, 10).mode == "images"
    with pytest.raises(InputError, match="codes at depth 1 need"):
        choose_cache(1, 50, 100, 30, 10, "memory", free=1000)
    with pytest.raises(InputError, match=r"codes 'disk' is not known: choose from auto, memory, recompute$"):
        choose_cache(1, 50, 100, 30, 10, "disk")


def test_flops_are_those_counted_by_hand() -> None:
    stack = stack_of(4, 6, kind="conv")
    encode = 2 * 4 * 36 * 9, 2 * 6 * 4 * 9 * 9
    assert prefix_flops(stack, 1) == encode[0]
    assert prefix_flops(stack, 2) == sum(encode)
    # decoder as encoder; backward twice the forward, but for the gradient of the stage's input, which nobody needs
    assert update_flops(stack, Phase("s", (2, 2), 1, 1), HOW) == 6 * encode[1] - encode[1]
    joint = update_flops(stack, Phase("j", (1, 2), 0, 1), HOW)
    assert joint == 6 * sum(encode) - encode[0]


def test_the_order_is_a_permutation_resumable_anywhere() -> None:
    order = Order(100, 32, seed=3)
    epoch = torch.cat([order.batch(u) for u in range(3)])
    assert len(epoch.unique()) == 96
    assert order.updates_per_epoch == 3
    assert {len(order.batch(u)) for u in range(9)} == {32}  # also the last of an epoch
    assert torch.equal(Order(100, 32, seed=3).batch(7), order.batch(7))
    assert not torch.equal(order.batch(0), order.batch(3))
    assert not torch.equal(order.batch(0), Order(100, 32, seed=4).batch(0))
    assert Order(5, 32, seed=0).batch(9).sort().values.tolist() == [0, 1, 2, 3, 4]


def test_points_stand_on_the_run_grid_and_losses_are_window_means() -> None:
    stack, losses = stack_of(4, kind="conv"), []
    points = train(stack, Phase("stage 1", (1, 1), 0, 23), HOW, done=5, every=10)
    assert [point.update for point in points] == [5, 15, 23]
    again = stack_of(4, kind="conv")
    losses = [point.loss for point in train(again, Phase("stage 1", (1, 1), 0, 23), HOW, done=5, every=1)]
    assert points[0].loss == pytest.approx(np.mean(losses[:5]))
    assert points[1].loss == pytest.approx(np.mean(losses[5:15]))
    assert points[2].loss == pytest.approx(np.mean(losses[15:]))


def test_early_stopping_stops_and_restores_the_best() -> None:
    """A peer prints that it stops, and goes on."""
    stack = stack_of(4, kind="conv")
    how = replace(HOW, lr=0.5, optimiser="sgd", momentum=0.0, patience=2)
    order, images = Order(len(IMAGES), 32, 0), StoredInputs(IMAGES)
    valid = StoredInputs(TOY.valid.inputs)
    noise = StoredInputs(torch.randint(0, 256, IMAGES.shape, dtype=torch.uint8))
    best, states = [], []
    # learning noise makes the validation loss worse after a while
    for point in fit(stack, Phase("stage 1", (1, 1), 0, 8000), noise, how, order=order, seed=0, every=8, valid=valid):
        assert point.valid_loss is not None
        best.append(point.valid_loss)
        states.append(copy.deepcopy(stack.state_dict()))
    assert point.stopped
    assert point.update < 8000
    least = int(np.argmin(best))
    assert len(best) - 1 - least == 2
    assert all(torch.equal(v, states[least][k]) for k, v in stack.state_dict().items())
    assert images(torch.arange(2)).dtype == torch.float32
    clean = valid(torch.arange(len(valid)))
    with torch.no_grad():
        error = (stack.eval()(clean) - clean).square().flatten(1).mean(1)
    assert min(best) == pytest.approx(error.double().mean().item(), rel=1e-6)


def places(training: Training) -> dict[str, dict[str, tuple[torch.device, torch.dtype, tuple[int, ...]]]]:
    """Switches the optimiser of a training keeps what it keeps of each parameter, of which type and in which layout."""
    return {
        name: {
            key: (value.device, value.dtype, value.stride())
            for key, value in training.optimiser.state[parameter].items()
            if value is not None
        }
        for name, parameter in training.params.items()
    }


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_optimiser_goes_on_where_it_keeps_its_state(name: str, device: str) -> None:
    """A checkpoint lies on the CPU; a GPU is stood in for by torch's tensors without values, which any machine has."""
    phase, how, order = Phase("joint", (1, 2), 0, 3), replace(HOW, optimiser=name), Order(len(IMAGES), 32, 0)

    def training(stack: StackedAutoencoder) -> Training:
        return Training(stack, phase, StoredInputs(IMAGES), how, order=order, seed=0)

    left = training(stack_of(4, 6, kind="conv").to(memory_format=torch.channels_last))
    list(left.train())
    tensors, plain = left.state()
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device(device):
            stack = build(StackSpec.of("conv", 4, 6), (1, 12, 12))
        for parameter in stack.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        fresh, restored = training(stack), training(stack)
        for parameter in fresh.params.values():
            parameter.grad = torch.zeros_like(parameter)
        fresh.optimiser.step()
        restored.restore(tensors, plain)
        assert places(restored) == places(fresh)
        restored.optimiser.step()


def test_a_loss_that_is_not_finite_names_phase_and_update() -> None:
    stack = stack_of(4, kind="conv")
    order = Order(len(IMAGES), 32, 0)

    class Poisoned(StoredInputs):
        def __call__(self, index: torch.Tensor) -> torch.Tensor:
            self.calls = getattr(self, "calls", 0) + 1
            x = super().__call__(index)
            return x * float("nan") if self.calls >= 14 else x

    with pytest.raises(Diverged, match="became nan in phase 'stage 1' at update 14 of 40"):
        list(fit(stack, Phase("stage 1", (1, 1), 0, 40), Poisoned(IMAGES), HOW, order=order, seed=0, every=10))


def minimise(stack: StackedAutoencoder, first: int, last: int, x: torch.Tensor) -> float:
    """The phase's objective to its optimum: full batch, float64, L-BFGS; the squared error at depth first - 1."""
    stack.learn_only(first, last)
    with torch.no_grad():
        reads = stack.encode(x, first - 1)
    params = [p for p in stack.parameters() if p.requires_grad]
    optimiser = torch.optim.LBFGS(
        params,
        max_iter=5000,
        max_eval=20000,
        tolerance_grad=1e-14,
        tolerance_change=1e-18,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (stack.reconstruct(reads, last, start=first - 1) - reads).square().sum(1).mean()
        loss.backward()
        return loss

    for _ in range(3):
        optimiser.step(closure)
    return closure().item()


def linear(tied: bool, seed: int) -> StackedAutoencoder:
    with seeded(seed, "init"):
        stack = build(StackSpec.of("dense", 6, 3, activation="linear", output="linear", tied=tied), (12,))
    return stack.double()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tied", [True, False])
def test_one_linear_stage_is_pca(tied: bool, seed: int, linear_data: tuple[torch.Tensor, dict[int, float]]) -> None:
    """Bourlard & Kamp 1988; Baldi & Hornik 1989."""
    x, pca = linear_data
    assert minimise(linear(tied, seed), 1, 1, x) == pytest.approx(12 * pca[6], abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_greedy_tied_linear_stages_are_pca(seed: int, linear_data: tuple[torch.Tensor, dict[int, float]]) -> None:
    """A tied stage has orthonormal rows at its optimum, so the next sees a rotation of the PCA scores."""
    x, pca = linear_data
    stack = linear(True, seed)
    minimise(stack, 1, 1, x)
    minimise(stack, 2, 2, x)
    assert (stack(x) - x).square().sum(1).mean().item() == pytest.approx(12 * pca[3], abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_greedy_untied_linear_stages_are_worse_than_pca(
    seed: int, linear_data: tuple[torch.Tensor, dict[int, float]]
) -> None:
    """Stage 2 minimises its error in a basis of arbitrary scale."""
    x, pca = linear_data
    stack = linear(False, seed)
    minimise(stack, 1, 1, x)
    minimise(stack, 2, 2, x)
    assert (stack(x) - x).square().sum(1).mean().item() > 12 * pca[3] * 1.005


@pytest.mark.parametrize("seed", range(3))
def test_joint_untied_linear_stages_are_pca(seed: int, linear_data: tuple[torch.Tensor, dict[int, float]]) -> None:
    x, pca = linear_data
    assert minimise(linear(False, seed), 1, 2, x) == pytest.approx(12 * pca[3], abs=1e-8)


def test_a_penalty_on_the_weights_costs_the_same_whatever_the_batch() -> None:
    stack, phase = stack_of(30, kind="dense"), Phase("s", (1, 1), 0, 1)
    plain, penalised = HOW, replace(HOW, penalties=(("orthogonality", 0.1),))
    more = [update_flops(stack, phase, penalised, 0, n) - update_flops(stack, phase, plain, 0, n) for n in (1, 128)]
    # W W^T of [30, 144], and two products of that size for its gradient
    assert more == [3 * 2 * 30 * 30 * 144] * 2
    assert update_flops(stack, phase, plain, 0, 128) == 128 * update_flops(stack, phase, plain)


def test_local_regularisers_do_not_encode_again() -> None:
    stack = stack_of(4, 6, kind="conv")
    joint, local = (Phase("j", (1, 2), 0, 1, local_loss=local) for local in ("none", "added"))
    alone = Phase("s", (2, 2), 1, 1)
    decoders = 3 * 2 * 4 * 36 * 9 + 3 * 2 * 6 * 4 * 9 * 9  # stage 1's and stage 2's, forwards and backwards
    assert update_flops(stack, local, HOW) == update_flops(stack, joint, HOW) + decoders
    assert update_flops(stack, alone, HOW) > 0
