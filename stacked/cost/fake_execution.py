"""Fake execution of an update, operation by operation, on tensors with a shape but no values.

It takes milliseconds and no memory, whatever the size of the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from stacked.components.corruption import Corrupted
from stacked.components.lbfgs import LBFGS, vectors
from stacked.components.optim import OPTIMISERS
from stacked.cost.live_bytes import LiveBytes
from stacked.model.head import build_head
from stacked.model.stack import StackedAutoencoder, next_stage
from stacked.objectives.objective import ObjectiveTargets
from stacked.spec import Optimisation, StackSpec
from stacked.spec.growth import Phase
from stacked.spec.objectives import needs_images, needs_labels
from stacked.stages.stage import Shape, Stage
from stacked.training.backward import replace_gradients
from stacked.training.codes import Target
from stacked.training.fit import parameter_groups
from stacked.training.phase_loss import PhaseLoss

#: operations that move no data
VIEWS = frozenset(
    {
        "alias",
        "as_strided",
        "detach",
        "device",
        "expand",
        "permute",
        "select",
        "slice",
        "split",
        "squeeze",
        "t",
        "transpose",
    }
    | {"unbind", "unsqueeze", "view", "_unsafe_view", "_record_function_enter_new", "_record_function_exit"}
)
#: the beginning of the names of operations that compute attention in one kernel
ATTENTION = "_scaled_dot_product"

#: kind and width of a head, as `build_head` takes them
Head: TypeAlias = tuple[str, int]
LINEAR: Head = ("linear", 0)


@dataclass(frozen=True)
class Operation:
    """An operation of torch: its FLOPs, and the bytes that it reads and writes."""

    name: str
    flop: int
    bytes: int


@dataclass(frozen=True)
class Work:
    """A sequence of operations, and the most bytes alive at once."""

    operations: tuple[Operation, ...]
    peak_bytes: int = 0

    @property
    def flop(self) -> int:
        """The total FLOPs."""
        return sum(one.flop for one in self.operations)


class OperationLog(TorchDispatchMode):
    """Records all operations except those that move no data."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result, packet = func(*args, **kwargs), func._overloadpacket
        if packet.__name__ not in VIEWS:
            flop = flop_registry[packet](*args, **kwargs, out_val=result) if packet in flop_registry else 0
            tensors = {id(leaf): leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)}
            moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
            self.operations.append(Operation(packet.__name__, flop, moved))
        return result


class FakeUpdate:
    """Updates of `phase` by fake execution: examples have no values, and only the operations are recorded."""

    def __init__(
        self,
        stack: StackedAutoencoder,
        phase: Phase,
        config: Optimisation,
        batch_size: int,
        classes: int = 0,
        head: Head = LINEAR,
    ) -> None:
        self.stack, self.phase, self.config, self.batch_size = (
            stack.learn_only(*phase.trainable).train(),
            phase,
            config,
            batch_size,
        )
        self.objective = PhaseLoss(stack, phase, config, classes=classes, head=head_of(stack, phase, classes, head))
        groups = parameter_groups(stack, phase, config, self.objective.auxiliary())
        self.optimiser = OPTIMISERS[config.optimiser](groups, config.weight_decay, config.momentum, config.nesterov)

    def update(self) -> None:
        """Run the forward pass, the backward pass and the optimiser's step; for L-BFGS one evaluation of loss and gradient."""
        read, target = examples(self.stack, self.phase, self.config, self.batch_size)
        replace_gradients(self.objective, self.optimiser, read, target, step=0)
        if not isinstance(self.optimiser, LBFGS):  # whose course depends on values
            self.optimiser.step()

    def work(self) -> Work:
        """Return the operations of the second update, and the most bytes alive in the first two updates.

        Gradients and optimiser state exist from the second update on.
        """
        kept = []  # what is kept beside weights, gradients and moments
        with LiveBytes() as live:
            for module in (self.stack, self.objective):
                for tensor in [*module.parameters(), *module.buffers()]:
                    live.add(tensor)
            if self.config.patience_of(self.phase):  # early stopping keeps the best weights
                kept = [tensor.clone() for tensor in self.stack.state_dict().values()]
            if isinstance(self.optimiser, LBFGS):
                weights = sum(p.numel() for group in self.optimiser.param_groups for p in group["params"])
                kept.append(torch.empty(weights * vectors(self.config.lbfgs_iterations)))
            self.update()
            with OperationLog() as log:
                self.update()
            del kept
        # the matrix products of attention, which take more memory than the kernel that computes it, are counted separately
        has_attention = any(operation.name.startswith(ATTENTION) for operation in log.operations)
        return Work(tuple(operations_of(self.update) if has_attention else log.operations), live.peak)


def examples(stack: StackedAutoencoder, phase: Phase, config: Optimisation, n: int) -> tuple[Tensor, Target | None]:
    """Return random inputs in [0, 1) and targets (class 0) with the shapes that `n` images have in `phase`."""
    read = torch.rand(n, *stack.shapes(stack.input_shape)[phase.input_depth])
    images = torch.rand(n, *stack.input_shape) if needs_images(phase, config) else None
    labels = torch.zeros(n, dtype=torch.int64) if needs_labels(phase, config) else None
    if phase.target == "objectives":
        return read, ObjectiveTargets(images, labels)
    return read, labels if phase.target == "labels" else images


@contextmanager
def fake_stack(spec: StackSpec, shape: Shape, depth: int) -> Iterator[StackedAutoencoder]:
    """Context that yields a stack of `depth` stages for images of `shape`; tensors made inside it have no values.

    Stacks of the same spec and shape share their stages, which are made once.
    """
    mode, stages = _fake_stages(spec, tuple(shape))
    with mode:
        while len(stages) < depth:
            stage = next_stage(StackedAutoencoder(shape, stages), spec)
            for weight in stage.parameters():  # the memory layout of `grow`; Module.to does not work here
                if weight.dim() == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
            stages.append(stage)
        stack = StackedAutoencoder(shape, stages[:depth])
        stack.zero_grad()  # of an earlier count
        yield stack


@lru_cache(8)
def _fake_stages(spec: StackSpec, shape: Shape) -> tuple[FakeTensorMode, list[Stage]]:
    """Return the mode in which fake stages of a stack are made, and the list of those made so far."""
    return FakeTensorMode(allow_non_fake_inputs=True), []


def head_of(stack: StackedAutoencoder, phase: Phase, classes: int, head: Head) -> nn.Module | None:
    """Return a head of a phase that learns labels, else None."""
    values = torch.Size(stack.shapes(stack.input_shape)[phase.depth]).numel()
    return build_head(values, classes, *head) if phase.target == "labels" else None


def update(
    spec: StackSpec,
    shape: Shape,
    phase: Phase,
    config: Optimisation,
    batch: int,
    classes: int = 0,
    head: Head = LINEAR,
) -> Work:
    """Return the work of an update of `phase`, without the frozen stages: forward and backward pass, and optimiser step."""
    with fake_stack(spec, shape, phase.depth) as stack:
        return FakeUpdate(stack, phase, config, batch, classes, head).work()


def longest_block(
    spec: StackSpec, shape: Shape, phase: Phase, config: Optimisation, batch: int, classes: int = 0
) -> int:
    """Return the FLOPs of an update in the block that has most, of a phase whose blocks learn alone.

    A block's FLOPs are those of its forward and backward passes, and of encoding what the block above reads.
    """
    with fake_stack(spec, shape, phase.depth) as stack:
        fake, starts = FakeUpdate(stack, phase, config, batch, classes), dict[int, int]()
        encode = fake.objective.encode
        with OperationLog() as log, sdpa_kernel(SDPBackend.MATH):

            def noted(noisy: Corrupted, first: int, *args: Any, **options: Any) -> Any:
                # a block encodes for the first time after the backward pass of the one below
                starts.setdefault(first, len(log.operations))
                return encode(noisy, first, *args, **options)

            fake.objective.encode = noted  # type: ignore[method-assign]
            fake.update()
    ends = [*starts.values(), len(log.operations)]
    return max(sum(one.flop for one in log.operations[start:end]) for start, end in pairwise(ends))


def recalibration(
    spec: StackSpec,
    shape: Shape,
    phase: Phase,
    config: Optimisation,
    batch: int,
    classes: int = 0,
    head: Head = LINEAR,
) -> Work:
    """Return the work of recalibrating the running statistics of `phase` on one batch."""
    with fake_stack(spec, shape, phase.depth) as stack, torch.no_grad():
        stack.learn_only(*phase.trainable).train()
        objective = PhaseLoss(stack, phase, config, classes=classes, head=head_of(stack, phase, classes, head))
        read = examples(stack, phase, config, batch)
        return Work(tuple(operations_of(lambda: objective.loss_per_example(*read))))


def encoding(spec: StackSpec, shape: Shape, depth: int, batch: int) -> Work:
    """Return the work of encoding a batch of images to `depth` with frozen stages."""
    with fake_stack(spec, shape, depth) as stack, torch.no_grad():
        stack.eval()
        images = torch.rand(batch, *shape)
        return Work(tuple(operations_of(lambda: stack.encode(images, depth))))


def reconstruction(spec: StackSpec, shape: Shape, depth: int, batch: int) -> Work:
    """Return the work of encoding a batch of images to `depth` and decoding it, as evaluations do."""
    with fake_stack(spec, shape, depth) as stack, torch.no_grad():
        stack.eval()
        images = torch.rand(batch, *shape)
        return Work(tuple(operations_of(lambda: stack.reconstruct(images, depth))))


def operations_of(do: Callable[[], Any]) -> list[Operation]:
    """Return the operations of a call; attention counts as its matrix products, whatever kernel computes it."""
    with OperationLog() as log, sdpa_kernel(SDPBackend.MATH):
        do()
    return log.operations
