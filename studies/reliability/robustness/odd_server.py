"""A server with the part of MLflow's API that a run needs, which can be made to give invalid answers."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

#: A function that answers a request instead of MLflow; it gets the request handler and writes to it.
Fault = Callable[[Any], None]


class OddServer(ThreadingHTTPServer):
    """A server that stores what it receives in `runs` and `files`.

    Requests whose path contains `where` are answered by `fault` (None: normally).
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.fault: Fault | None = None
        self.where = ""
        self.ended = threading.Event()  # ends faults that would never end

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def points(self) -> dict[str, list[tuple[int, float]]]:
        """Return the points (step, value) of the metric "train/loss" by the name of the run."""
        return {
            run["info"]["run_name"]: sorted({(m["step"], m["value"]) for m in run["metrics"]})
            for run in self.runs.values()
        }

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors of clients that closed the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OddServer

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, body: bytes = b"{}", status: int = 200, **headers: str) -> None:
        """Send an answer with a body and a correct length."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.fault is not None and re.search(self.server.where, path):
            self.server.fault(self)
            return
        if "mlflow-artifacts" in path and self.command == "GET":
            self.answer(b'{"files": []}')
            return
        if "mlflow-artifacts" in path:
            self.server.files[path.rpartition("/artifacts/")[2]] = self.body
            self.answer(b"")
            return
        status, answer = self.mlflow(path.partition("/mlflow/")[2], self.given())
        self.answer(json.dumps(answer).encode(), status)

    def given(self) -> dict[str, Any]:
        """Return the JSON body or the query of the request."""
        return dict(parse_qsl(urlsplit(self.path).query)) | json.loads(self.body or b"{}")

    do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815

    def mlflow(self, what: str, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the (status, content) that MLflow answers."""
        server, run_id = self.server, ""
        if what == "experiments/get-by-name":
            name = given["experiment_name"]
            if name not in server.experiments:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "there is none"}
            return 200, {
                "experiment": {"experiment_id": server.experiments[name], "name": name, "lifecycle_stage": "active"}
            }
        if what == "experiments/create":
            return 200, {"experiment_id": server.experiments.setdefault(given["name"], str(len(server.experiments)))}
        if what == "runs/create":
            run_id = uuid.uuid4().hex
            info = {
                "run_id": run_id,
                "run_name": given["run_name"],
                "experiment_id": given["experiment_id"],
                "status": "RUNNING",
                "start_time": given["start_time"],
                "lifecycle_stage": "active",
                "artifact_uri": f"mlflow-artifacts:/{run_id}/artifacts",
            }
            server.runs[run_id] = {"info": info, "tags": given["tags"], "metrics": []}
        if what == "runs/search":
            found = [
                run
                for run in server.runs.values()
                if any(f"tags.{t['key']} = '{t['value']}'" == given["filter"] for t in run["tags"])
            ]
            return 200, {"runs": [_run(run) for run in found]}
        if what.startswith("runs/") and (given.get("run_id") or run_id) not in server.runs:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "there is no such run"}
        if what in ("runs/create", "runs/get"):
            return 200, {"run": _run(server.runs[given.get("run_id") or run_id])}
        if what == "runs/log-batch":
            server.runs[given["run_id"]]["metrics"] += given.get("metrics", [])
        if what == "runs/update":
            server.runs[given["run_id"]]["info"]["status"] = given["status"]
            return 200, {"run_info": server.runs[given["run_id"]]["info"]}
        return 200, {}


def _run(run: dict[str, Any]) -> dict[str, Any]:
    return {"info": run["info"], "data": {"tags": run["tags"], "metrics": [], "params": []}}


@contextmanager
def odd_server() -> Iterator[OddServer]:
    """Context with a running server on the loopback address."""
    server = OddServer()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
