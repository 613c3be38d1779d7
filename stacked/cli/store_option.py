"""The value of the option --store: a folder, or the address of a store."""

from __future__ import annotations

import os
from pathlib import Path

#: The folder of the store, and of the work files of runs that are recorded elsewhere.
STORE_FOLDER = "mlruns"
STORE_HELP = f"folder of the MLflow store, or http://HOST:PORT or postgresql://HOST/DATABASE ({STORE_FOLDER})"


def store_folder(text: str) -> Path:
    """Return the folder of --store; of an address STORE_FOLDER, after MLFLOW_TRACKING_URI was set to the address.

    The variable holds for this process and for those that it starts, so that a password is on no other command line.
    """
    if "://" not in text:
        return Path(text)
    os.environ["MLFLOW_TRACKING_URI"] = text
    return Path(STORE_FOLDER)
