"""The MLflow server for a local store. It has no authentication, so it listens on loopback unless told otherwise."""

from __future__ import annotations

import ipaddress
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.tracking.backend.addresses import check_addresses
from stacked.util.errors import InputError
from stacked.util.links import check_inside, outward
from stacked.util.loopback import HOST, NAMES, is_loopback, unproxied
from stacked.util.paths import without_login

if TYPE_CHECKING:
    from stacked.tracking.backend.store import Store

#: The host names for all addresses of this machine, and the loopback address to reach such a server.
EVERYWHERE = {"0.0.0.0": HOST, "::": "::1"}
# without its job runner the server needs a third of the memory
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def command(store: Store, port: int = 5000, host: str = HOST) -> list[str]:
    """Return the command that starts the server, to be run with the variables of `environment` and `database_variable`.

    Raises `InputError` if the store is a server itself.
    """
    if store.is_server:
        raise InputError(f"the runs are recorded at {store.name}, which is a server already: open it in a browser")
    arguments = [sys.executable, "-m", "mlflow", "server"]
    arguments += [] if store.is_postgresql else ["--backend-store-uri", store.uri]
    arguments += ["--artifacts-destination", str(store.artifacts), "--host", host, "--port", str(port)]
    return [*arguments, "--workers", "1"]


def database_variable(store: Store) -> dict[str, str]:
    """Return the environment variable of the server for a PostgreSQL database: other users see the words of a command."""
    return {"MLFLOW_BACKEND_STORE_URI": store.uri} if store.is_postgresql else {}


def environment(port: int = 5000, host: str = HOST) -> dict[str, str]:
    """Return the environment variables of the server.

    They protect against DNS rebinding, by which a web page could reach the runs under a name of its own that resolves to this
    machine. MLflow's default list of hosts has patterns, such as 10.*, that anybody's name can match; here it has only the
    names of `host`, with the port. Variables that the user has set are kept.
    """
    allowed = {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(_in_requests(port, host)),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{name}" for name in _in_requests(port, host)),
    }
    return ENVIRONMENT | {key: value for key, value in allowed.items() if key not in os.environ}


def _in_requests(port: int, host: str) -> list[str]:
    """Return the names of a server on `host` as browsers send them: with the port, except for port 80."""
    own = is_loopback(host) or host in EVERYWHERE
    known = list(dict.fromkeys([*names(host), *(NAMES if own else ())]))
    return [f"{name}:{port}" for name in known] + (known if port == 80 else [])


def typed_command(store: Store, port: int = 5000, host: str = HOST) -> str:
    """Return the command with its variables as one line for a shell, without a login: libpq finds it in ~/.pgpass, say."""
    database = {key: without_login(value) for key, value in database_variable(store).items()}
    settings = [f"{key}={shlex.quote(value)}" for key, value in (environment(port, host) | database).items()]
    return " ".join([*settings, "python", shlex.join(command(store, port, host)[1:])])


def address(port: int = 5000, host: str = HOST) -> str:
    """Return the address of the server."""
    return f"http://{names(host)[0]}:{port}"


def warning(port: int = 5000, host: str = HOST) -> str:
    """Return the security warning to show when the server starts."""
    if is_loopback(host):
        return "MLflow has no authentication: every user of this machine can read, change and delete these runs."
    return (
        f"WARNING: MLflow has no authentication: whoever reaches port {port} of this machine over the network can read, "
        f"change and delete every run and artifact. It answers as {' and '.join(names(host))}; set other names in "
        "MLFLOW_SERVER_ALLOWED_HOSTS and MLFLOW_SERVER_CORS_ALLOWED_ORIGINS."
    )


def names(host: str) -> list[str]:
    """Return the names of a server on `host`, as browsers write them in an address."""
    if host not in EVERYWHERE:
        try:
            known = ipaddress.ip_address(host)
        except ValueError:
            return [host.lower()]
        return [f"[{known}]" if known.version == 6 else str(known)]
    found = [socket.gethostname(), socket.getfqdn()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, but selects the network interface
            found.append(probe.getsockname()[0])
        except OSError:
            pass  # there is no network
    return list(dict.fromkeys(name.lower() for name in found))


def serve(store: Store, port: int = 5000, timeout: float = 60, host: str = HOST) -> subprocess.Popen[bytes]:
    """Start the server and return when it is healthy; its output goes to `server.log` in the store's folder.

    Raises `InputError` if host or port cannot be used, the server ends, or it is not healthy after `timeout` seconds, and if a
    link among the artifacts, or an address in the database, leads out of them: the server would show the file behind it to every
    user of this machine.
    """
    _check_free(port, host)
    log = store.root / "server.log"
    check_inside(store.root, log, store.artifacts)
    check_inside(store.artifacts, *outward(store.artifacts))
    check_addresses(store)
    with log.open("ab") as output:  # append, because another program may have written a file of this name
        server = subprocess.Popen(
            command(store, port, host),
            env={**os.environ, **unproxied(os.environ), **environment(port, host), **database_variable(store)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(server, port, timeout, log, host)
    except BaseException:
        stop(server)
        raise
    return server


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server and its child processes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(10)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    server.wait()


def _check_free(port: int, host: str) -> None:
    if not 0 < port < 65536:
        raise InputError(f"port {port} does not exist; give one from 1 to 65535")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"port {port} cannot be used on {host} ({error.strerror}); choose another with --port, open "
                f"{address(port, host)} if it is a server of this store that runs already, or give an address of this "
                "machine with --host"
            ) from error


def _wait(server: subprocess.Popen[bytes], port: int, timeout: float, log: Path, host: str) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise InputError(f"the MLflow server ended with code {server.returncode}; {log} says why")
        if _is_healthy(port, EVERYWHERE.get(host, host)):
            return
        time.sleep(0.2)
    raise InputError(f"the MLflow server was not healthy after {timeout:.0f} seconds; {log} may say why")


def _is_healthy(port: int, host: str) -> bool:
    connection = HTTPConnection(
        host, port, timeout=2
    )  # not through a proxy, which cannot reach this machine's loopback
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (HTTPException, OSError):
        return False
    finally:
        connection.close()
