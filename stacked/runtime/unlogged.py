"""No MLflow autologging for the models that this package fits only to measure something."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

AUTOLOGGING = "mlflow.utils.autologging_utils"


@contextmanager
def unlogged() -> Iterator[None]:
    """Context (or decorator) without MLflow's autologging, whose state is restored; MLflow is not imported for this."""
    autologging = sys.modules.get(AUTOLOGGING)
    # MLflow's own context manager (3.17) would turn autologging on at its end, whatever the state before
    if autologging is None or autologging._AUTOLOGGING_GLOBALLY_DISABLED:
        yield
        return
    with autologging.disable_autologging():
        yield
