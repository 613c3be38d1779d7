"""The weighted objectives of each block that a phase trains; they hold the objectives' own parameters."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from stacked.model.stack import StackedAutoencoder
from stacked.objectives import Objective, objectives
from stacked.objectives.objective import EncodedBatch, ObjectiveSettings
from stacked.runtime.rng import seeded
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.spec.objectives import options_of


class ObjectiveLosses(nn.Module):
    """The weighted objectives of each block of a phase with the target "objectives".

    A block is identified by its last stage. An objective's initial parameters depend only on the seed, its name and that stage.
    """

    def __init__(
        self, stack: StackedAutoencoder, phase: Phase, config: Optimisation, *, seed: int = 0, classes: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleDict()
        shapes, device = stack.shapes(stack.input_shape), next(stack.parameters()).device
        for _, last in phase.ranges:
            settings = ObjectiveSettings(
                shapes[last], stack.input_shape, classes, config.loss_at(0), stack.stages[0].output
            )
            made = {}
            for name, _ in config.objectives_of(last):
                with seeded(seed, f"objective {name}", last):
                    made[name] = objectives()[name](settings, **options_of(name, config.objective_options))
            self.blocks[str(last)] = nn.ModuleDict(made)
        if device.type != "cpu":
            self.to(device)

    def of(self, last: int) -> list[tuple[Objective, float]]:
        """Return the objectives of the block with this last stage, and their weights."""
        made = cast("dict[str, Objective]", self.blocks[str(last)])  # a ModuleDict
        return [(made[name], weight) for name, weight in self.config.objectives_of(last)]

    def loss(self, last: int, batch: EncodedBatch) -> Tensor:
        """Return the weighted sum of the losses of a block's objectives, a scalar."""
        return torch.stack([weight * objective(batch) for objective, weight in self.of(last)]).sum()

    def loss_per_example(self, last: int, batch: EncodedBatch) -> Tensor:
        """Return the weighted sum of the losses of a block's objectives for each example [B]."""
        return torch.stack([weight * objective.per_example(batch) for objective, weight in self.of(last)]).sum(0)

    def views(self, last: int) -> int:
        """Return the number of independently corrupted versions of its input that a block encodes."""
        return max(objective.views for objective, _ in self.of(last))

    @property
    def compares_examples(self) -> bool:
        """Whether an objective of a block compares the examples of a batch with each other."""
        return any(objective.least_batch > 1 for last in map(int, self.blocks) for objective, _ in self.of(last))

    def parameters_of_blocks(self) -> dict[int, list[nn.Parameter]]:
        """Return the parameters of the objectives of each block."""
        return {int(last): list(made.parameters()) for last, made in self.blocks.items()}
