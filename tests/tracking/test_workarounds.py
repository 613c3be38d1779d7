"""A model that is exported for MLflow is on disk, and no longer in the process."""

from __future__ import annotations

import gc
import linecache
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking._tracking_service import utils
from torch import nn
from torch.fx import symbolic_trace
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.model_description import ModelDescription
from stacked.tracking.backend.store import open_store
from stacked.tracking.backend.workarounds import generated_sources, shape_environments


@pytest.mark.slow
def test_exported_models_leave_nothing_in_the_process(tmp_path: Path) -> None:
    """But what torch keeps of the last three; and what others export or trace is left to them."""
    utils._artifact_repos_cache.clear()
    client, encoder = StoreClient(open_store(tmp_path), "e"), nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval()
    example, alive = np.zeros((2, 3), dtype=np.float32), []
    mine, traced = ShapeEnv(tracked_fakes=[]), symbolic_trace(encoder)
    texts = dict(generated_sources())
    assert any(text in traced.code for text in texts.values())
    for number in range(5):
        run_id = client.create_run(f"r{number}", 0, {})
        client.log_model(run_id, encoder, example, ModelDescription("encoder", 0, {}, [], None))
        client.end_run(run_id, "FINISHED", 1)
        gc.collect()
        alive.append(len(shape_environments()))
    assert alive[2:] == [alive[2]] * 3
    assert mine.tracked_fakes == []
    assert generated_sources() == texts
    assert not utils._artifact_repos_cache
    assert not [name for name in linecache.cache if name.startswith("<eval_with_key>") and name not in texts]
