"""Training of several seeds of one spec as one batched model.

For a narrow stack and small batches, most of the time of an update is the overhead of calling torch. One update of K stacks at
once, with a leading dimension K on every tensor, costs little more than an update of one stack. For large matrices arithmetic
dominates and nothing is gained; train such seeds in parallel processes instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from stacked.components.corruption import Corrupted
from stacked.components.optim import OPTIMISERS
from stacked.components.penalties import PENALTIES
from stacked.components.schedules import learning_rate
from stacked.data.order import Order
from stacked.model.stack import StackedAutoencoder, grow
from stacked.objectives.objective import ObjectiveTargets
from stacked.runs.check import check
from stacked.runs.run import splits_of
from stacked.runtime.environment import device_of
from stacked.runtime.settings import own_settings
from stacked.spec import Optimisation, RunSpec
from stacked.spec.growth import Phase
from stacked.training.codes import Inputs, Targets
from stacked.training.examples import examples_of
from stacked.training.fit import parameter_groups
from stacked.training.phase_loss import PhaseLoss
from stacked.training.prepare import PreparedPhase, prepare_phase
from stacked.training.recalibration import recalibrate
from stacked.util.checks import need, whole
from stacked.util.errors import Diverged

#: updates between two checks of the losses; each one synchronises with the GPU
CHECKED = 100


@own_settings()
def train_seeds(
    spec: RunSpec, seeds: Sequence[int], splits: Any = None, *, target: str | None = None, device: str = "cpu"
) -> list[StackedAutoencoder]:
    """Train `spec` with each of the seeds at once and return the stacks, in eval mode, that `run` would train one by one.

    splits, target: the data, as `run` takes them.

    Each seed has the initial weights, data order and corruption of its single run. Sums are taken in another order, so that
    weights differ from those of single runs as much as between two BLAS libraries. Nothing is measured or recorded. Cached
    codes take as much memory as those of all single runs.

    Raises InputError for a spec that cannot be batched (see `check_batchable`), and Diverged if the loss of a seed is not
    finite.
    """
    check_batchable(spec, seeds)
    splits = splits_of(spec, splits, target)
    specs = [replace(spec, seed=seed) for seed in seeds]
    labels = [check(one, splits).labels for one in specs]
    torch_device, done = device_of(device), 0
    stacks = [StackedAutoencoder(splits.input_shape, scaling=splits.scaling) for _ in specs]
    for phase in spec.phases(spec.updates_per_epoch(len(splits.train))):
        prepared = [
            prepare_phase(
                stack,
                one,
                phase,
                examples_of(splits, phase, spec.optimisation, rows.of(phase), torch_device)[0],
                torch_device,
                share=1 / len(specs),
            )
            for stack, one, rows in zip(stacks, specs, labels, strict=True)
        ]
        if phase.updates:
            classes = len(splits.classes)
            members = [member_of(each, one, classes, done) for each, one in zip(prepared, specs, strict=True)]
            train_phase(members, spec.optimisation, phase)
            done += phase.updates
    for stack, one in zip(stacks, specs, strict=True):
        grow(stack, one, spec.stack.depth, torch_device)
        stack.eval()
    return stacks


def check_batchable(spec: RunSpec, seeds: Sequence[int]) -> None:
    """Raise InputError for missing or equal seeds, and for a spec whose seeds cannot be trained as one model.

    Such specs use early stopping, which ends seeds at different updates; L-BFGS, whose line searches take another number of
    evaluations for each seed; another `on_nonfinite` than "stop"; objectives; or random draws inside a forward pass: the
    corruption of local losses, dropout, and the contractive estimate.
    """
    check_seeds(seeds)
    config, phases = spec.optimisation, spec.phases()
    alone = "train one seed at a time, with run"
    need(
        not any(config.patience_of(phase) for phase in phases),
        f"early stopping ends each seed at a different update: leave patience out, or {alone}",
    )
    need(
        config.optimiser != "lbfgs",
        f"a line search takes another number of evaluations for each seed: choose another optimiser than 'lbfgs', or {alone}",
    )
    need(
        config.on_nonfinite == "stop",
        f"on_nonfinite {config.on_nonfinite!r} would change one seed and not the others: give 'stop', or {alone}",
    )
    for stage in spec.stack.stages:
        need(
            stage.kind == "dense",
            f"a stack with a {stage.kind} stage cannot be trained as one model of several seeds: use dense stages, or {alone}",
        )
    need(
        all(phase.target != "objectives" for phase in phases),
        f"policy {spec.policy!r} trains by objectives, which are not batched: choose another policy, or {alone}",
    )
    need(
        all(phase.local_loss == "none" for phase in phases),
        f"policy {spec.policy!r} draws corruption inside a forward pass: choose another policy, or {alone}",
    )
    need(
        not any(config.dropout_of(phase, stage) for phase in phases for stage in range(1, phase.depth + 1)),
        f"dropout draws random numbers inside a forward pass: leave it out, or {alone}",
    )
    for name, _ in config.penalties:
        need(
            not PENALTIES[name].differentiates,
            f"penalty {name!r} draws random numbers inside a forward pass: choose another penalty, or {alone}",
        )


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise InputError unless these are distinct seeds, one or more."""
    for seed in seeds:
        whole(seed, "seed", 0)
    need(len(seeds) > 0 and len(set(seeds)) == len(seeds), f"seeds {list(seeds)} are not allowed: give distinct seeds")


class Member(nn.Module):
    """One seed in one phase: its stack, its loss and its inputs.

    objective: the loss; of its stack only the weights that the phase trains are not frozen. done: updates before the phase.
    """

    def __init__(
        self, objective: PhaseLoss, order: Order, inputs: Inputs, targets: Targets | None, done: int = 0
    ) -> None:
        super().__init__()
        self.stack, self.objective = objective.stack, objective
        self.order, self.inputs, self.targets, self.done = order, inputs, targets, done

    def batch(self, update: int) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Return the clean inputs of an update, their targets, the corrupted inputs, and the mask of corrupted elements."""
        step = self.done + update
        index = self.order.batch(step)
        clean = self.inputs(index)
        noisy = self.objective.corrupt_input(clean, step)
        target = self.targets(index) if self.targets else None
        assert not isinstance(target, ObjectiveTargets)  # which `check_batchable` refuses
        return clean, target, noisy.x, noisy.hit

    def forward(self, clean: Tensor, target: Tensor | None, x: Tensor, hit: Tensor | None) -> Tensor:
        """Return the loss of a batch, a scalar."""
        return self.objective.loss(clean, target, 0, Corrupted(x, hit))

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and buffers by name."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}


def member_of(prepared: PreparedPhase, spec: RunSpec, classes: int, done: int) -> Member:
    """Return the seed of `spec` in a phase that is prepared."""
    stack, phase = prepared.stack, prepared.phase
    stack.learn_only(*phase.trainable).train()
    objective = PhaseLoss(stack, phase, spec.optimisation, seed=spec.seed, classes=classes)
    return Member(objective, prepared.order, prepared.inputs, prepared.targets, done)


def train_phase(
    members: Sequence[Member],
    config: Optimisation,
    phase: Phase,
    checks: Collection[int] = (),
    after_check: Callable[[int], None] = lambda update: None,
) -> None:
    """Train all members through one phase, in place.

    after_check: called with the number of updates after each of the `checks`, numbers of updates, and at the end of the phase;
    the members have their weights then.
    """
    one = members[0]
    all_of = {name: torch.stack([member.tensors()[name].detach() for member in members]) for name in one.tensors()}
    for name, p in one.named_parameters():
        all_of[name].requires_grad_(p.requires_grad)
    name_of = {id(p): name for name, p in one.named_parameters()}
    groups = [
        {**group, "params": [all_of[name_of[id(p)]] for p in group["params"]]}
        for group in parameter_groups(one.stack, phase, config, one.objective.auxiliary())
    ]
    optimiser = OPTIMISERS[config.optimiser](groups, config.weight_decay, config.momentum, config.nesterov)

    def loss_of(tensors: dict[str, Tensor], *batch: Tensor | None) -> Tensor:
        loss: Tensor = functional_call(one, tensors, batch)
        return loss

    for update in range(phase.updates):
        batches = zip(*(member.batch(update) for member in members), strict=True)
        parts = [None if part[0] is None else torch.stack(part) for part in batches]
        losses = vmap(loss_of, (0, *(None if part is None else 0 for part in parts)))(all_of, *parts)
        optimiser.zero_grad()
        losses.sum().backward()  # the gradient of each loss reaches only its own member's parameters
        if config.clip:
            clip_each([p.grad for p in all_of.values() if p.grad is not None], config.clip)
        schedule, options = config.schedule_of(phase), config.schedule_options_of(phase)
        for group in optimiser.param_groups:
            lr = learning_rate(group["peak"], schedule, config.warmup, update, phase.updates, options)
            group["lr"] = lr * group["factor"]
        optimiser.step()
        if (update + 1) % CHECKED == 0 or update + 1 == phase.updates:
            check_finite(losses, members, phase, update + 1)
        if update + 1 in checks or update + 1 == phase.updates:
            give_back(members, all_of, phase)
            after_check(update + 1)
            for member in members:  # which may be in eval mode now
                member.train()


def give_back(members: Sequence[Member], tensors: Mapping[str, Tensor], phase: Phase) -> None:
    """Copy the tensors [K, ...] of all members to each of them; raise Diverged if they are not finite."""
    for k, member in enumerate(members):
        with torch.no_grad():
            for name, value in member.tensors().items():
                value.copy_(tensors[name][k])
        recalibrate(member.objective, member.inputs, member.targets, member.order)
        if not all(bool(value.isfinite().all()) for value in member.tensors().values()):
            raise Diverged(f"weights of seed {member.objective.seed} became non-finite in phase {phase.name!r}")


def clip_each(grads: list[Tensor], most: float) -> None:
    """Scale the gradients [K, ...] of each member down to a global norm of `most`, if it is larger."""
    norms = torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)
    factors = (most / (norms + 1e-6)).clamp(max=1.0)  # the formula of torch's clip_grad_norm_
    for grad in grads:
        grad.mul_(factors.view(-1, *[1] * (grad.dim() - 1)))


def check_finite(losses: Tensor, members: Sequence[Member], phase: Phase, update: int) -> None:
    """Raise Diverged for the first member whose loss is not finite."""
    for loss, member in zip(losses.tolist(), members, strict=True):
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss of seed {member.objective.seed} became {loss} in phase {phase.name!r} by update {update}"
            )
