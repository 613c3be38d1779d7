"""Greedy layer-wise pretraining of stacked autoencoders, compared honestly with joint training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stacked.encoder import load_encoder as load_encoder
    from stacked.errors import InputError as InputError
    from stacked.forecast import plan as plan
    from stacked.spec import RunSpec as RunSpec
    from stacked.spec import StackSpec as StackSpec
    from stacked.stack import AutoEncoder224 as AutoEncoder224
    from stacked.stack import StackedAutoencoder as StackedAutoencoder

__version__ = "0.1.0"

_HOME = {
    "AutoEncoder224": "stacked.stack",
    "StackedAutoencoder": "stacked.stack",
    "RunSpec": "stacked.spec",
    "StackSpec": "stacked.spec",
    "InputError": "stacked.errors",
    "load_encoder": "stacked.encoder",
    "plan": "stacked.forecast",
}
__all__ = ["AutoEncoder224", "InputError", "RunSpec", "StackSpec", "StackedAutoencoder", "load_encoder", "plan"]


def __getattr__(name: str) -> Any:
    """Import public names when first used, so that command lines show their help before torch is loaded."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
