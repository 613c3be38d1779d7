"""Workarounds for MLflow 3.17 and torch 2.14 that use their private attributes; check them when either is updated.

MLflow keeps database connections to files that no longer exist, keeps up to a thousand writers of artifacts, and saves models
with absolute paths of the machine. torch keeps memory of every model that it exports with an open batch size: the environment
of its symbolic shapes, in caches of methods and in a reference cycle through C++ that Python's collector does not see (a sixth of
a megabyte a run), and the source of every generated function, for tracebacks (40 kilobytes).
"""

from __future__ import annotations

import gc
import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stacked.tracking.backend.kept_exports import kept_exports

if TYPE_CHECKING:
    from mlflow.models import Model
    from torch import nn


def forget_connections(uri: str) -> None:
    """Close this process's connections to a database, which lead to the file that had its name when they were made."""
    stores = sys.modules.get("mlflow.store.tracking.sqlalchemy_store")
    engines = stores.SqlAlchemyStore._engine_map if stores else {}
    if uri in engines:
        engines[uri].dispose()


def forget_artifact_repository(owner: str | None) -> None:
    """Forget the cached writer of artifacts of a run or model; MLflow creates another one when it is needed."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.pop(owner, None)


def save_model(path: str, mlflow_model: Model, pytorch_model: nn.Module, **options: Any) -> None:
    """Save a model as `mlflow.pytorch.save_model` does in the format pt2, without absolute paths of artifacts or source files."""
    import mlflow.pytorch

    mlflow_model.artifact_path = "encoder"
    with kept_exports(pytorch_model):
        mlflow.pytorch.save_model(path=path, mlflow_model=mlflow_model, pytorch_model=pytorch_model, **options)


def shape_environments() -> list[Any]:
    """Return torch's environments of symbolic shapes that are alive."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    return [each for each in gc.get_referrers(ShapeEnv) if type(each) is ShapeEnv]  # an object refers to its class


def generated_sources() -> dict[str, str]:
    """Return torch's own dictionary (not a copy) of the sources of generated functions, by file name."""
    from torch.fx import graph_module

    texts: dict[str, str] = graph_module._loader.eval_cache
    return texts


@contextmanager
def release_exports() -> Iterator[None]:
    """Context that frees what torch keeps of the exports in it; those of other code are left as they are."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    others, texts = {id(each) for each in shape_environments()}, set(generated_sources())
    try:
        yield
    finally:
        for each in shape_environments():
            if id(each) not in others:
                each.tracked_fakes = None
        for method in vars(ShapeEnv).values():
            if hasattr(method, "cache_clear"):
                method.cache_clear()
        for name in generated_sources().keys() - texts:
            del generated_sources()[name]
            linecache.cache.pop(name, None)
