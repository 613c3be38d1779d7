"""A stack trained as a spec says, and nothing else: no splits, no measurements, no record."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from stacked.data.stream import Order
from stacked.model.batch_norm import check_batch
from stacked.model.stack import StackedAutoencoder, grow
from stacked.runtime.environment import device_of
from stacked.runtime.free_memory import free_bytes
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.stages.initialise import resample
from stacked.stages.stage import Shape
from stacked.training.codes import Inputs, Prefix, inputs, plan
from stacked.training.fit import fit
from stacked.util.checks import need

After = Callable[[Phase, StackedAutoencoder], None]
#: updates from one look at the losses to the next: a look waits for the device
EVERY = 100


class Values:
    """Floats [N, ...] kept as they are, given by index."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __call__(self, index: Tensor) -> Tensor:
        return self.values[index.to(self.values.device)]

    def __len__(self) -> int:
        return len(self.values)


@own_settings()
def pretrain(
    spec: RunSpec, images: Inputs, shape: Shape, *, device: str = "cpu", after: After = lambda phase, stack: None
) -> StackedAutoencoder:
    """The stack that the phases of `spec` make of `images`, each of `shape`, in eval mode.

    images: floats by index, as `Images` of uint8 or `Values` give them. What the spec says of data, evaluation and
    classification is not looked at. after: called when a phase has ended. Raises InputError for a spec that learns classes or
    stops early, which need labels and validation images (see `stacked.runs.run`), and Diverged when a loss is not finite.
    """
    how, where = spec.optimisation, device_of(device)
    order, stack, done = Order(len(images), how.batch_size, spec.seed), StackedAutoencoder(shape), 0
    phases = spec.phases(order.updates_per_epoch)
    for phase in phases:
        need(phase.target != "labels", f"policy {spec.policy!r} learns classes: train it with stacked.runs.run.run")
        need(how.patience_of(phase) is None, "early stopping needs validation images: train with stacked.runs.run.run")
    if any(phase.updates for phase in phases):
        check_batch(spec.stack, shape, how.batch_size, order.n)
    for phase in phases:
        grow(stack, spec, phase.depth, where)
        if phase.resamples:
            resample(stack, spec.seed)
        if not phase.updates:
            continue
        stack.learn_only(*phase.learn).eval()
        below = Prefix.of(stack, phase.reads)
        mode = plan(below, order.n, phase.updates, order.size, free=free_bytes(where)).mode
        reads = inputs(stack, phase.reads, images, mode, order.size)
        targets = images if phase.target == "pixels" else None
        training = fit(stack, phase, reads, how, order=order, seed=spec.seed, done=done, every=EVERY, targets=targets)
        for _ in training:
            pass
        done += phase.updates
        after(phase, stack)
    grow(stack, spec, spec.stack.depth, where)
    return stack.eval()
