"""The loss of a phase, which combines stack, corruption, reconstruction losses and penalties.

Everything that distinguishes phases is a field of Phase; the training loop only asks for a scalar and its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from stacked.components.corruption import Corrupted, corrupt
from stacked.components.dropout import dropout
from stacked.components.head_loss import head_loss, head_loss_per_example
from stacked.components.losses import LOSSES, Loss, emphasised, mse, per_example, rectified_mse
from stacked.components.penalties import PENALTIES
from stacked.components.winner_take_all import WINNER_TAKE_ALL
from stacked.model.batch_norm import frozen_statistics
from stacked.model.stack import StackedAutoencoder, Switches
from stacked.objectives.objective import EncodedBatch, ObjectiveTargets
from stacked.runtime.rng import generator, seeded
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.spec.objectives import decoded_stages
from stacked.training.codes import Target
from stacked.training.left_out import following_blocks, last_clean_read
from stacked.training.objective_losses import ObjectiveLosses
from stacked.training.stale_codes import stale_blocks

#: (stage number, its input, its code) for each stage that a batch has passed through
StageCodes = list[tuple[int, Tensor, Tensor]]


class PhaseLoss(nn.Module):
    """The loss of `phase` for clean inputs [B, ...] at depth `phase.input_depth` and their targets.

    The target depends on `phase.target`. "input": None, because the phase reconstructs its input, which at depth 0 is the
    images. "pixels": the images [B, C, H, W], which are reconstructed through frozen decoders. "labels": classes, int64 [B], or
    numbers, floats [B, K]. "objectives": `ObjectiveTargets`.

    A phase that learns labels trains a head, one that learns objectives their parameters; these are the only parameters of this
    module. Codes that blocks read with a delay are its buffers (`stale`). The constructor freezes the decoders of trained
    stages through which nothing is reconstructed, so that not even penalties train them. classes: number of outputs of the
    head.
    head: the head (None: a new linear one). dropout: fraction of the head's inputs that are set to 0 while training; the others
    are divided by 1 - dropout (Srivastava et al. 2014). Corruption, dropout and random estimates are drawn for the run's update
    `step`. first_step: that of the first update of the phase.
    """

    def __init__(
        self,
        stack: StackedAutoencoder,
        phase: Phase,
        config: Optimisation,
        *,
        seed: int = 0,
        classes: int = 0,
        head: nn.Module | None = None,
        dropout: float = 0.0,
        first_step: int = 0,
    ) -> None:
        super().__init__()
        self._stack = (stack,)  # in a tuple, so that it is not registered as a submodule
        self.phase, self.config, self.seed = phase, config, seed
        self.head, self.dropout = head, dropout
        if phase.target == "labels" and head is None:
            values = torch.Size(stack.shapes(stack.input_shape)[phase.depth]).numel()
            with seeded(seed, "auxiliary head", phase.depth):
                self.head = nn.Linear(values, classes)
            device = next(stack.parameters()).device
            if device.type != "cpu":
                self.head.to(device)
        self.objectives: ObjectiveLosses | None = None
        if phase.target == "objectives":
            self.objectives = ObjectiveLosses(stack, phase, config, seed=seed, classes=classes)
        self.stale = stale_blocks(stack, phase, config, seed, first_step)
        self.following = following_blocks(stack, phase, config)
        self.last_clean_read = last_clean_read(phase, config, self.following)
        decoded = decoded_stages(phase, config)
        for k in range(phase.trainable[0], phase.depth + 1):
            if k not in decoded:
                stack.stages[k - 1].decoder.requires_grad_(False)
        self.needs_input_gradient = any(
            PENALTIES[name].differentiates
            for stage in range(phase.trainable[0], phase.depth + 1)
            for name, _ in config.penalties_of(stage)
        )

    @property
    def stack(self) -> StackedAutoencoder:
        """The stack that is trained."""
        return self._stack[0]

    def auxiliary(self) -> dict[int, list[nn.Parameter]]:
        """Return the parameters of the head or of the objectives, by the stage whose code they read."""
        return (
            self.objectives.parameters_of_blocks() if self.objectives else {self.phase.depth: list(self.parameters())}
        )

    def forward(self, clean: Tensor, target: Target | None, step: int, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss over the batch, with penalties, a scalar. weight: of each label [B] (None: all the same)."""
        return self.loss(clean, target, step, self.corrupt_input(clean, step), weight)

    def corrupt_input(self, clean: Tensor, step: int) -> Corrupted:
        """Return the clean inputs of the phase, corrupted for update `step`."""
        return self.corrupt(clean, self.phase.input_depth + 1, step)

    def loss(
        self, clean: Tensor, target: Target | None, step: int, noisy: Corrupted, weight: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss over the batch, whose corrupted version is `noisy`, with penalties."""
        phase = self.phase
        with twice_differentiable(self.needs_input_gradient):
            if phase.local_loss == "alone":
                total = torch.zeros((), device=clean.device)
                for local, penalties in self.local_losses(clean, target, step, noisy):
                    total = total + local + penalties
                return total
            first = phase.input_depth + 1
            codes, switches = self.encode(noisy, first, phase.depth, step)
            reads = {first: clean} | {k + 1: code for k, _, code in codes}  # without dropout
            read = codes or [(phase.depth, noisy.x, noisy.x)]  # a head alone reads the code of frozen stages
            if isinstance(target, ObjectiveTargets):
                loss = self.objectives_loss(noisy, read, switches, first, clean, target, step)
            else:
                restored = clean if target is None else target
                loss = self.target_loss(noisy, read, switches, phase.depth, phase.target_depth, restored, step, weight)
            codes = [(k, x, code) for k, x, code in codes if k >= phase.trainable[0]]
            loss = loss + self.penalties(codes, step) if codes else loss
            if phase.local_loss == "added":
                read_by = {k: x for k, x, _ in codes}
                for bottom, top in phase.ranges:
                    x = read_by[bottom]
                    corrupted = noisy if bottom == first else self.corrupt(x, bottom, step)
                    # above the first block: encode again only if the input of the block is corrupted
                    is_encoded_again = bottom > first and corrupted.x is not x
                    with frozen_statistics(self.block(bottom, top)):
                        local_codes, local_switches = (
                            self.encode(corrupted, bottom, top, step)
                            if is_encoded_again
                            else ([each for each in codes if each[0] <= top], switches)
                        )
                        local = self.target_loss(
                            corrupted, local_codes, local_switches, top, bottom - 1, reads[bottom], step
                        )
                    loss = loss + self.config.local_weight * local
            return loss

    def local_losses(
        self, clean: Tensor, target: Target | None, step: int, noisy: Corrupted
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield loss and penalties of each trained block, both scalars, on the current code of the block below.

        No gradient passes from a block to the one below. After the backward pass of a block, which may be made before the next
        one is asked for, only its code is still in memory.
        """
        phase = self.phase
        for first, last in phase.ranges:
            if first > phase.trainable[0] and first not in self.following:
                noisy = self.corrupt(clean, first, step)
            codes, switches = self.encode(noisy, first, last, step)
            if isinstance(target, ObjectiveTargets):
                local = self.objectives_loss(noisy, codes, switches, first, clean, target, step)
            else:
                local = self.target_loss(noisy, codes, switches, last, first - 1, clean, step)
            penalties = self.penalties(codes, step)
            if last < phase.depth:
                is_whole = noisy.hidden is None and not any(self.config.levels_at(first - 1, phase))
                drops = any(self.config.dropout_of(phase, k) for k in range(first, last))
                # do not update batch-norm statistics a second time for this batch
                with torch.no_grad(), frozen_statistics(self.block(first, last)):
                    if self.last_clean_read > last:
                        is_clean = is_whole and not drops
                        clean = codes[-1][2].detach() if is_clean else self.stack.encode(clean, last, start=first - 1)
                    if last + 1 in self.following:
                        codes, switches = (
                            self.encode(noisy, first, last, step, drops=False) if drops else (codes, switches)
                        )
                        noisy = Corrupted(codes[-1][2].detach(), switches[last], noisy.hidden)
                    if self.stale:
                        clean, target = self.stale.exchanged(last, clean, target, step)
            del codes, switches
            yield local, penalties

    def objectives_loss(
        self,
        noisy: Corrupted,
        codes: StageCodes,
        switches: Switches,
        first: int,
        clean: Tensor,
        target: ObjectiveTargets,
        step: int,
    ) -> Tensor:
        """Return the loss of the objectives of the block that reads `clean` at stage `first` and gives the last of `codes`."""
        assert self.objectives is not None
        last = codes[-1][0]
        views = [self.drop(codes[-1][2], last, step)]
        for view in range(1, self.objectives.views(last)):
            others, _ = self.encode(self.corrupt(clean, first, step, view), first, last, step, view)
            views.append(self.drop(others[-1][2], last, step, view))
        input_loss = partial(self.target_loss, noisy, codes, switches, last, first - 1, clean, step)
        left_out = switches[last] if self.stack.stages[last - 1].visible_only else None
        return self.objectives.loss(last, EncodedBatch(tuple(views), target, input_loss, left_out))

    def block(self, first: int, last: int) -> nn.ModuleList:
        """Return the stages `first` to `last` (counted from 1) as one module."""
        return nn.ModuleList(self.stack.stages[first - 1 : last])

    def encode(
        self, noisy: Corrupted, first: int, last: int, step: int, view: int = 0, drops: bool = True
    ) -> tuple[StageCodes, Switches]:
        """Encode a corrupted input by stages `first` to `last`; return the codes of all of them, and the masks for decoders.

        The next stage reads a code after dropout, if `drops`; those returned are before it. view: number of the corrupted one.
        """
        stack, codes, switches, x = self.stack, StageCodes(), Switches(), noisy.x
        is_corrupted, left_out = any(self.config.levels_at(first - 1, self.phase)), noisy.hidden
        if self.needs_input_gradient and not x.requires_grad:
            # a view, because torch's FLOP counter does not support gradients with respect to a leaf
            x = x.detach().requires_grad_().view_as(x)
        for k in range(first, last + 1):
            stage = stack.stages[k - 1]
            if (k == first and is_corrupted) or (stage.follows and left_out is not None):
                code, switches[k] = stage.encode_corrupted(x, left_out)
                left_out = left_out if stage.visible_only else None
            else:
                code, switches[k] = stage.encode_with_switches(x)
                left_out = None
            codes.append((k, x, code))
            if k < last:
                x = self.drop(code, k, step, view) if drops else code
        return codes, switches

    def drop(self, code: Tensor, stage: int, step: int, view: int = 0) -> Tensor:
        """Return the code of a stage after dropout, if the stage is trained and the spec has one for it."""
        rate = self.config.dropout_of(self.phase, stage)
        if not rate:
            return code
        return dropout(code, rate, generator(self.seed, of_view("dropout", view), step, stage, device=code.device))

    def target_loss(
        self,
        noisy: Corrupted,
        codes: StageCodes,
        switches: Switches,
        from_depth: int,
        to_depth: int,
        target: Tensor,
        step: int,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss of the last of `codes` for `target`, a scalar.

        It is the loss of the head, with a weight for each label, if the phase learns labels, else that of the reconstruction
        that is decoded from `from_depth` to `to_depth`.
        """
        code = codes[-1][2]
        if self.head is not None:
            code = self.drop(code, from_depth, step)
            if self.dropout:
                code = dropout(code, self.dropout, generator(self.seed, "head dropout", step, device=code.device))
            return head_loss(self.head(code.flatten(1)), target, weight)
        if self.config.winner_take_all and (from_depth == self.phase.depth or self.phase.local_loss == "alone"):
            code = WINNER_TAKE_ALL[self.config.winner_take_all].of(code, self.config.winner_take_all_rate)
        code = self.drop(code, from_depth, step)
        # detached: a gradient through the target would draw the stages below to codes that are easy to reconstruct
        linear, activation, target, loss = (
            *self.reconstruct(code, from_depth, to_depth, switches),
            target.detach(),
            self.loss_at(to_depth),
        )
        if self.config.emphasis:
            return emphasised(loss.of(activation(linear), target), noisy.hit, *self.config.emphasis).mean()
        if loss.of is mse and isinstance(activation, nn.ReLU):
            return rectified_mse(linear, target)
        return loss.mean(activation(linear), target)

    def loss_at(self, depth: int) -> Loss:
        """Return the loss of a reconstruction at `depth`."""
        return LOSSES[self.config.loss_at(depth)]

    def reconstruct(self, code: Tensor, from_depth: int, to_depth: int, switches: Switches) -> tuple[Tensor, nn.Module]:
        """Decode a code without the last activation; return the result and the activation that the loss applies to it."""
        stack = self.stack
        is_alone = from_depth == to_depth + 1 and self.phase.is_alone(from_depth)
        linear = self.loss_at(to_depth).logits or (self.config.linear_decoder and is_alone)
        activation = nn.Identity() if linear else stack.stages[to_depth].decoder[-1]
        # a decoder whose input another one restored, hidden positions included, must not replace these
        decoded_above = {k - 1 for k, mask in switches.items() if mask is not None and stack.stages[k - 1].follows}
        switches = {k: mask for k, mask in switches.items() if k == from_depth or k not in decoded_above}
        return stack.decode(code, from_depth, stop=to_depth, switches=switches, linear=True), activation

    def reconstruction_loss_per_example(
        self, code: Tensor, target: Tensor, from_depth: int, to_depth: int, switches: Switches
    ) -> Tensor:
        """Return the loss of the reconstruction of each example [B], decoded from `from_depth` to `to_depth`."""
        output, activation = self.reconstruct(code, from_depth, to_depth, switches)
        return per_example(self.loss_at(to_depth).of(activation(output), target))

    def corrupt(self, clean: Tensor, stage: int, step: int, view: int = 0) -> Corrupted:
        """Return the clean input of stage `stage`, corrupted for update `step`. view: number of the corrupted version."""
        levels = self.config.levels_at(stage - 1, self.phase)
        # the draw for the phase's own input depends only on the update, so that arms with the same input share it
        place = () if stage == self.phase.input_depth + 1 else (stage,)
        drawn = generator(self.seed, of_view("corruption", view), step, *place, device=clean.device)
        return corrupt(self.config.corruption, clean, levels, drawn, self.config.corruption_patch)

    def penalties(self, codes: StageCodes, step: int) -> Tensor:
        """Return the weighted sum of the penalties of all trained stages."""
        total = codes[0][2].new_zeros(())
        for k, x, code in codes:
            for name, weight in self.config.penalties_of(k):
                drawn, penalty = generator(self.seed, name, step, k, device=x.device), PENALTIES[name]
                target = (self.config.sparsity_target_of(k),) if penalty.has_target else ()
                total = total + weight * penalty.of(self.stack.stages[k - 1], x, code, drawn, *target)
        return total

    def loss_per_example(self, clean: Tensor, target: Target | None) -> Tensor:
        """Return the loss of each example [B] without what only training has.

        That is corruption, dropout, emphasis, penalties, winner-take-all and added local losses. Early stopping and
        the recalibration of running statistics use it.
        """
        phase, stack = self.phase, self.stack
        if phase.local_loss == "alone":
            total = torch.zeros(len(clean), device=clean.device)
            for first, last in phase.ranges:
                code, switches = stack.encode_with_switches(clean, last, start=first - 1)
                restored = partial(self.reconstruction_loss_per_example, code, clean, last, first - 1, switches)
                total = total + self.block_loss_per_example(last, code, target, restored)
                clean = code
            return total
        code, switches = stack.encode_with_switches(clean, phase.depth, start=phase.input_depth)
        if self.head is not None:
            assert isinstance(target, Tensor)
            return head_loss_per_example(self.head(code.flatten(1)), target)
        restored = partial(
            self.reconstruction_loss_per_example,
            code,
            target if isinstance(target, Tensor) else clean,
            phase.depth,
            phase.target_depth,
            switches,
        )
        return self.block_loss_per_example(phase.depth, code, target, restored)

    def block_loss_per_example(
        self, last: int, code: Tensor, target: Target | None, restored: Callable[[], Tensor]
    ) -> Tensor:
        """Return the loss of each example [B] of a block by its last stage: of its objectives, or what `restored` returns."""
        if self.objectives is None:
            return restored()
        assert isinstance(target, ObjectiveTargets)
        codes = (code,) * self.objectives.views(last)  # without corruption all views are the same
        return self.objectives.loss_per_example(last, EncodedBatch(codes, target, restored))


def of_view(name: str, view: int) -> str:
    """Return the name of a random draw for a corrupted version of the input. view: 0 for the first, which all phases have."""
    return f"{name} of view {view}" if view else name


@contextmanager
def twice_differentiable(needed: bool) -> Iterator[None]:
    """Context in which attention uses kernels with a second derivative, if `needed` by a penalty."""
    if not needed:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield
