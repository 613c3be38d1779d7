"""Codes that are some updates old: buffers between blocks that learn alone at once.

Decoupled greedy learning with replay (Belilovsky et al. 2020, algorithm 2). Difference from the paper: every block makes an
update in each step, in place of one that is drawn.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from stacked.model.stack import StackedAutoencoder
from stacked.objectives.objective import ObjectiveTargets
from stacked.runtime.rng import derive
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.spec.objectives import needs_images, needs_labels
from stacked.stages.stage import Shape
from stacked.training.codes import Target


class StaleCodes(nn.Module):
    """The codes of the last batches that a block encoded, with their targets, of which the block above reads one.

    most: the most updates ago, 1 or more. batch: the most examples of a batch. code_shape, image_shape: without the batch;
    image_shape is None where no objective needs images. dtype: of codes and images. All is in buffers, so that it is a part of
    checkpoints and of counted memory.
    """

    def __init__(
        self,
        most: int,
        batch: int,
        code_shape: Shape,
        image_shape: Shape | None = None,
        has_labels: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.most = most
        images = None if image_shape is None else torch.zeros(most + 1, batch, *image_shape, dtype=dtype)
        self.codes: Tensor
        self.images: Tensor | None
        self.labels: Tensor | None
        self.register_buffer("codes", torch.zeros(most + 1, batch, *code_shape, dtype=dtype))
        self.register_buffer("images", images)
        self.register_buffer("labels", torch.zeros(most + 1, batch, dtype=torch.int64) if has_labels else None)

    @torch.no_grad()
    def exchanged(self, code: Tensor, target: Target | None, update: int, ago: int) -> tuple[Tensor, Target | None]:
        """Store the code [B, ...] and the targets of a batch, and return those of `ago` updates before.

        update: number of the update, which all calls but the first have increased by 1. ago: 0, for these themselves, to `most`.
        """
        here, there, n = update % (self.most + 1), (update - ago) % (self.most + 1), len(code)
        known = target if isinstance(target, ObjectiveTargets) else ObjectiveTargets()
        pairs = ((self.codes, code), (self.images, known.images), (self.labels, known.labels))
        for stored, given in pairs:
            if stored is not None and given is not None:
                stored[here, :n].copy_(given)
        if not ago:
            return code, target
        old, *targets = (None if stored is None else stored[there, :n] for stored, _ in pairs)
        assert old is not None
        return old, ObjectiveTargets(*targets) if isinstance(target, ObjectiveTargets) else target


class StaleBlocks(nn.Module):
    """The buffers above all blocks of a phase but the last; `first` is the number of its first update in the run.

    A block reads the code of one of the last `most` + 1 batches of the block below, each with the same probability, or of those
    that there are. The draw depends on the seed, the update and the block alone.
    """

    def __init__(self, stack: StackedAutoencoder, phase: Phase, config: Optimisation, seed: int, first: int) -> None:
        super().__init__()
        self.most, self.seed, self.first = config.staleness, seed, first
        shapes, batch = stack.shapes(stack.input_shape), config.batch_size_of(phase)
        image_shape = stack.input_shape if needs_images(phase, config) else None
        what = image_shape, needs_labels(phase, config), next(stack.parameters()).dtype
        self.above = nn.ModuleDict(
            {str(last): StaleCodes(self.most, batch, shapes[last], *what) for _, last in phase.ranges[:-1]}
        )

    def exchanged(self, last: int, code: Tensor, target: Target | None, step: int) -> tuple[Tensor, Target | None]:
        """Store the code of the block that ends with stage `last`; return the one that the block above reads, and its targets."""
        known = min(self.most, step - self.first)
        ago = derive(self.seed, "staleness", step, last) % (known + 1)
        return cast("StaleCodes", self.above[str(last)]).exchanged(code, target, step, ago)


def stale_blocks(
    stack: StackedAutoencoder, phase: Phase, config: Optimisation, seed: int = 0, first: int = 0
) -> StaleBlocks | None:
    """Return the buffers of a phase whose blocks learn alone at once with the spec's `staleness`; None for other phases."""
    if not config.staleness or phase.local_loss != "alone" or len(phase.ranges) < 2:
        return None
    found = StaleBlocks(stack, phase, config, seed, first)
    device = next(stack.parameters()).device
    return found if device.type == "cpu" else found.to(device)
