"""The MLflow server that shows a local store, on loopback only: it has no authentication."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.errors import InputError

if TYPE_CHECKING:
    from stacked.mlflow_store import Store

HOST = "127.0.0.1"
# Without its job runner the server needs a third of the memory.
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def command(store: Store, port: int = 5000) -> list[str]:
    """The arguments that start the server, to be run with `ENVIRONMENT`.

    Raises `InputError` when the store is a server already.
    """
    if store.is_server:
        raise InputError(f"the runs are recorded at {store.uri}, a server that runs already; open it in a browser")
    arguments = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.uri]
    arguments += ["--artifacts-destination", str(store.artifacts), "--host", HOST, "--port", str(port)]
    return [*arguments, "--workers", "1"]


def typed_command(store: Store, port: int = 5000) -> str:
    """The same as one line for a shell."""
    settings = [f"{key}={value}" for key, value in ENVIRONMENT.items()]
    return " ".join([*settings, "python", shlex.join(command(store, port)[1:])])


def address(port: int = 5000) -> str:
    """Where the server answers."""
    return f"http://{HOST}:{port}"


def serve(store: Store, port: int = 5000, timeout: float = 60) -> subprocess.Popen[bytes]:
    """Start the server and return when it is healthy; its output goes to `server.log` in the store's folder.

    Raises `InputError` when the port is taken, the server dies, or it is not healthy after `timeout` seconds.
    """
    _check_free(port)
    log = store.root / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command(store, port),
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(server, port, timeout, log)
    except BaseException:
        stop(server)
        raise
    return server


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and the processes it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(10)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    server.wait()


def _check_free(port: int) -> None:
    if not 0 < port < 65536:
        raise InputError(f"port {port} does not exist; choose one from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(
                f"port {port} cannot be used ({error.strerror}); choose another with --port, or open "
                f"{address(port)} if it is a server of this store that runs already"
            ) from error


def _wait(server: subprocess.Popen[bytes], port: int, timeout: float, log: Path) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise InputError(f"the MLflow server ended with code {server.returncode}; {log} says why")
        if _is_healthy(port):
            return
        time.sleep(0.2)
    raise InputError(f"the MLflow server was not healthy after {timeout:.0f} seconds; {log} may say why")


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"{address(port)}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
