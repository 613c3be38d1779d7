"""HTTP requests to an MLflow server, with limits on time and size whatever the server answers.

MLflow limits the time between two bytes, which a server that sends a byte now and then never exceeds, and does not limit the
length of an answer. Here all steps of a request share one deadline: name lookup, connecting, sending and reading.
"""

from __future__ import annotations

import concurrent.futures
import io
import json
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

# re-exported, because limits take effect only if this module is imported
from stacked.tracking.backend.remote.waiting import ANSWER_BYTES as ANSWER_BYTES
from stacked.tracking.backend.remote.waiting import ANSWER_SECONDS as ANSWER_SECONDS
from stacked.tracking.backend.remote.waiting import BadAnswer as BadAnswer
from stacked.tracking.backend.remote.waiting import Waiting, _waiting, check_size
from stacked.tracking.backend.remote.waiting import bounded as bounded

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

BLOCK = 2**14
#: Loggers that would report each bad answer in addition to the one warning of the uploader.
LOGGERS = ("mlflow.exceptions", "mlflow.utils.rest_utils", "urllib3.connection", "urllib3.connectionpool")


class _Raw(io.RawIOBase):
    """The bytes of one answer, read within the limits."""

    def __init__(self, raw: io.RawIOBase, connected: socket.socket, waiting: Waiting) -> None:
        self._raw, self._socket, self._waiting, self._taken = raw, connected, waiting, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        with self._waiting.on(self._socket):
            number: int | None = self._raw.readinto(buffer)
        self._taken += number or 0
        check_size(self._taken)
        return number

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        if waiting := _waiting.get():
            self.fp: io.BufferedReader = io.BufferedReader(_Raw(self.fp.detach(), sock, waiting))


class _Bounded(HTTPConnection):
    """A connection whose every step keeps to the remaining time."""

    response_class = _Answer

    def _new_conn(self) -> socket.socket:
        """Connect in a thread, because a name lookup cannot be interrupted and a name can have many unresponsive addresses."""
        waiting = _waiting.get()
        if waiting is None:
            return super()._new_conn()
        made: concurrent.futures.Future[socket.socket] = concurrent.futures.Future()
        connect = super()._new_conn

        def make() -> None:
            try:
                made.set_result(connect())
            except BaseException as error:
                made.set_exception(error)

        threading.Thread(target=make, daemon=True).start()
        try:
            connected = made.result(waiting.left())
        except concurrent.futures.TimeoutError:
            made.add_done_callback(lambda late: None if late.exception() else late.result().close())
            raise waiting.late() from None
        connected.settimeout(waiting.left())  # limits the TLS handshake
        return connected

    def send(self, data: ReadableBuffer | Any) -> None:
        """Send bytes in blocks, so that a slow server is given up in between."""
        waiting = _waiting.get()
        if waiting is None or not isinstance(data, (bytes, bytearray, memoryview)):
            super().send(data)
            return
        if self.sock is None:
            self.connect()
        view = memoryview(data)
        for start in range(0, len(view), BLOCK):
            block, began = view[start : start + BLOCK], time.monotonic()
            with waiting.on(self.sock):
                super().send(block)
            waiting.sent(len(block), time.monotonic() - began)


class _Adapter(HTTPAdapter):
    """Sends requests without retries: pending uploads are sent later."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        _bound(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        return _bound(super().proxy_manager_for(*args, **options))

    def send(self, request: PreparedRequest, stream: bool = False, timeout: Any = None, **options: Any) -> Response:  # type: ignore[override]
        waiting = _waiting.get()
        if waiting is None:  # chosen within `bounded`, but used after it
            return super().send(request, stream=stream, timeout=timeout, **options)
        good = False
        waiting.begin(timeout if isinstance(timeout, (int, float)) else math.inf)
        try:
            with _closing_on_error(super().send(request, stream=True, timeout=waiting.left(), **options)) as answer:
                _read(answer)
                waiting.read(len(answer.content))
                _check(request, answer)
            good = answer.status_code < 300
            return answer
        finally:
            waiting.end(good=good)


@contextmanager
def _closing_on_error(answer: Response) -> Iterator[Response]:
    try:
        yield answer
    except BaseException:
        answer.close()
        raise


def _bound(manager: Any) -> Any:
    """Make a connection manager create connections that keep to the remaining time."""
    for scheme, pool in manager.pool_classes_by_scheme.items():
        if not issubclass(pool.ConnectionCls, _Bounded):
            kind = type(f"Bounded{pool.ConnectionCls.__name__}", (_Bounded, pool.ConnectionCls), {})
            pools: dict[str, type[HTTPConnectionPool]] = {
                scheme: type(f"Bounded{pool.__name__}", (pool,), {"ConnectionCls": kind})
            }
            manager.pool_classes_by_scheme = manager.pool_classes_by_scheme | pools
    return manager


def _read(answer: Response) -> None:
    """Read the content, which may be compressed, up to the largest allowed size."""
    content = bytearray()
    for part in answer.iter_content(BLOCK):
        content += part
        check_size(len(content))
    answer._content, answer.encoding = bytes(content), "utf-8"  # guessing the encoding of a long answer takes minutes


def _check(request: PreparedRequest, answer: Response) -> None:
    """Raise BadAnswer for an answer that MLflow's client would accept wrongly, such as a login page."""
    status, path = answer.status_code, urlsplit(request.url or "").path
    if 400 <= status < 600 or (answer.is_redirect and (status in (307, 308) or request.method == "GET")):
        return  # an error, or a redirect that keeps method and content
    if not 200 <= status < 300:
        raise BadAnswer(f"it answers with status {status} {answer.headers.get('location', '')}".rstrip())
    file = request.method == "PUT" and "/api/2.0/mlflow-artifacts/" in path
    if "/api/2.0/mlflow/" not in path and not (file and answer.content):  # the answer to a file is empty
        return
    try:
        parsed = json.loads(answer.content)
    except (ValueError, RecursionError):
        parsed = None
    if not (parsed == {} if file else _is_of_mlflow(path.partition("/api/2.0/mlflow/")[2], parsed)):
        raise BadAnswer(f"it answers {answer.text[:60]!r}, which is not an answer of MLflow")


def _is_of_mlflow(asked: str, answer: Any) -> bool:
    """Whether an answer has the fields that MLflow's client uses without checking them.

    For instance, the client takes any object as the answer to `runs/update`, and would write the files of a run without an
    `artifact_uri` into the current folder.
    """
    if not isinstance(answer, dict):
        return False
    if asked == "runs/log-batch":
        return not answer
    if asked == "runs/update":
        return isinstance(answer.get("run_info"), dict)
    if asked in ("runs/get", "runs/create"):
        run = answer.get("run")
        info = run.get("info") if isinstance(run, dict) else None
        place = info.get("artifact_uri") if isinstance(info, dict) else None
        return isinstance(place, str) and (bool(urlsplit(place).scheme) or os.path.isabs(place))
    return True


@cache
def _adapter(process: int) -> _Adapter:
    """Return the adapter of a process, because connections cannot be shared with forked processes."""
    return _Adapter()


_get_adapter = Session.get_adapter


def _chosen(session: Session, url: str) -> BaseAdapter:
    return _adapter(os.getpid()) if _waiting.get() else _get_adapter(session, url)


# MLflow does not accept an adapter, so that requests is patched; outside of `bounded` nothing changes.
Session.get_adapter = _chosen  # type: ignore[assignment]
for _name in LOGGERS:
    logging.getLogger(_name).addFilter(lambda _: _waiting.get() is None)
