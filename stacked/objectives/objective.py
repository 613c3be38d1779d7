"""The interface of an objective: a loss of a block's code, with auxiliary parameters of its own."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from stacked.stages.stage import Shape, Stage


@dataclass(frozen=True)
class ObjectiveSettings:
    """What the constructor of an objective needs to know; shapes are without the batch.

    code_shape: of the block's code. image_shape: of the examples, images or others. classes: number of classes of the data (0:
    they have none). loss: name of the loss by which examples are reconstructed. output: activation of their reconstruction.
    """

    code_shape: Shape
    image_shape: Shape
    classes: int = 0
    loss: str = "mse"
    output: str = "sigmoid"


class ObjectiveTargets(NamedTuple):
    """What is known of a batch: its clean images [B, C, ...] and its labels, int64 [B]; None where no objective needs them."""

    images: Tensor | None = None
    labels: Tensor | None = None


@dataclass(frozen=True)
class EncodedBatch:
    """A batch as a block encodes it.

    codes: the block's code [B, ...] of each view, with gradients to the block. A view is the input with its own random
    corruption; there are as many as the `views` of the block's most demanding objective. targets: what is known of the batch.
    input_loss: function that returns the loss of reconstructing, through the block's decoders, what the block reads: a scalar
    in `forward`, and [B] in `per_example`. left_out: bool [B, 1, ...], True at the positions of the first view's code that the
    block left out because the corruption hid them, whose code is 0 (None: it left none out).
    """

    codes: tuple[Tensor, ...]
    targets: ObjectiveTargets
    input_loss: Callable[[], Tensor]
    left_out: Tensor | None = None

    @property
    def code(self) -> Tensor:
        """The code of the first view [B, ...]."""
        return self.codes[0]

    @property
    def images(self) -> Tensor:
        """The clean images [B, C, ...], for objectives that need them."""
        assert self.targets.images is not None
        return self.targets.images

    @property
    def labels(self) -> Tensor:
        """The labels, int64 [B], for objectives that need them."""
        assert self.targets.labels is not None
        return self.targets.labels


class Objective(nn.Module, ABC):
    """A loss of a block's code. Its parameters are trained with the block and dropped after the phase.

    A subclass sets `name` (its name in specs) and what it needs, and returns its loss from `per_example`, or from `forward` too
    where that is not the mean over the examples. The constructor takes `ObjectiveSettings` and options as keywords, each with a
    default. An objective has parameters and no buffers: a norm inside it is not a batch norm, so that evaluating it changes
    nothing. It draws random numbers in its constructor only.
    """

    name: ClassVar[str]
    needs_labels: ClassVar[bool] = False
    needs_images: ClassVar[bool] = False
    #: codes of how many independently corrupted versions of the input it compares: 1, or 2 (then the input must be corrupted)
    views: ClassVar[int] = 1
    #: the fewest examples of a batch: 2 where examples are compared with each other
    least_batch: ClassVar[int] = 1
    #: what it reconstructs: "input", through the block's own decoders, "images", through its own layers, or "" for nothing
    restores: ClassVar[str] = ""

    def __init__(self, settings: ObjectiveSettings) -> None:
        super().__init__()

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the options of this objective with their defaults."""
        return {name: p.default for name, p in list(inspect.signature(cls).parameters.items())[1:]}

    @classmethod
    def check(cls, **options: Any) -> None:
        """Raise InputError for options that are invalid whatever the block."""

    @classmethod
    def refuses(cls, kind: type[Stage], **options: Any) -> str | None:
        """Return why a block whose last stage is of this kind cannot have the objective, with what to do (None: it can)."""
        return None

    @classmethod
    def check_code(cls, code_shape: Shape, **options: Any) -> None:
        """Raise InputError for the code of a block, whose shape is without the batch, that the objective cannot read."""

    @classmethod
    def takes_left_out(cls, **options: Any) -> bool:
        """Whether its loss is that of what the block leaves out alone; it needs such a block and an elementwise loss."""
        return False

    @abstractmethod
    def per_example(self, batch: EncodedBatch) -> Tensor:
        """Return the loss of each example [B]; early stopping reads their mean over the validation images."""

    def forward(self, batch: EncodedBatch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        return self.per_example(batch).mean()


def in_float32(values: Tensor) -> Tensor:
    """Return values in float32, or float64 as they are: in half precision sums over a batch and small numbers are lost."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
