"""A model that is exported for MLflow is on disk, and no longer in the process."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
from torch import nn
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from stacked.exports import environments
from stacked.mlflow_store import StoreClient, open_store


def test_exported_models_leave_nothing_in_the_process(tmp_path: Path) -> None:
    """But what torch keeps of the last two; and what others export is left to them."""
    client, encoder = StoreClient(open_store(tmp_path), "e"), nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval()
    example, alive = np.zeros((2, 3), dtype=np.float32), []
    mine = ShapeEnv(tracked_fakes=[])
    for number in range(4):
        run_id = client.create_run(f"r{number}", 0, {})
        client.log_model(run_id, "encoder", encoder, example)
        gc.collect()
        alive.append(len(environments()))
    assert alive[1:] == [alive[1]] * 3
    assert mine.tracked_fakes == []
