"""Validation of checkpoints: even a file with the right checksum may come from another version or have been edited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stacked.components.lbfgs import LBFGS
from stacked.components.optim import OPTIMISERS
from stacked.evaluation.fine_tuning import FineTuning
from stacked.model.stack import StackedAutoencoder
from stacked.runs.checkpoint import ELAPSED_KEY, Saved
from stacked.runs.run_state import RunState
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.fit import Training, without_prefix
from stacked.util.checks import need, whole
from stacked.util.errors import InputError
from stacked.util.serialization import from_dict

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """The plain values of `Training.state` in a checkpoint inside a phase, by stored key, and the phase's number of `updates`."""

    update: int
    updates: int
    seconds: float
    valid_loss: float | None
    last_loss: float
    skipped: int
    in_a_row: int
    rollbacks: int
    lost: int
    best: float | None = None
    waited: int = 0
    back: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("skipped", "in_a_row", "rollbacks", "lost", "waited"):
            whole(getattr(self, name), name, 0)
        whole(self.updates, "updates")
        need(0 <= self.update <= self.updates, f"update {self.update} is not one of {self.updates}")


@contextmanager
def fitting(saved: Saved) -> Iterator[None]:
    """Context that adds the path of a checkpoint, and what to do, to an InputError about its content."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{saved.path} does not fit its run ({error}): move it away to resume from the checkpoint before it"
        ) from error


def phase_of(saved: Saved, phases: list[Phase]) -> Phase:
    """Return the phase in or after which a checkpoint was written; InputError if the run has no such phase."""
    number = saved.phases + (1 if saved.update else 0)
    with fitting(saved):
        need(1 <= number <= len(phases), f"it is of phase {number}, and the run has {len(phases)}")
    return phases[number - 1]


def restore_stack(saved: Saved, stack: StackedAutoencoder) -> RunState:
    """Load the weights of a checkpoint into a stack of its depth and return the run's state; InputError if they do not fit."""
    with fitting(saved):
        own = {name: value for name, value in saved.tensors.items() if name.startswith("stages.")}
        same_kind(own, stack.state_dict())
        need(saved.update > 0 or own.keys() == saved.tensors.keys(), "it has tensors of a checkpoint inside a phase")
        inside = {"training", "classifier"} & saved.state.keys()
        need(len(inside) == (saved.update > 0), "it lacks the state of training inside a phase")
        state = RunState.of({name: value for name, value in saved.state.items() if name not in {*inside, ELAPSED_KEY}})
    stack.load_state_dict(own)
    return state


def training_state(saved: Saved) -> TrainingState:
    """Return the state of training in a checkpoint inside a phase; InputError if it is invalid."""
    with fitting(saved):
        state = from_dict(TrainingState, saved.state["training"])
        need(saved.update == state.update + state.lost, f"it is of update {saved.update}, and its state of another")
    return state


def restore_training(saved: Saved, training: Training, state: TrainingState) -> None:
    """Resume training inside a phase; InputError, before anything is changed, if the checkpoint does not fit it."""
    others = {name: value for name, value in saved.tensors.items() if not name.startswith("stages.")}
    with fitting(saved):
        need(
            (state.back is not None) == (training.config.on_nonfinite == "rollback"),
            "it was written with another on_nonfinite",
        )
        check_training(training, {n: v for n, v in others.items() if not n.startswith("back/")}, state)
        if state.back is not None:
            back = without_prefix("back/", others)
            same_kind(without_prefix("stack/", back), training.stack.state_dict())
            rest = {name: value for name, value in back.items() if not name.startswith("stack/")}
            check_training(training, rest, from_dict(TrainingState, state.back | {"updates": state.updates}))
    training.restore(others, saved.state["training"])


def check_training(training: Training, tensors: Tensors, state: TrainingState) -> None:
    """Raise InputError unless these are the tensors that a training in this state keeps beside its stack."""
    groups = {name.partition("/")[0] for name in tensors}
    need(groups <= {"optimiser", "head", "best", "losses"}, f"it has tensors of {', '.join(sorted(groups))}")
    losses = tensors.get("losses")
    need(
        losses is not None and losses.dtype == torch.float32 and losses.dim() == 1 and len(losses) <= training.every,
        "it lacks the losses since the last metrics",
    )
    same_kind(without_prefix("head/", tensors), training.objective.state_dict())
    best = without_prefix("best/", tensors)
    need(bool(best) == (state.best is not None), "it has best weights or their loss, and not both")
    need(not best or training.stopping is not None, "it has best weights, and the phase has no early stopping")
    same_kind(best, training.stack.state_dict() if best else {})
    expected = optimiser_keys(training.config)
    found = without_prefix("optimiser/", tensors)
    of = {name.partition("/")[2] for name in found}
    need(
        of <= training.params.keys(),
        f"its optimiser has other parameters: {', '.join(sorted(of - training.params.keys()))}",
    )
    need(
        bool(of) == (bool(expected) and state.update > state.skipped), "its optimiser has made another number of steps"
    )
    missing = sorted(training.params.keys() - of) if of else []
    need(not missing, f"its optimiser lacks {', '.join(missing)}")
    like = {
        f"{key}/{name}": training.params[name] if own else torch.zeros(())
        for name in of
        for key, own in expected.items()
    }
    same_kind(found, like)


@dataclass(frozen=True)
class FineTuningState:
    """The plain values of `FineTuning.state` in a checkpoint inside the fine-tuning of a classifier or regressor."""

    training: dict[str, Any]
    recalibrated: int
    rate: int
    best: tuple[float, float, int] | None
    waited: int
    best_of_rate: float | None
    updates_made: int
    recalibrations: int

    def __post_init__(self) -> None:
        for name in ("recalibrated", "rate", "waited", "updates_made", "recalibrations"):
            whole(getattr(self, name), name, 0)


def restore_fine_tuning(saved: Saved, fine_tuning: FineTuning) -> None:
    """Resume the fine-tuning of a classifier; InputError, before anything is changed, if the checkpoint does not fit it."""
    tensors = without_prefix("classifier/", saved.tensors)
    with fitting(saved):
        plain = saved.state["classifier"]
        state = from_dict(FineTuningState, plain)
        need(state.rate < len(fine_tuning.config.lrs), f"it has learning rate number {state.rate}")
        training = from_dict(TrainingState, state.training | {"updates": fine_tuning.updates})
        need(saved.update == state.rate * fine_tuning.updates + training.update, f"it is of update {saved.update}")
        groups = {name.partition("/")[0] for name in tensors}
        need(groups <= {"training", "trained", "kept"}, f"it has tensors of {', '.join(sorted(groups))}")
        kept = without_prefix("kept/", tensors)
        need(bool(kept) == (state.best is not None), "it has a best classifier or its accuracy, and not both")
        same_kind(kept, fine_tuning.model.state_dict() if kept else {})
        same_kind(without_prefix("trained/", tensors), fine_tuning.training.stack.state_dict())
        check_training(fine_tuning.training, without_prefix("training/", tensors), training)
    fine_tuning.restore(tensors, plain)


def optimiser_keys(config: Optimisation) -> dict[str, bool]:
    """Return the names of an optimiser's tensors per updated parameter, and whether each has the parameter's shape."""
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.zeros(2)
    optimiser = OPTIMISERS[config.optimiser](
        [{"params": [parameter]}], config.weight_decay, config.momentum, config.nesterov
    )
    if isinstance(optimiser, LBFGS):
        return {}
    optimiser.step()
    kept = optimiser.state[parameter].items()
    return {key: value.shape == parameter.shape for key, value in kept if value is not None}


def same_kind(found: Tensors, own: Tensors) -> None:
    """Raise InputError unless both have tensors of the same names, shapes and dtypes."""
    for name in sorted(found.keys() | own.keys()):
        need(name in own, f"it has a tensor {name!r} that the run does not have")
        need(name in found, f"it lacks the tensor {name!r}")
        there, here = (f"{each.dtype} {list(each.shape)}".removeprefix("torch.") for each in (found[name], own[name]))
        need(there == here, f"its tensor {name!r} is {there}, and that of the run is {here}")
