"""Greedy layer-wise pretraining of stacked autoencoders, compared with joint training at equal cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stacked.apps.anomaly import Detector as Detector
    from stacked.apps.codec.codec import Codec as Codec
    from stacked.apps.denoise import Denoiser as Denoiser
    from stacked.apps.estimator import StackedAutoencoderTransformer as StackedAutoencoderTransformer
    from stacked.apps.map_page import map_page as map_page
    from stacked.apps.supervised_estimators import StackedAutoencoderClassifier as StackedAutoencoderClassifier
    from stacked.apps.supervised_estimators import StackedAutoencoderRegressor as StackedAutoencoderRegressor
    from stacked.cost.forecast import estimate_cost as estimate_cost
    from stacked.data import Splits as Splits
    from stacked.model.classifier import Classifier as Classifier
    from stacked.model.classifier import load_classifier as load_classifier
    from stacked.model.encoder import load_encoder as load_encoder
    from stacked.model.regressor import load_regressor as load_regressor
    from stacked.model.stack import AutoEncoder224 as AutoEncoder224
    from stacked.model.stack import StackedAutoencoder as StackedAutoencoder
    from stacked.model.stack_file import load_stack as load_stack
    from stacked.model.stack_file import save_stack as save_stack
    from stacked.runs.batched_seeds import train_seeds as train_seeds
    from stacked.runs.run import run as run
    from stacked.spec import Budget as Budget
    from stacked.spec import Classification as Classification
    from stacked.spec import DataSpec as DataSpec
    from stacked.spec import Evaluation as Evaluation
    from stacked.spec import Optimisation as Optimisation
    from stacked.spec import RunSpec as RunSpec
    from stacked.spec import StackSpec as StackSpec
    from stacked.spec import StageSpec as StageSpec
    from stacked.training.pretrain import pretrain as pretrain
    from stacked.util.errors import InputError as InputError

__version__ = "0.1.0"

#: The public names, and the modules that they are imported from when they are first used.
_HOME = {
    "AutoEncoder224": "stacked.model.stack",
    "Budget": "stacked.spec",
    "Classification": "stacked.spec",
    "Classifier": "stacked.model.classifier",
    "Codec": "stacked.apps.codec.codec",
    "DataSpec": "stacked.spec",
    "Denoiser": "stacked.apps.denoise",
    "Detector": "stacked.apps.anomaly",
    "Evaluation": "stacked.spec",
    "InputError": "stacked.util.errors",
    "Optimisation": "stacked.spec",
    "RunSpec": "stacked.spec",
    "Splits": "stacked.data",
    "StackSpec": "stacked.spec",
    "StackedAutoencoder": "stacked.model.stack",
    "StackedAutoencoderClassifier": "stacked.apps.supervised_estimators",
    "StackedAutoencoderRegressor": "stacked.apps.supervised_estimators",
    "StackedAutoencoderTransformer": "stacked.apps.estimator",
    "StageSpec": "stacked.spec",
    "load_classifier": "stacked.model.classifier",
    "load_encoder": "stacked.model.encoder",
    "load_regressor": "stacked.model.regressor",
    "load_stack": "stacked.model.stack_file",
    "save_stack": "stacked.model.stack_file",
    "map_page": "stacked.apps.map_page",
    "estimate_cost": "stacked.cost.forecast",
    "pretrain": "stacked.training.pretrain",
    "run": "stacked.runs.run",
    "train_seeds": "stacked.runs.batched_seeds",
}
__all__ = [
    "AutoEncoder224",
    "Budget",
    "Classification",
    "Classifier",
    "Codec",
    "DataSpec",
    "Denoiser",
    "Detector",
    "Evaluation",
    "InputError",
    "Optimisation",
    "RunSpec",
    "Splits",
    "StackSpec",
    "StackedAutoencoder",
    "StackedAutoencoderClassifier",
    "StackedAutoencoderRegressor",
    "StackedAutoencoderTransformer",
    "StageSpec",
    "estimate_cost",
    "load_classifier",
    "load_encoder",
    "load_regressor",
    "load_stack",
    "map_page",
    "pretrain",
    "run",
    "save_stack",
    "train_seeds",
]


def __getattr__(name: str) -> Any:
    """Import public names when first used, so that command lines show their help before torch is loaded."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
