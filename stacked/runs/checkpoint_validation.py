"""Whether what a checkpoint holds is what its run keeps: a file that is whole may still come from other code, or a hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stacked.components.optim import OPTIMISERS
from stacked.evaluation.curves import State
from stacked.model.stack import StackedAutoencoder
from stacked.runs.checkpoint import Saved
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.fit import Training, named
from stacked.util.checks import need, whole
from stacked.util.errors import InputError
from stacked.util.serialization import from_dict

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Place:
    """The plain values of a place inside a phase, as `Training.state` gives them, and the phase's `updates`."""

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
    """Say of which checkpoint it is that something in it does not fit, and what to do."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{saved.path} does not fit its run ({error}): move it away, and the run goes on from the one before it"
        ) from error


def phase_of(saved: Saved, phases: list[Phase]) -> Phase:
    """The phase in or after which a checkpoint was written; InputError when the run has none such."""
    number = saved.phases + (1 if saved.update else 0)
    with fitting(saved):
        need(1 <= number <= len(phases), f"it is of phase {number}, and the run has {len(phases)}")
    return phases[number - 1]


def restore_stack(saved: Saved, stack: StackedAutoencoder) -> State:
    """Give the stack, at the depth it had, the weights it had; returns the run's state. InputError for what does not fit."""
    with fitting(saved):
        own = {name: value for name, value in saved.tensors.items() if name.startswith("stages.")}
        same_kind(own, stack.state_dict())
        need(saved.update > 0 or own.keys() == saved.tensors.keys(), "it has tensors of a place inside a phase")
        need(("training" in saved.state) == (saved.update > 0), "it does not say where in its phase it was")
        state = State.of({name: value for name, value in saved.state.items() if name != "training"})
    stack.load_state_dict(own)
    return state


def place_of(saved: Saved) -> Place:
    """The place inside a phase that a checkpoint is of; InputError for what is none."""
    with fitting(saved):
        place = from_dict(Place, saved.state["training"])
        need(saved.update == place.update + place.lost, f"it is of update {saved.update}, and its state of another")
    return place


def restore_training(saved: Saved, training: Training, place: Place) -> None:
    """Go on inside a phase; InputError for what does not fit it, before anything is changed."""
    others = {name: value for name, value in saved.tensors.items() if not name.startswith("stages.")}
    with fitting(saved):
        need((place.back is not None) == (training.config.on_fault == "rollback"), "it has another way to meet faults")
        check_training(training, {n: v for n, v in others.items() if not n.startswith("back/")}, place)
        if place.back is not None:
            back = named("back/", others)
            same_kind(named("stack/", back), training.stack.state_dict())
            rest = {name: value for name, value in back.items() if not name.startswith("stack/")}
            check_training(training, rest, from_dict(Place, place.back | {"updates": place.updates}))
    training.restore(others, saved.state["training"])


def check_training(training: Training, tensors: Tensors, place: Place) -> None:
    """Raise InputError unless these are what a training at this place keeps beside its stack."""
    groups = {name.partition("/")[0] for name in tensors}
    need(groups <= {"optimiser", "head", "best", "losses"}, f"it has tensors of {', '.join(sorted(groups))}")
    losses = tensors.get("losses")
    need(
        losses is not None and losses.dtype == torch.float32 and losses.dim() == 1 and len(losses) <= training.every,
        "it lacks the losses since the last point",
    )
    same_kind(named("head/", tensors), training.objective.state_dict())
    best = named("best/", tensors)
    need(bool(best) == (place.best is not None), "it has best weights or their loss, and not both")
    need(not best or training.stopping is not None, "it has best weights of a phase without patience")
    same_kind(best, training.stack.state_dict() if best else {})
    expected = optimiser_keys(training.config)
    found = named("optimiser/", tensors)
    of = {name.partition("/")[2] for name in found}
    need(
        of <= training.params.keys(),
        f"its optimiser has other parameters: {', '.join(sorted(of - training.params.keys()))}",
    )
    need(
        bool(of) == (bool(expected) and place.update > place.skipped), "its optimiser has made another number of steps"
    )
    missing = sorted(training.params.keys() - of) if of else []
    need(not missing, f"its optimiser lacks {', '.join(missing)}")
    like = {
        f"{key}/{name}": training.params[name] if own else torch.zeros(())
        for name in of
        for key, own in expected.items()
    }
    same_kind(found, like)


def optimiser_keys(config: Optimisation) -> dict[str, bool]:
    """What an optimiser keeps of a parameter it has changed, by name, and whether that has the parameter's shape."""
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.zeros(2)
    optimiser = OPTIMISERS[config.optimiser]([{"params": [parameter]}], config.weight_decay, config.momentum)
    optimiser.step()
    kept = optimiser.state[parameter].items()
    return {key: value.shape == parameter.shape for key, value in kept if value is not None}


def same_kind(found: Tensors, own: Tensors) -> None:
    """Raise InputError unless both have tensors of the same names, shapes and types."""
    for name in sorted(found.keys() | own.keys()):
        need(name in own, f"it has a tensor {name!r} that the run has not")
        need(name in found, f"it lacks the tensor {name!r}")
        there, here = (f"{each.dtype} {list(each.shape)}".removeprefix("torch.") for each in (found[name], own[name]))
        need(there == here, f"tensor {name!r} is {there} there and {here} here")
