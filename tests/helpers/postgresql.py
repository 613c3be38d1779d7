"""A PostgreSQL database for tests: Debian's programs on a free port, in a temporary folder, as a user who is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.tracked import free_port

USER, PASSWORD = "writer", "not-to-be-shown"


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, which Debian keeps out of the path; None if it is not installed."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))[::-1]
    return next((place for place in places if (place / "pg_ctl").exists()), None)


def account() -> str | None:
    """Return the user to run PostgreSQL as: root is refused by it, and every other user runs it himself (None)."""
    return "postgres" if os.geteuid() == 0 else None


def missing() -> str:
    """Return what this machine lacks to run PostgreSQL; "" if nothing."""
    if programs() is None:
        return "PostgreSQL is not installed: it is Debian's package postgresql"
    names = {entry.pw_name for entry in pwd.getpwall()}
    return (
        "" if account() is None or account() in names else "root cannot run PostgreSQL, and there is no user postgres"
    )


@dataclass
class Cluster:
    """A database server whose files are in `folder`."""

    folder: Path
    port: int

    def uri(self, database: str) -> str:
        """Return the address of a database, with the password."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; "immediate" as a crash would, without waiting for transactions."""
        self._run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def freeze(self) -> None:
        """Stop all processes of the server without ending them, so that it accepts connections and does not answer."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def create(self, database: str) -> str:
        """Create a database and return its address."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, database)
        return self.uri(database)

    def _signal(self, number: int) -> None:
        parent = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for process in (parent, *map(int, children)):
            os.kill(process, number)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str((programs() or Path()) / program), *words],
            user=account(),
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,  # the server would keep a pipe open
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stderr!r}"


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Context with a running server, which is stopped and whose files are removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="stacked-pg-", dir="/tmp"))  # the path of a socket is short
    made = Cluster(folder, free_port())
    try:
        if account():
            shutil.chown(folder, account())
        (folder / "password").write_text(PASSWORD)
        os.chmod(folder / "password", 0o644)
        words = ("-D", "data", "-U", USER, "--auth=scram-sha-256", "--pwfile=password", "-E", "UTF8", "--no-sync")
        made._run("initdb", *words)
        made.start()
        yield made
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            made.thaw()
            made.stop()
        shutil.rmtree(folder)
