"""Checks of what an MLflow server answers: an answer that MLflow would not give is treated as an outage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stacked.tracking.backend.remote.http import BadAnswer, bounded
from stacked.tracking.backend.store import OUTAGES

if TYPE_CHECKING:
    from mlflow import MlflowClient

READ_SECONDS = 60.0  # time limit for a server when nothing is trained meanwhile
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}")  # the form of MLflow's ids


class ServerClient:
    """An MlflowClient of a server with time limits, which turns every error over an answer into an outage."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            with server_errors():
                return method(*arguments, **options)

        return call


@contextmanager
def server_errors() -> Iterator[None]:
    """Context that limits the time of a call, and turns errors over a server's answer into BadAnswer."""
    with bounded(READ_SECONDS) as waiting:
        waiting.call()
        try:
            yield
        except OUTAGES:
            raise
        except Exception as error:
            raise BadAnswer(f"MLflow's client fails with {type(error).__name__}: {error}") from None


def checked_id(answer: object) -> str:
    """Return an id that the store answered; BadAnswer if it is no id."""
    if not isinstance(answer, str) or not _ID.fullmatch(answer):
        raise BadAnswer(f"it answers with {str(answer)[:60]!r} for an id")
    return answer


def is_active(stage: object) -> bool:
    """Whether a run or experiment is not deleted, by its lifecycle stage; BadAnswer if it is neither active nor deleted."""
    if stage not in ("active", "deleted"):
        raise BadAnswer(f"it answers with {str(stage)[:60]!r} for 'active' or 'deleted'")
    return stage == "active"
