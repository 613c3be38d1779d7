"""What holds of every objective, whoever added it: it is found by itself."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from stacked import InputError, RunSpec, StackedAutoencoder, StackSpec
from stacked.cost.fake_execution import update
from stacked.cost.forecast import estimate_cost
from stacked.data.order import Order
from stacked.model.stack import build
from stacked.objectives import objectives
from stacked.objectives.objective import EncodedBatch, ObjectiveSettings, ObjectiveTargets
from stacked.runtime.settings import own_settings
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.stages import kinds
from stacked.training.codes import StoredInputs, inputs
from stacked.training.examples import Examples
from stacked.training.fit import Training
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.phases import IMAGES, LABELS, SEED, STEP, stack_of
from tests.helpers.runs import same_weights

NAMES = sorted(objectives())
STAGE_2 = Phase("stage 2", (2, 2), 1, 4, target="objectives")
ALL = Phase("simultaneous", (1, 3), 0, 4, target="objectives", local_loss="alone", blocks=(2, 1))
KNOWN = ObjectiveTargets(IMAGES[:8].float() / 255, LABELS[:8])
every_objective = pytest.mark.parametrize("name", NAMES)


def reads(name: str, kind: str) -> bool:
    """Whether the objective reads codes of this kind of stage; a spec in which it does not is refused."""
    return objectives()[name].refuses(kinds()[kind]) is None


KINDS = ["conv", "dense", "transformer"]
every_kind = pytest.mark.parametrize(("name", "kind"), [(n, kind) for n in NAMES for kind in KINDS if reads(n, kind)])


def how(name: str, **more: Any) -> Optimisation:
    """Corrupted, as objectives of two views need it."""
    return Optimisation(batch_size=32, lr=1e-2, corruption_level=0.3, objectives={name: 0.5}, **more)


def stack(kind: str) -> StackedAutoencoder:
    options: dict[str, Any] = {"patch": 1} if kind == "transformer" else {}
    return stack_of(8, 8, 8, kind=kind, activation="linear", output="sigmoid", **options)


def kind_for(name: str) -> str:
    return "dense" if reads(name, "dense") else "conv"


def loss_of(made: StackedAutoencoder, phase: Phase, config: Optimisation, seed: int = SEED) -> tuple[PhaseLoss, Tensor]:
    made.learn_only(*phase.trainable).train()
    with torch.no_grad():
        read = made.encode(KNOWN.images, phase.input_depth)
    objective = PhaseLoss(made, phase, config, seed=seed, classes=4)
    return objective, objective(read, KNOWN, STEP)


@every_kind
@pytest.mark.parametrize("phase", [STAGE_2, ALL], ids=["local", "simultaneous"])
def test_its_gradient_reaches_its_block_and_itself_alone(name: str, kind: str, phase: Phase) -> None:
    made = stack(kind)
    objective, loss = loss_of(made, phase, how(name))
    assert loss.dim() == 0
    assert loss.isfinite()
    loss.backward()
    for label, parameter in objective.named_parameters():
        assert parameter.grad is not None, label
    decodes = objectives()[name].restores == "input"
    for k, stage in enumerate(made.stages, start=1):
        learns = phase.trainable[0] <= k <= phase.depth
        assert all((p.grad is not None) == learns for p in stage.encoder.parameters())
        assert all(p.grad.isfinite().all() for p in stage.encoder.parameters() if p.grad is not None)
        assert any(p.grad.any() for p in stage.encoder.parameters() if p.grad is not None) == learns
        assert all((p.grad is not None) == (learns and decodes) for p in stage.decoder.parameters())


@every_objective
def test_no_gradient_passes_from_a_block_to_the_one_below(name: str) -> None:
    """Twice the weights of the upper block change nothing in the lower one."""

    def gradients(factor: float) -> list[Tensor]:
        made = stack(kind_for(name))
        with torch.no_grad():
            next(p for p in made.stages[2].encoder.parameters() if p.dim() > 1).mul_(factor)
        _, loss = loss_of(made, ALL, how(name))
        loss.backward()
        return [p.grad for p in made.stages[:2].parameters() if p.grad is not None]  # type: ignore[index]

    assert all(map(torch.equal, gradients(1.0), gradients(2.0)))


@every_objective
def test_its_parameters_are_drawn_from_the_seed_and_it_has_no_buffers(name: str) -> None:
    one, other, third = (loss_of(stack("conv"), STAGE_2, how(name), seed) for seed in (1, 1, 2))
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[1], third[1])
    assert not list(one[0].buffers())
    of_all = PhaseLoss(stack("conv"), ALL, how(name), seed=1, classes=4).auxiliary()
    alone = one[0].auxiliary()[2]
    assert all(map(torch.equal, of_all[2], alone))
    assert not any(torch.equal(a, b) for a, b in zip(of_all[3], alone, strict=False) if a.dim() > 1)


@every_objective
@pytest.mark.parametrize("phase", [STAGE_2, ALL], ids=["local", "simultaneous"])
def test_the_watched_loss_is_the_trained_one_without_corruption(name: str, phase: Phase) -> None:
    made, config = stack(kind_for(name)), replace(how(name), corruption_level=(0.0,))
    objective, loss = loss_of(made, phase, config)
    with torch.no_grad():
        each = objective.loss_per_example(made.encode(KNOWN.images, phase.input_depth), KNOWN)
    assert each.shape == (8,)
    torch.testing.assert_close(each.mean(), loss, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", [name for name in NAMES if objectives()[name].restores != "input"])
def test_codes_in_half_precision_have_finite_gradients(name: str, dtype: torch.dtype) -> None:
    """Also those that do not vary; for random ones the loss is near that in float32."""
    known = ObjectiveTargets(torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(1)), torch.arange(4))
    drawn = torch.rand(4, 8, 6, 6, generator=torch.Generator().manual_seed(2))

    def loss(code: Tensor, kind: torch.dtype) -> tuple[Tensor, bool]:
        torch.manual_seed(0)
        made = objectives()[name](ObjectiveSettings((8, 6, 6), (1, 12, 12), 4)).to(kind)
        code = code.to(kind).requires_grad_()
        targets = ObjectiveTargets(known.images.to(kind), known.labels)  # type: ignore[union-attr]
        found = made(EncodedBatch((code, 0.5 * code.flip(1)), targets, lambda: code.sum()))
        gradients = torch.autograd.grad(found, [code, *made.parameters()])
        return found, all(bool(each.isfinite().all()) for each in (found, *gradients))

    for code in (torch.zeros_like(drawn), torch.full_like(drawn, 0.37)):
        assert loss(code, dtype)[1]
    (found, is_finite), (expected, _) = loss(drawn, dtype), loss(drawn, torch.float32)
    assert is_finite
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.02)


TABLES_AND_SIGNALS = [
    ("dense", (16,)),
    ("transformer", (16,)),
    ("dense", (2, 16)),
    ("conv", (2, 16)),
    ("transformer", (2, 16)),
]


@pytest.mark.parametrize(
    ("name", "kind", "shape"), [(n, kind, shape) for n in NAMES for kind, shape in TABLES_AND_SIGNALS if reads(n, kind)]
)
def test_it_is_learned_from_tables_and_signals(name: str, kind: str, shape: tuple[int, ...]) -> None:
    made = build(StackSpec.of(kind, 8, 8, **({"patch": 2} if kind == "transformer" else {})), shape).train()
    rows = torch.rand(8, *shape, generator=torch.Generator().manual_seed(SEED))
    phase = Phase("simultaneous", (1, 2), 0, 6, target="objectives", local_loss="alone")
    objective, known = PhaseLoss(made, phase, how(name), classes=4), ObjectiveTargets(rows, LABELS[:8])
    objective(rows, known, STEP).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.encoder.parameters())
    assert objective.loss_per_example(rows, known).shape == (8,)


class Stop(Exception):
    pass


def training(made: StackedAutoencoder, phase: Phase, config: Optimisation) -> Training:
    order, device = Order(len(IMAGES), 32, SEED), torch.device("cpu")
    images = StoredInputs(IMAGES)
    targets = Examples(images, LABELS).targets(phase, config, device)
    made.learn_only(*phase.trainable).eval()
    reads = inputs(made, phase.input_depth, images, "recompute", 32)
    return Training(made, phase, reads, config, order=order, seed=SEED, targets=targets, classes=4)


@every_objective
@pytest.mark.parametrize("phase", [STAGE_2, ALL], ids=["local", "simultaneous"])
def test_training_resumes_inside_of_a_phase_to_the_bit(name: str, phase: Phase) -> None:
    config = how(name, recalibrate=False)
    whole = stack("conv")
    last = list(training(whole, phase, config).train())[-1]

    halves = stack("conv")
    first = training(halves, phase, config)

    def stop() -> None:
        if first.update == 2:
            raise Stop

    with pytest.raises(Stop):
        list(first.train(stop))
    tensors, plain = copy.deepcopy(first.state())
    second = training(halves, phase, config)
    second.restore(tensors, plain)
    resumed = list(second.train())[-1]
    assert (resumed.loss, resumed.grad_norm) == (last.loss, last.grad_norm)
    assert same_weights(halves, whole)


#: blocks at once follow each other whatever their stages are: each objective on one kind of stage, each kind with one objective
COUNTED = [
    *((n, kind, STAGE_2) for n in NAMES for kind in KINDS if reads(n, kind)),
    *((n, kind, ALL) for n in NAMES for kind in KINDS if reads(n, kind) and (kind == "conv" or n == "labels")),
]


@pytest.mark.parametrize(
    ("name", "kind", "phase"), COUNTED, ids=[f"{n}-{kind}-{phase.name}" for n, kind, phase in COUNTED]
)
@own_settings()
def test_its_work_is_counted_as_it_is_done(name: str, kind: str, phase: Phase) -> None:
    made, config = stack(kind), how(name)
    spec = made.spec
    assert spec is not None
    made.learn_only(*phase.trainable).train()
    with torch.no_grad():
        read = made.encode(KNOWN.images, phase.input_depth)
    objective = PhaseLoss(made, phase, config, classes=4)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        objective(read, KNOWN, STEP).backward()
    work = update(spec, made.input_shape, phase, config, 8, 4)
    assert work.flop == counter.get_total_flops()
    held = sum(4 * p.numel() for p in [*objective.parameters(), *made.parameters()])
    assert work.peak_bytes >= held + sum(
        3 * 4 * p.numel() for p in [*objective.parameters(), *made.parameters()] if p.requires_grad
    )


@pytest.mark.parametrize(("name", "kind"), [(n, kind) for n in NAMES for kind in KINDS if not reads(n, kind)])
def test_a_kind_of_stage_whose_codes_it_cannot_read_is_refused(name: str, kind: str) -> None:
    with pytest.raises(InputError, match=rf"objective '{name}' cannot be used on stage 1, a {kind} stage: .*: use a"):
        RunSpec("local", stack=StackSpec.of(kind, 8, 8), optimisation=how(name))


@every_objective
def test_batches_of_one_are_refused_where_examples_are_compared(name: str) -> None:
    spec = RunSpec("local", stack=StackSpec.of("conv", 4, 6), optimisation=how(name))
    alone = replace(spec.optimisation, batch_size=1)
    if objectives()[name].least_batch == 1:
        assert replace(spec, optimisation=alone, stack=StackSpec.of("conv", 4, 6, norm="none"))
        return
    with pytest.raises(InputError, match=rf"objective '{name}' .* batch_size 1 gives it nothing to compare: give 2 or"):
        replace(spec, optimisation=alone)
    with pytest.raises(InputError, match=rf"objective '{name}' .* only 1 can be trained on: give 2 or more"):
        estimate_cost(spec, (1, 12, 12), 1, classes=4)


@every_objective
def test_it_is_a_word_of_specs(name: str) -> None:
    spec = RunSpec("local", stack=StackSpec.of("conv", 4, 6), optimisation=how(name))
    assert [phase.name for phase in spec.phases()] == ["stage 1", "stage 2"]
    assert spec.optimisation.objectives_of(1) == [(name, 0.5)]
