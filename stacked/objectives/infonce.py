"""The objective "infonce": a position of a map tells which example the positions below it belong to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stacked.objectives.objective import EncodedBatch, Objective, ObjectiveSettings, in_float32
from stacked.stages.stage import Shape, Stage
from stacked.util.checks import need, whole


class InfoNCE(Objective):
    """Contrastive predictive coding of a block's own maps (Greedy InfoMax, Löwe et al. 2019; van den Oord et al. 2018).

    Maps with more than `grid` positions along a dimension are averaged there to `grid` of them. Of two codes in a column, c at
    one row and z at k rows below, the score is z^T W_k c. The loss is the cross-entropy of finding z, by the softmax of the
    scores, among the codes of all examples of the batch at its position. It is averaged over all pairs of rows with k from
    `skip` + 1 on, for at most `steps` values of k, each with the same weight. On signals, positions are rows.

    Differences from the papers: the other candidates are the codes of all other examples at the same position, instead of a
    random draw of codes at any position, so that nothing is random and no code has to tell where it is; an example's loss so
    depends on the others of its batch, and is 0 in a batch of one. The maps are those of the whole image and not of crops encoded
    one by one, so that receptive fields overlap (the paper has 7 x 7 crops, `steps` 5 and `skip` 1). There is no autoregressive
    model, as in the image experiments of Löwe et al.
    """

    name = "infonce"
    least_batch = 2

    def __init__(self, settings: ObjectiveSettings, *, grid: int = 7, steps: int = 5, skip: int = 0) -> None:
        super().__init__(settings)
        self.check_code(settings.code_shape, grid=grid, skip=skip)
        channels, rows, *_ = settings.code_shape
        self.grid, self.skip = grid, skip
        count = min(steps, min(rows, grid) - 1 - skip)
        self.predictors = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in range(count))

    @classmethod
    def check(cls, *, grid: int = 7, steps: int = 5, skip: int = 0, **options: Any) -> None:
        whole(grid, "grid of objective 'infonce'", 2)
        whole(steps, "steps of objective 'infonce'")
        whole(skip, "skip of objective 'infonce'", 0)
        need(
            skip <= grid - 2,
            f"skip {skip} of objective 'infonce' leaves nothing to predict in a grid of {grid} rows: give {grid - 2} or less",
        )

    @classmethod
    def refuses(cls, kind: type[Stage], **options: Any) -> str | None:
        return None if kind.maps else "its code is a vector, without positions to predict: use a stage with maps"

    @classmethod
    def check_code(cls, code_shape: Shape, *, grid: int = 7, skip: int = 0, **options: Any) -> None:
        rows = min(code_shape[1], grid) if len(code_shape) > 1 else 1
        need(
            rows >= skip + 2,
            f"objective 'infonce' predicts codes {skip + 1} or more rows below, and a code of shape {list(code_shape)} has "
            "too few rows: use larger examples, fewer stages that halve them, or another objective",
        )

    def per_example(self, batch: EncodedBatch) -> Tensor:
        """Return the loss of each example [B] among those of its batch, in evaluation too."""
        code = averaged(batch.code, self.grid)
        losses = []
        for k, predictor in enumerate(self.predictors, start=self.skip + 1):
            # [positions, B, C]: the codes that predict, and those k rows below
            contexts, targets = (rows.flatten(2).permute(2, 0, 1) for rows in (code[:, :, :-k], code[:, :, k:]))
            predicted = in_float32(predictor(contexts))
            scores = predicted @ in_float32(targets).transpose(1, 2)  # [positions, B, candidates]
            losses.append((scores.logsumexp(2) - scores.diagonal(dim1=1, dim2=2)).mean(0))
        return torch.stack(losses).mean(0)


def averaged(maps: Tensor, grid: int) -> Tensor:
    """Return maps [B, C, ...] averaged to at most `grid` positions along each dimension, over neighbours of almost equal number.

    This is torch's adaptive average pooling up to overlaps, and its gradient is deterministic on a GPU.
    """
    for dimension in range(2, maps.dim()):
        if maps.shape[dimension] > grid:
            maps = torch.stack([part.mean(dimension) for part in maps.tensor_split(grid, dimension)], dimension)
    return maps
