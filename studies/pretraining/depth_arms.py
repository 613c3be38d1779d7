"""The arms of the study of depth: a classifier and an autoencoder of each method and depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from studies.design.arms import Arm
from studies.design.search import LogRange

PLAIN, LONGER, PRETRAINED = "logistic", "logistic, longer", "logistic, pretrained"
#: Updates of a classifier of LONGER for each update of the others. The FLOPs of pretraining are 1.7 times (ten layers) to 2.5
#: times (one layer) those of fine-tuning a classifier for as many epochs.
MORE = 3.5
#: the range of the learning rate of autoencoders for --tune, of the mean loss over 784 pixels
RATE = LogRange(0.1, 30.0)
_AUTOENCODER = ", autoencoder"


@dataclass(frozen=True)
class Method:
    """How the layers of an arm are made and trained.

    activation: of all codes. init, norm: as in `StackSpec`. residual: whether layers above the first are residual. lr: learning
    rate of autoencoders that are not tuned.
    """

    activation: str
    init: str
    norm: str
    residual: bool
    lr: float


LOGISTIC = Method("sigmoid", "uniform", "none", False, 10.0)
#: every method by its name, in the order of the questions
METHODS = {
    PLAIN: LOGISTIC,
    LONGER: LOGISTIC,
    PRETRAINED: LOGISTIC,
    "ReLU": Method("relu", "he", "none", False, 1.0),
    "ReLU, batch norm": Method("relu", "he", "batch", False, 1.0),
    "ReLU, batch norm, residual": Method("relu", "he", "batch", True, 1.0),
}


class Place(NamedTuple):
    """What an arm is: its method, its number of layers, and whether it is an autoencoder."""

    method: str
    depth: int
    is_autoencoder: bool


def classifier(method: str, depth: int) -> str:
    """Return the name of the arm of a classifier: "logistic, 2 layers"."""
    return f"{method}, {depth} layer{'s' * (depth > 1)}"


def autoencoder(method: str, depth: int) -> str:
    """Return the name of the arm of an autoencoder: "logistic, 2 layers, autoencoder"."""
    return classifier(method, depth) + _AUTOENCODER


def place(arm: str) -> Place:
    """Return what the arm of this name is."""
    method, _, layers = arm.removesuffix(_AUTOENCODER).rpartition(", ")
    return Place(method, int(layers.split()[0]), arm.endswith(_AUTOENCODER))


def stages(width: int, depth: int, method: Method = LOGISTIC) -> list[dict[str, Any]]:
    """Return `depth` dense stages of equal width; the first one, which reads the pixels, has no residual connection."""
    first = {"kind": "dense", "width": width, "activation": method.activation}
    above = first | ({"options": {"residual": True}} if method.residual else {})
    return [first, *([above] * (depth - 1))]


def arms(width: int, depths: Sequence[int], epochs: float) -> tuple[Arm, ...]:
    """Return the arms of all methods for these depths, the shallow ones first; residual ones from two layers on.

    epochs: of a classifier; MORE times as many for LONGER. An autoencoder of LONGER has the FLOPs of that of PRETRAINED.
    """
    found = []
    for depth in depths:
        for name, method in METHODS.items():
            if method.residual and depth == 1:
                continue  # without a layer above the first it is the method without residual connections
            changes: dict[str, Any] = {
                "stack.init": method.init,
                "stack.norm": method.norm,
                "stack.stages": stages(width, depth, method),
                "optimisation.lr": method.lr,
            }
            found += [
                Arm(
                    classifier(name, depth),
                    "greedy" if name == PRETRAINED else "random",
                    changes | ({"classification.epochs": MORE * epochs} if name == LONGER else {}),
                    own_budget=True,
                    search={"optimisation.lr": RATE},
                ),
                Arm(
                    autoencoder(name, depth),
                    "greedy+finetune" if name == PRETRAINED else "joint",
                    changes | {"classification.labels": []},
                    own_budget=name != LONGER,
                    cost_of=autoencoder(PRETRAINED, depth) if name == LONGER else "",
                    search={"optimisation.lr": RATE},
                ),
            ]
    return tuple(found)
