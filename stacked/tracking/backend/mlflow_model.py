"""How MLflow saves an encoder, less what tells of the machine it was saved on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.pytorch
import torch
from mlflow.models import Model


def save_model(path: str, mlflow_model: Model, **options: Any) -> None:
    """As `mlflow.pytorch.save_model` in the format pt2, without absolute paths: of the artifacts, and of source files."""
    mlflow_model.artifact_path = "encoder"
    mlflow.pytorch.save_model(path=path, mlflow_model=mlflow_model, **options)
    [file] = Path(path).rglob("*.pt2")
    program = torch.export.load(file)
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    torch.export.save(program, file)
