"""Peak memory of training: the bytes of all tensors alive at once in an update, counted and not sampled."""

from __future__ import annotations

import copy
import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stacked.components.optim import OPTIMISERS
from stacked.cost.flops import examples
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.fit import rates
from stacked.training.phase_loss import PhaseLoss


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations return, for as long as these live, and the largest sum of them.

    What a kernel allocates and frees inside itself is not seen. `peak` and `now` are in bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result

    def add(self, tensor: Tensor) -> None:
        """Count the storage of a tensor, once, until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


class Rehearsal:
    """Updates of `phase` on random examples, by which a stack that is not needed any more is trained."""

    def __init__(
        self, stack: StackedAutoencoder, phase: Phase, how: Optimisation, batch_size: int, classes: int = 0
    ) -> None:
        self.stack, self.phase, self.how, self.batch_size = (
            stack.learn_only(*phase.learn).train(),
            phase,
            how,
            batch_size,
        )
        self.objective = PhaseLoss(stack, phase, how, classes=classes)
        groups = rates(stack, phase, how, list(self.objective.parameters()))
        self.optimiser = OPTIMISERS[how.optimiser](groups, how.weight_decay, how.momentum)

    def update(self) -> None:
        """Forward, backward, and the optimiser's step."""
        read, target = examples(self.stack, self.phase, self.batch_size)
        loss = self.objective(read, target, step=0)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def peak_bytes(self) -> int:
        """The most bytes alive in the second update, by which gradients and optimiser state are there, or in the first."""
        best = []
        with LiveBytes() as live:
            for module in (self.stack, self.objective):
                for tensor in [*module.parameters(), *module.buffers()]:
                    live.add(tensor)
            if self.how.patience_of(self.phase):  # the best weights so far
                best = [tensor.clone() for tensor in self.stack.state_dict().values()]
            for _ in range(2):
                self.update()
            del best
        return live.peak


@own_settings()
def training_bytes(
    stack: StackedAutoencoder, phase: Phase, how: Optimisation, batch_size: int, classes: int = 0
) -> int:
    """The most bytes alive in an update of `phase`: the stack, its input, activations, gradients and optimiser state.

    And the copy of the best weights, where the phase may be ended early.
    """
    return Rehearsal(copy.deepcopy(stack).cpu(), phase, how, batch_size, classes).peak_bytes()
