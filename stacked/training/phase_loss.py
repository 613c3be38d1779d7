"""The loss of a phase, which combines stack, corruption, reconstruction losses and penalties.

Everything that distinguishes phases is a field of Phase; the training loop only asks for a scalar and its gradient.
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
from stacked.components.winner_take_all import WINNER_TAKE_ALL
from stacked.model.batch_norm import frozen_statistics
from stacked.model.stack import StackedAutoencoder, Switches
from stacked.runtime.rng import generator, seeded
from stacked.spec import Optimisation
from stacked.spec.growth import Phase

#: (stage number, its input, its code) for each stage that a batch has passed through
Codes = list[tuple[int, Tensor, Tensor]]


class PhaseLoss(nn.Module):
    """The loss of `phase` for clean inputs [B, ...] at depth `phase.input_depth` and their targets.

    The target is None if the phase reconstructs its input; images [B, C, H, W] if it reconstructs pixels through frozen
    decoders; labels int64 [B] if it learns `classes`. In the last case a linear head (`head`; None: a new one) is trained,
    the only parameters of this module, and decoders are not trained, not even by penalties. Corruption and random estimates
    are drawn for the run's update `step`.
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
        self._stack = (stack,)  # in a tuple, so that it is not registered as a submodule
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
        """Return the mean loss over the batch, with penalties, a scalar."""
        return self.loss(clean, target, step, self.corrupt_input(clean, step))

    def corrupt_input(self, clean: Tensor, step: int) -> Corrupted:
        """Return the clean inputs of the phase, corrupted for update `step`."""
        return self.corrupt(clean, self.phase.input_depth + 1, step)

    def loss(self, clean: Tensor, target: Tensor | None, step: int, noisy: Corrupted) -> Tensor:
        """Return the mean loss over the batch, whose corrupted version is `noisy`, with penalties."""
        phase = self.phase
        with twice_differentiable(self.differentiates):
            if phase.local_loss == "alone":
                return self.local_losses(clean, step, noisy)
            first = phase.input_depth + 1
            codes, switches = self.encode(noisy.x, first, phase.depth)
            loss = self.reconstruction_loss(
                noisy, codes, switches, phase.depth, phase.target_depth, clean if target is None else target
            )
            codes = [(k, x, code) for k, x, code in codes if k >= phase.trainable[0]]
            loss = loss + self.penalties(codes, step)
            if phase.local_loss == "added":
                for k, x, code in codes:
                    # reuse the stage's code, unless its own input has to be corrupted as well
                    own = noisy if k == first else self.corrupt(x, k, step)
                    again = k > first and own.x is not x
                    with frozen_statistics(self.stack.stages[k - 1]):
                        part, at = self.encode(own.x, k, k) if again else ([(k, x, code)], switches)
                        local = self.reconstruction_loss(own, part, at, k, k - 1, clean if k == first else x)
                    loss = loss + self.config.local_weight * local
            return loss

    def local_losses(self, clean: Tensor, step: int, noisy: Corrupted) -> Tensor:
        """Return the sum of the losses of all trained stages, each on its current input, without gradients between them."""
        total, stack = torch.zeros((), device=clean.device), self.stack
        for k in range(self.phase.trainable[0], self.phase.depth + 1):
            if k > self.phase.trainable[0]:
                noisy = self.corrupt(clean, k, step)
            codes, switches = self.encode(noisy.x, k, k)
            total = (
                total + self.reconstruction_loss(noisy, codes, switches, k, k - 1, clean) + self.penalties(codes, step)
            )
            if k < self.phase.depth:
                is_corrupted = any(self.config.levels_at(k - 1))
                # each batch must enter the running statistics once, by the pass that the stage was trained on
                with torch.no_grad(), frozen_statistics(stack.stages[k - 1]):
                    clean = stack.stages[k - 1].encode(clean) if is_corrupted else codes[0][2].detach()
        return total

    def encode(self, x: Tensor, first: int, last: int) -> tuple[Codes, Switches]:
        """Encode x by stages `first` to `last`; return the codes of all of them, and the masks of pooling stages."""
        stack, codes, switches = self.stack, Codes(), Switches()
        if self.differentiates and not x.requires_grad:
            # a view, because torch's FLOP counter does not support gradients with respect to a leaf
            x = x.detach().requires_grad_().view_as(x)
        for k in range(first, last + 1):
            code, switches[k] = stack.stages[k - 1].encode_with_switches(x)
            codes.append((k, x, code))
            x = code
        return codes, switches

    def reconstruction_loss(
        self, noisy: Corrupted, codes: Codes, switches: Switches, last: int, stop: int, target: Tensor
    ) -> Tensor:
        """Return the mean loss of the last code, decoded from depth `last` to `stop`, or classified, against `target`."""
        code = codes[-1][2]
        if self.head is not None:
            return F.cross_entropy(self.head(code.flatten(1)), target)
        if self.config.winner_take_all and (last == self.phase.depth or self.phase.local_loss == "alone"):
            code = WINNER_TAKE_ALL[self.config.winner_take_all].of(code, self.config.winner_take_all_rate)
        # detached: a gradient through the target would draw the stages below to codes that are easy to reconstruct
        linear, activation, target, loss = (
            *self.reconstruct(code, last, stop, switches),
            target.detach(),
            self.loss_at(stop),
        )
        if self.config.emphasis:
            return emphasised(loss.of(activation(linear), target), noisy.hit, *self.config.emphasis).mean()
        if loss.of is mse and isinstance(activation, nn.ReLU):
            return rectified_mse(linear, target)
        return loss.mean(activation(linear), target)

    def loss_at(self, stop: int) -> Loss:
        """Return the reconstruction loss at depth `stop`."""
        return LOSSES[self.config.loss_at(stop)]

    def reconstruct(self, code: Tensor, depth: int, stop: int, switches: Switches) -> tuple[Tensor, nn.Module]:
        """Decode a code from `depth` to `stop` without the last activation; return it and the activation for the loss."""
        stack = self.stack
        linear = self.loss_at(stop).logits or (self.config.linear_decoder and self.phase.single)
        activation = nn.Identity() if linear else stack.stages[stop].decoder[-1]
        return stack.decode(code, depth, stop=stop, switches=switches, linear=True), activation

    def reconstruction_losses(self, code: Tensor, target: Tensor, depth: int, stop: int, switches: Switches) -> Tensor:
        """Return the loss of each example [B] for a code decoded from `depth` to `stop`."""
        output, activation = self.reconstruct(code, depth, stop, switches)
        return per_example(self.loss_at(stop).of(activation(output), target))

    def corrupt(self, clean: Tensor, stage: int, step: int) -> Corrupted:
        """Return the clean input of stage `stage`, corrupted for update `step`."""
        levels = self.config.levels_at(stage - 1)
        # the draw for the phase's own input depends only on the update, so that arms with the same input share it
        place = () if stage == self.phase.input_depth + 1 else (stage,)
        drawn = generator(self.seed, "corruption", step, *place, device=clean.device)
        return corrupt(self.config.corruption, clean, levels, drawn, self.config.corruption_patch)

    def penalties(self, codes: Codes, step: int) -> Tensor:
        """Return the weighted sum of the penalties of all trained stages."""
        total = codes[0][2].new_zeros(())
        for k, x, code in codes:
            for name, weight in self.config.penalties:
                drawn = generator(self.seed, name, step, k, device=x.device)
                total = total + weight * PENALTIES[name].of(self.stack.stages[k - 1], x, code, drawn)
        return total

    def per_example(self, clean: Tensor, target: Tensor | None) -> Tensor:
        """Return the loss of each example [B] without corruption, emphasis, penalties, winner-take-all and added local losses.

        Early stopping and the recalibration of running statistics use it.
        """
        phase, stack = self.phase, self.stack
        if phase.local_loss == "alone":
            total = torch.zeros(len(clean), device=clean.device)
            for k in range(phase.trainable[0], phase.depth + 1):
                code, at = stack.stages[k - 1].encode_with_switches(clean)
                total = total + self.reconstruction_losses(code, clean, k, k - 1, {k: at})
                clean = code
            return total
        code, switches = stack.encode_with_switches(clean, phase.depth, start=phase.input_depth)
        if self.head is not None:
            assert target is not None
            return F.cross_entropy(self.head(code.flatten(1)), target, reduction="none")
        return self.reconstruction_losses(
            code, clean if target is None else target, phase.depth, phase.target_depth, switches
        )


@contextmanager
def twice_differentiable(needed: bool) -> Iterator[None]:
    """Context in which attention uses kernels with a second derivative, if `needed` by a penalty."""
    if not needed:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield
