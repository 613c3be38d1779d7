"""Models that are fitted to measure something are not the user's: MLflow's autologging, where it is on, makes no runs of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

AUTOLOGGING = "mlflow.utils.autologging_utils"


@contextmanager
def unlogged() -> Iterator[None]:
    """Without autologging, which is afterwards as it was; a decorator too. MLflow is not imported where it is not yet."""
    autologging = sys.modules.get(AUTOLOGGING)
    # MLflow's own context would switch it on at its end, whatever it had been
    if autologging is None or autologging._AUTOLOGGING_GLOBALLY_DISABLED:
        yield
        return
    with autologging.disable_autologging():
        yield
