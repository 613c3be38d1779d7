"""The training loop, which trains one phase and does not know the growth policy.

The loop is `Training.train`; `fit` runs it for a phase that is trained from its start to its end.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from stacked.components.lbfgs import LBFGS
from stacked.components.nonfinite import MOST_ROLLBACKS, MOST_SKIPPED, ROLLBACK_LR_DIVISOR, Buffers, finite
from stacked.components.optim import OPTIMISERS
from stacked.components.schedules import learning_rate
from stacked.data.order import Order
from stacked.model.batch_norm import frozen_statistics
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.malloc import keep_freed_memory
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.backward import replace_gradients
from stacked.training.codes import Inputs, Target, Targets
from stacked.training.early_stopping import EarlyStopping, ValidationLoss
from stacked.training.phase_loss import PhaseLoss
from stacked.training.recalibration import recalibrate
from stacked.util.errors import Diverged

#: The plain attributes of a Training that are part of its saved state; and their keys there, where these differ.
NONFINITE_COUNTS = ("skipped", "skipped_in_a_row", "rollbacks", "updates_rolled_back")
STATE = ("update", "seconds", "valid_loss", "last_loss", *NONFINITE_COUNTS)
KEYS = {"skipped_in_a_row": "in_a_row", "updates_rolled_back": "lost"}


@dataclass(frozen=True)
class TrainingMetrics:
    """Metrics of training after `update` updates of the phase.

    loss: mean over the updates since the previous metrics. grad_norm: global norm of the gradient at this update, before
    clipping. lr: the learning rate of the deepest stage. valid_loss: the validation loss, if early stopping computed it.
    seconds: training time since the phase began. stopped: whether early stopping ended the phase.
    """

    update: int
    loss: float
    grad_norm: float
    lr: float
    valid_loss: float | None
    seconds: float
    stopped: bool = False


class Training:
    """Training of one phase in place; it can be interrupted after any update and resumed later, bit for bit.

    done: number of updates that the run made before this phase. Batches and corruption depend on `done` + update, so that arms
    with the same seed see the same. every: updates between two metrics. targets: function from indices to targets, if the
    target is not the input. weights: function from indices to weights of labels (None: all the same). valid, valid_targets:
    validation data for early stopping. classes, head: number of classes and head of a phase that learns labels (head None: a new
    linear one). dropout: fraction of the head's inputs that are set to 0.

    Attributes: losses, of which the first `n_losses` are those since the last metrics. skipped: number of batches left out for a
    non-finite loss or gradient; skipped_in_a_row: number of those since the last update. rollbacks: number of
    rollbacks; updates_rolled_back: number of updates that they undid; rollback_snapshot: the state that the next one restores.
    further_evaluations: number of evaluations of loss and gradient by line searches, beyond one for each update, that this
    object has made.
    """

    def __init__(
        self,
        stack: StackedAutoencoder,
        phase: Phase,
        inputs: Inputs,
        config: Optimisation,
        *,
        order: Order,
        seed: int,
        done: int = 0,
        every: int = 20,
        valid: Inputs | None = None,
        targets: Targets | None = None,
        weights: Callable[[Tensor], Tensor] | None = None,
        valid_targets: Targets | None = None,
        classes: int = 0,
        head: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        keep_freed_memory()
        stack.learn_only(*phase.trainable).train()
        self.stack, self.phase, self.config = stack, phase, config
        self.inputs, self.targets, self.weights = inputs, targets, weights
        self.order, self.done, self.every = order, done, every
        self.objective = PhaseLoss(
            stack, phase, config, seed=seed, classes=classes, head=head, dropout=dropout, first_step=done
        )
        named = {**dict(stack.named_parameters()), **dict(self.objective.named_parameters())}
        self.params = {name: p for name, p in named.items() if p.requires_grad}
        groups = parameter_groups(stack, phase, config, self.objective.auxiliary())
        self.optimiser = OPTIMISERS[config.optimiser](groups, config.weight_decay, config.momentum, config.nesterov)
        device = next(iter(self.params.values())).device
        # read only for metrics, to avoid synchronising with the device in between
        self.losses = torch.zeros(min(every, phase.updates), device=device)
        self.n_losses = self.update = 0
        self.skipped = self.skipped_in_a_row = self.rollbacks = self.updates_rolled_back = 0
        self.buffers = Buffers(stack) if config.on_nonfinite == "skip-batch" else None
        self.rollback_snapshot: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self.last_loss = math.nan
        self.seconds = 0.0
        self.further_evaluations = 0
        self.recalibrated = 0  # number of recalibration batches, set at the end of the phase
        self.valid_loss: float | None = None
        validation = ValidationLoss(self.objective, valid, valid_targets, order.size) if valid is not None else None
        patience = config.patience_of(phase)
        self.stopping = EarlyStopping(stack, validation, patience) if patience and validation else None

    def train(self, after_update: Callable[[], None] | None = None) -> Iterator[TrainingMetrics]:
        """Train to the end of the phase; yield metrics when the run's update count is a multiple of `every`, and at the end.

        Training pauses until the caller asks for the next metrics. Running statistics are recalibrated before the last ones
        (see `recalibrate`). `after_update` is called after every update, and after its metrics, except after one that is
        undone (see `on_nonfinite`) and after the last one of an early stop; an exception from it ends the training with the
        `state` of the last update. Raises Diverged if a loss or a gradient is NaN or infinite, unless
        `on_nonfinite` handles it.
        """
        config, phase = self.config, self.phase
        params = list(self.params.values())
        check_every = config.check_every or self.order.updates_per_epoch
        began, stopped = time.perf_counter(), False
        if config.on_nonfinite == "rollback" and self.rollback_snapshot is None:
            self.rollback_snapshot = self.snapshot()
        while self.update < phase.updates and not stopped:
            step, lr = self.done + self.update, self.learning_rate(config.lr_of(phase))
            index = self.order.batch(step)
            if self.buffers:
                self.buffers.keep()
            targets = self.targets(index) if self.targets else None
            weights = self.weights(index) if self.weights else None
            batch = self.inputs(index), targets, step, weights
            loss = replace_gradients(self.objective, self.optimiser, *batch)
            last, at_metrics = self.update + 1 == phase.updates, (step + 1) % self.every == 0
            if self.buffers and not finite(loss, params):
                self.buffers.put_back()
                self.optimiser.zero_grad()
                self.skipped += 1
                self.skipped_in_a_row += 1
                norm: Tensor | None = torch.zeros(())
            else:
                line_search = isinstance(self.optimiser, LBFGS)  # after which gradients are those of other weights
                at_norm = config.clip or at_metrics or last or line_search
                norm = gradient_norm(params, config.clip) if at_norm else None
                for group in self.optimiser.param_groups:
                    group["lr"] = self.learning_rate(group["peak"]) * group["factor"]
                if isinstance(self.optimiser, LBFGS):
                    self.further_evaluations += self.optimiser.minimise(
                        loss, partial(self.evaluate, *batch), config.lbfgs_iterations
                    )
                else:
                    self.optimiser.step()
                self.losses[self.n_losses] = loss
                self.n_losses += 1
                self.skipped_in_a_row = 0
            self.update += 1
            if self.skipped_in_a_row == MOST_SKIPPED:
                raise Diverged(
                    f"{MOST_SKIPPED} batches in a row were left out {self.location(self.update, self.last_loss)}"
                )

            metrics = None
            try:
                if self.stopping and (self.update % check_every == 0 or last):
                    self.valid_loss = self.compute_validation_loss()
                    stopped = self.stopping.over
                    if last or stopped:
                        self.stopping.restore()
                if at_metrics or last or stopped:
                    norm = gradient_norm(params, None) if norm is None else norm
                    metrics = TrainingMetrics(
                        self.update, self.mean_loss(norm), norm.item(), lr, self.valid_loss, 0.0, stopped
                    )
                if last or stopped:
                    self.recalibrated = recalibrate(self.objective, self.inputs, self.targets, self.order)
                    self.check_weights_finite()
            except Diverged as error:
                self.roll_back(error)
                stopped = False
                continue
            self.seconds += time.perf_counter() - began
            if metrics is not None:
                self.n_losses, self.valid_loss, self.last_loss = 0, None, metrics.loss
                yield replace(metrics, seconds=self.seconds)
                if self.rollback_snapshot is not None:
                    self.rollback_snapshot = self.snapshot()
            if after_update is not None and not stopped:
                after_update()
            began = time.perf_counter()

    def evaluate(self, clean: Tensor, target: Target | None, step: int, weight: Tensor | None) -> Tensor:
        """Return the loss of a batch again, with its gradients, for a line search; running statistics do not change."""
        with frozen_statistics(self.stack):
            return replace_gradients(self.objective, self.optimiser, clean, target, step, weight)

    def learning_rate(self, peak: float) -> float:
        """Return the learning rate of the next update, for a peak that rollbacks lower."""
        config, phase = self.config, self.phase
        schedule, options = config.schedule_of(phase), config.schedule_options_of(phase)
        return (
            learning_rate(peak, schedule, config.warmup, self.update, phase.updates, options)
            / ROLLBACK_LR_DIVISOR**self.rollbacks
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything but the stack that is needed to resume: tensors by name, and plain values."""
        tensors = {
            f"optimiser/{key}/{name}": value
            for name, parameter in self.params.items()
            for key, value in self.optimiser.state[parameter].items()
            if value is not None
        }
        tensors |= {f"head/{name}": value for name, value in self.objective.state_dict().items()}
        tensors["losses"] = self.losses[: self.n_losses]
        plain: dict[str, Any] = {KEYS.get(name, name): getattr(self, name) for name in STATE}
        if self.rollback_snapshot is not None:
            tensors |= {f"back/{name}": value for name, value in self.rollback_snapshot[0].items()}
            plain["back"] = self.rollback_snapshot[1]
        if self.stopping:
            tensors |= {f"best/{name}": value for name, value in self.stopping.state.items()}
            plain |= {
                "best": None if math.isinf(self.stopping.best) else self.stopping.best,
                "waited": self.stopping.waited,
            }
        return tensors, plain

    def restore(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        """Resume from a `state`; the stack must have its weights already."""
        for name in STATE:
            setattr(self, name, plain[KEYS.get(name, name)])
        if "back" in plain:
            self.rollback_snapshot = without_prefix("back/", tensors), plain["back"]
        self.n_losses = len(tensors["losses"])
        self.losses[: self.n_losses] = tensors["losses"]
        self.objective.load_state_dict(without_prefix("head/", tensors))
        places = {id(p): k for k, p in enumerate(p for group in self.optimiser.param_groups for p in group["params"])}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in without_prefix("optimiser/", tensors).items():
            key, _, parameter_name = name.partition("/")
            parameter = self.params[parameter_name]
            # in the memory layout of the parameter, which fused optimisers require
            kept = torch.empty_like(parameter, requires_grad=False) if value.dim() else torch.empty_like(value)
            state.setdefault(places[id(parameter)], {})[key] = kept.copy_(value)
        # load_state_dict moves each tensor to its device; a fused optimiser keeps its step count beside the parameter
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": state})
        if self.stopping:
            best = plain["best"]
            self.stopping.best, self.stopping.waited = math.inf if best is None else best, plain["waited"]
            self.stopping.state = without_prefix("best/", tensors)

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return a copy of the current state and the stack's weights, for a rollback."""
        kept, self.rollback_snapshot = self.rollback_snapshot, None  # a snapshot does not contain another one
        tensors, plain = self.state()
        self.rollback_snapshot = kept
        tensors |= {f"stack/{name}": value for name, value in self.stack.state_dict().items()}
        return {name: value.detach().clone() for name, value in tensors.items()}, plain

    def roll_back(self, error: Diverged) -> None:
        """Restore the last snapshot with a lower learning rate; raises `error` if rollbacks are off or used up."""
        snapshot = self.rollback_snapshot
        if snapshot is None or self.rollbacks == MOST_ROLLBACKS:
            raise error
        # these counts go on; all other state returns to that of the snapshot
        rollbacks, seconds = self.rollbacks + 1, self.seconds
        updates_rolled_back = self.updates_rolled_back + self.update - snapshot[1]["update"]
        self.stack.load_state_dict(without_prefix("stack/", snapshot[0]))
        self.restore(*snapshot)
        self.rollbacks, self.updates_rolled_back, self.seconds = rollbacks, updates_rolled_back, seconds
        warnings.warn(
            f"{error}: training resumes from update {self.update} with its learning rate divided by "
            f"{ROLLBACK_LR_DIVISOR**rollbacks:g}",
            RuntimeWarning,
            stacklevel=3,
        )

    def mean_loss(self, norm: Tensor) -> float:
        """Return the mean loss since the last metrics; Diverged if a loss or this update's gradient `norm` is not finite.

        If all batches since then were left out, it is the loss of the last metrics.
        """
        values = self.losses[: self.n_losses].cpu()
        good = values.isfinite()
        last = values[good][-1].item() if good.any() else self.last_loss
        if not good.all():
            first = self.update - self.n_losses + int(good.long().argmin()) + 1
            raise Diverged(f"the loss became {values[~good][0].item()} {self.location(first, last)}")
        if not norm.isfinite():
            raise Diverged(f"the gradient became {norm.item()} {self.location(self.update, last)}")
        return values.double().mean().item() if len(values) else self.last_loss

    def compute_validation_loss(self) -> float:
        """Return the validation loss; Diverged if it is not finite, which early stopping would take for no improvement."""
        assert self.stopping is not None
        loss = self.stopping.check()
        if not math.isfinite(loss):
            raise Diverged(f"the validation loss became {loss} {self.location(self.update, self.last_loss)}")
        return loss

    def check_weights_finite(self) -> None:
        """Raise Diverged if weights or running statistics are not finite: no loss shows the effect of the last update."""
        if not all(bool(value.isfinite().all()) for value in self.stack.state_dict().values()):
            raise Diverged(
                f"weights or running statistics became non-finite {self.location(self.update, self.last_loss)}"
            )

    def location(self, update: int, loss: float) -> str:
        """Describe the update of an error, and the last finite loss before it, for a message."""
        before = "no loss was finite before" if math.isnan(loss) else f"the last finite loss was {loss:g}"
        return f"in phase {self.phase.name!r} at update {update} of {self.phase.updates}; {before}"


def fit(
    stack: StackedAutoencoder, phase: Phase, inputs: Inputs, config: Optimisation, **more: Any
) -> Iterator[TrainingMetrics]:
    """Train a phase from start to end, with these arguments of `Training`; yields its metrics."""
    return Training(stack, phase, inputs, config, **more).train()


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, with the prefix removed."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def parameter_groups(
    stack: StackedAutoencoder, phase: Phase, config: Optimisation, auxiliary: Mapping[int, list[nn.Parameter]]
) -> list[dict[str, Any]]:
    """Return parameter groups with a peak learning rate and a factor of it, one for each stage where stages differ in them.

    The factor is 1, or less for lower stages with layer-wise decay. auxiliary: parameters that are no stage's, of a head or of
    objectives, by the stage whose learning rate they have.
    """
    stages = range(phase.trainable[0], phase.depth + 1)
    if not phase.layerwise_lr_decay and len({config.lr_of(phase, k) for k in stages}) <= 1:
        params = [p for p in stack.parameters() if p.requires_grad]
        params += [p for kept in auxiliary.values() for p in kept]
        return [{"params": params, "peak": config.lr_of(phase), "factor": 1.0}]
    return [
        {
            "params": [p for p in stack.stages[k - 1].parameters() if p.requires_grad] + auxiliary.get(k, []),
            "peak": config.lr_of(phase, k),
            "factor": config.rate_decay ** (k - phase.depth) if phase.layerwise_lr_decay else 1.0,
        }
        for k in stages
    ]


def gradient_norm(params: list[nn.Parameter], clip: float | None) -> Tensor:
    """Return the global norm of the gradients before they are scaled down to `clip` (None: no clipping)."""
    grads = [p.grad for p in params if p.grad is not None]
    norm = nn.utils.get_total_norm(grads)
    if clip is not None:
        nn.utils.clip_grads_with_norm_(params, clip, norm)
    return norm
