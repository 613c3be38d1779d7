"""What a phase minimises: the one place where stack, corruption, losses and penalties meet.

All that distinguishes phases is a field of Phase; the training loop asks for a number and its gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from stacked.components.corruption import Corrupted, corrupt
from stacked.components.objectives import LOSSES, Loss, emphasised, mse, per_example, rectified_mse
from stacked.components.penalties import PENALTIES
from stacked.components.winner_take_all import WINNERS
from stacked.model.batch_norm import unnoticed
from stacked.model.stack import StackedAutoencoder, Switches
from stacked.runtime.rng import generator, seeded
from stacked.spec import Optimisation
from stacked.spec.growth import Phase

#: (stage, what it read, its code) of the stages that a batch went through
Codes = list[tuple[int, Tensor, Tensor]]


class PhaseLoss(nn.Module):
    """The loss of `phase`, of clean inputs [B, ...] at depth `phase.input_depth` and their targets.

    Targets are the images [B, C, H, W] where the phase reconstructs the pixels through frozen decoders, labels int64 [B]
    where it learns the `classes`, else None. A linear head for the classes (`head`; None: a new one) is all the parameters it has
    of its own; decoders do not learn then, not even from a penalty.
    Corruption and estimates are drawn for the run's update `step`.
    """

    def __init__(
        self,
        stack: StackedAutoencoder,
        phase: Phase,
        config: Optimisation,
        *,
        seed: int = 0,
        classes: int = 0,
        head: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self._stack = (stack,)  # in a tuple: seen, not owned
        self.phase, self.config, self.seed = phase, config, seed
        self.head = head
        if phase.target == "labels":
            if head is None:
                values = torch.Size(stack.shapes(stack.input_shape)[phase.depth]).numel()
                with seeded(seed, "auxiliary head", phase.depth):
                    self.head = nn.Linear(values, classes)
                device = next(stack.parameters()).device
                if device.type != "cpu":
                    self.head.to(device)
            for stage in stack.stages[phase.trainable[0] - 1 : phase.depth]:
                stage.decoder.requires_grad_(False)
        self.differentiates = any(PENALTIES[name].differentiates for name, _ in config.penalties)

    @property
    def stack(self) -> StackedAutoencoder:
        """The stack that is trained."""
        return self._stack[0]

    def forward(self, clean: Tensor, target: Tensor | None, step: int) -> Tensor:
        """The mean over the batch of losses, and penalties."""
        return self.loss(clean, target, step, self.corrupt_input(clean, step))

    def corrupt_input(self, clean: Tensor, step: int) -> Corrupted:
        """What the phase sees in update `step` of the clean inputs."""
        return self.corrupted(clean, self.phase.input_depth + 1, step)

    def loss(self, clean: Tensor, target: Tensor | None, step: int, seen: Corrupted) -> Tensor:
        """The mean over the batch, of which `seen` was made."""
        phase = self.phase
        with twice_differentiable(self.differentiates):
            if phase.local_loss == "alone":
                return self.local_losses(clean, step, seen)
            first = phase.input_depth + 1
            codes, switches = self.encode(seen.x, first, phase.depth)
            loss = self.reconstruction_loss(
                seen, codes, switches, phase.depth, phase.target_depth, clean if target is None else target
            )
            codes = [(k, x, code) for k, x, code in codes if k >= phase.trainable[0]]
            loss = loss + self.penalties(codes, step)
            if phase.local_loss == "added":
                for k, x, code in codes:
                    # what the stage has made already serves, unless its own input is to be corrupted too
                    own = seen if k == first else self.corrupted(x, k, step)
                    again = k > first and own.x is not x
                    with unnoticed(self.stack.stages[k - 1]):
                        part, at = self.encode(own.x, k, k) if again else ([(k, x, code)], switches)
                        local = self.reconstruction_loss(own, part, at, k, k - 1, clean if k == first else x)
                    loss = loss + self.config.local_weight * local
            return loss

    def local_losses(self, clean: Tensor, step: int, seen: Corrupted) -> Tensor:
        """The sum of the losses of all learning stages, each on its current input; no gradient passes between them."""
        total, stack = torch.zeros((), device=clean.device), self.stack
        for k in range(self.phase.trainable[0], self.phase.depth + 1):
            if k > self.phase.trainable[0]:
                seen = self.corrupted(clean, k, step)
            codes, switches = self.encode(seen.x, k, k)
            total = (
                total + self.reconstruction_loss(seen, codes, switches, k, k - 1, clean) + self.penalties(codes, step)
            )
            if k < self.phase.depth:
                noisy = any(self.config.levels_at(k - 1))
                # in the running statistics this batch counts once, as what the stage has learnt from
                with torch.no_grad(), unnoticed(stack.stages[k - 1]):
                    clean = stack.stages[k - 1].encode(clean) if noisy else codes[0][2].detach()
        return total

    def encode(self, x: Tensor, first: int, last: int) -> tuple[Codes, Switches]:
        """What stages `first` to `last` make of x."""
        stack, codes, switches = self.stack, Codes(), Switches()
        if self.differentiates and not x.requires_grad:
            # a view, since torch's FLOP counter cannot follow a derivative by a leaf
            x = x.detach().requires_grad_().view_as(x)
        for k in range(first, last + 1):
            code, switches[k] = stack.stages[k - 1].encode_with_switches(x)
            codes.append((k, x, code))
            x = code
        return codes, switches

    def reconstruction_loss(
        self, seen: Corrupted, codes: Codes, switches: Switches, last: int, stop: int, target: Tensor
    ) -> Tensor:
        """The mean loss of the code of stage `last`, decoded to depth `stop`, or of its classes, against `target`."""
        code = codes[-1][2]
        if self.head is not None:
            return F.cross_entropy(self.head(code.flatten(1)), target)
        if self.config.winners and (last == self.phase.depth or self.phase.local_loss == "alone"):
            code = WINNERS[self.config.winners].of(code, self.config.winners_rate)
        # a target that moved with the stages below would draw them to codes that are easy to restore
        linear, activation, target, loss = (
            *self.restored(code, last, stop, switches),
            target.detach(),
            self.loss_at(stop),
        )
        if self.config.emphasis:
            return emphasised(loss.of(activation(linear), target), seen.hit, *self.config.emphasis).mean()
        if loss.of is mse and isinstance(activation, nn.ReLU):
            return rectified_mse(linear, target)
        return loss.mean(activation(linear), target)

    def loss_at(self, stop: int) -> Loss:
        """The loss of what is reconstructed at depth `stop`."""
        return LOSSES[self.config.loss_at(stop)]

    def restored(self, code: Tensor, depth: int, stop: int, switches: Switches) -> tuple[Tensor, nn.Module]:
        """A code at `depth` decoded to depth `stop`, and the activation that gives of it what the loss compares."""
        stack = self.stack
        linear = self.loss_at(stop).logits or (self.config.linear_decoder and self.phase.single)
        activation = nn.Identity() if linear else stack.stages[stop].decoder[-1]
        return stack.decode(code, depth, stop=stop, switches=switches, linear=True), activation

    def losses(self, code: Tensor, target: Tensor, depth: int, stop: int, switches: Switches) -> Tensor:
        """The losses [B] of a code at `depth`, decoded to depth `stop`."""
        output, activation = self.restored(code, depth, stop, switches)
        return per_example(self.loss_at(stop).of(activation(output), target))

    def corrupted(self, clean: Tensor, stage: int, step: int) -> Corrupted:
        """What stage `stage` sees of the clean input that it reads."""
        levels = self.config.levels_at(stage - 1)
        # the phase's own input is drawn by the update alone: arms that read the same thing share its corruption
        place = () if stage == self.phase.input_depth + 1 else (stage,)
        drawn = generator(self.seed, "corruption", step, *place, device=clean.device)
        return corrupt(self.config.corruption, clean, levels, drawn, self.config.corruption_patch)

    def penalties(self, codes: Codes, step: int) -> Tensor:
        """The weighted penalties of learning stages."""
        total = codes[0][2].new_zeros(())
        for k, x, code in codes:
            for name, weight in self.config.penalties:
                drawn = generator(self.seed, name, step, k, device=x.device)
                total = total + weight * PENALTIES[name].of(self.stack.stages[k - 1], x, code, drawn)
        return total

    def of_examples(self, clean: Tensor, target: Tensor | None) -> Tensor:
        """The loss of each example [B], without corruption and emphasis, penalties, winners and added local losses.

        It is what early stopping watches, and what running statistics are taken of anew.
        """
        phase, stack = self.phase, self.stack
        if phase.local_loss == "alone":
            total = torch.zeros(len(clean), device=clean.device)
            for k in range(phase.trainable[0], phase.depth + 1):
                code, at = stack.stages[k - 1].encode_with_switches(clean)
                total = total + self.losses(code, clean, k, k - 1, {k: at})
                clean = code
            return total
        code, switches = stack.encode_with_switches(clean, phase.depth, start=phase.input_depth)
        if self.head is not None:
            assert target is not None
            return F.cross_entropy(self.head(code.flatten(1)), target, reduction="none")
        return self.losses(code, clean if target is None else target, phase.depth, phase.target_depth, switches)


@contextmanager
def twice_differentiable(needed: bool) -> Iterator[None]:
    """Attention by kernels that have a second derivative, where a penalty on a derivative needs one."""
    if not needed:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield
