"""Invalid answers of a tracking server, to all requests or to one kind of request."""

from __future__ import annotations

import gzip
import json
import socket
import struct
from typing import Any

from studies.reliability.robustness.odd_server import Fault

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def answers(content: Any, status: int = 200) -> Fault:
    """Return a fault that answers every request with `content` as JSON."""
    return lambda request: request.answer(json.dumps(content).encode(), status)


def sends(*parts: bytes, then: bytes = b"", every: float | None = None) -> Fault:
    """Return a fault that sends `parts`, and then `then` every `every` seconds (None: it closes the connection)."""

    def fault(request: Any) -> None:
        request.close_connection = True
        for part in parts:
            request.wfile.write(part)
        while every is not None and not request.server.ended.wait(every):
            request.wfile.write(then)

    return fault


def resets(request: Any) -> None:
    request.close_connection = True
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def packed(request: Any) -> None:
    """Answer with a few kilobytes that decompress to fifty megabytes."""
    request.answer(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")


#: Faults that are tried for all requests.
FAULTS: dict[str, Fault] = {
    "empty": lambda request: request.answer(b""),
    "object": answers({}),
    "null": answers(None),
    "list": answers([]),
    "word": answers("hello"),
    "number": answers(3),
    "undecodable": lambda request: request.answer(b'{"a": "\xff\xfe"}'),
    "surrogate": lambda request: request.answer(
        b'{"experiment_id": "\\ud800", "run": {"info": {"run_id": "\\ud800"}}}'
    ),
    "deep": lambda request: request.answer(b"[" * 100_000),
    "a login page": lambda request: request.answer(b"<!DOCTYPE html>\n<html>log in</html>", Content_Type="text/html"),
    "other types": answers({"experiment": [1], "run": [1], "runs": {"a": 1}, "experiment_id": {"a": 1}}),
    "no ids": answers(
        {"experiment": {"experiment_id": None}, "run": {"info": {"run_id": None}}, "runs": [{"info": None}]}
    ),
    "an odd error": answers({"error_code": ["x"], "message": 3}, 400),
    "204": lambda request: request.answer(b"", 204),
    "304": lambda request: request.answer(b"", 304),
    "403": lambda request: request.answer(b"<html>", 403),
    "503": lambda request: request.answer(b"", 503, Retry_After="3600"),
    "999": lambda request: request.answer(b"", 999),
    "a circle": lambda request: request.answer(b"", 302, Location=request.path),
    "elsewhere": lambda request: request.answer(b"", 307, Location="file:///etc/hostname"),
    "too short": sends(OK + b"Content-Length: 100\r\n\r\n{}"),
    "two lengths": sends(OK + b"Content-Length: 2, 3\r\n\r\n{}"),
    "a bad chunk": sends(CHUNKED + b"zz\r\n{}"),
    "a chunk of less than nothing": sends(CHUNKED + b"-5\r\n{}\r\n"),
    "no HTTP": sends(b"\x00\x01\x02" * 10),
    "nothing": sends(),
    "reset": resets,
    "badly packed": lambda request: request.answer(b"no gzip", Content_Encoding="gzip"),
    "packed": packed,
    "hangs": sends(every=0.1),
    "slow status": sends(then=b"H", every=0.02),
    "slow headers": sends(OK, then=b"A", every=0.02),
    "slow body": sends(OK + b"Content-Length: 100\r\n\r\n", then=b" ", every=0.02),
    "slow chunks": sends(CHUNKED, then=b"1\r\n \r\n", every=0.02),
    "endless": sends(OK + b"\r\n", then=b" " * 65536, every=0.0),
    "endless chunks": sends(CHUNKED, then=b"10000\r\n" + b" " * 65536 + b"\r\n", every=0.0),
    "endless headers": sends(OK, then=b"A: b\r\n", every=0.0),
    "an endless line": sends(OK + b"A:", then=b"b" * 65536, every=0.0),
}
#: Further faults that are tried for one kind of request, by a part of its path.
REQUESTS = (
    "get-by-name",
    "experiments/create",
    "runs/create",
    "runs/get",
    "log-batch",
    "runs/update",
    "mlflow-artifacts",
)
OF_EACH = ("object", "no ids", "a login page", "slow body")

WELL = (("log-batch", "object"), ("mlflow-artifacts", "object"))  # the valid answers of MLflow
#: All tested pairs (part of the path, fault); "" is all requests.
CASES = [
    *(("", what) for what in FAULTS),
    *((where, what) for where in REQUESTS for what in OF_EACH if (where, what) not in WELL),
]
