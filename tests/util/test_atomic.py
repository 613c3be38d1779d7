"""Files that are written whole: who may read and write them, and what is left of them by a process that was killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock

from stacked.cost.disk import check_writable
from stacked.tracking.backend import store as mlflow_store
from stacked.util import atomic
from stacked.util.atomic import PARTS, part, sweep, write_atomically
from stacked.util.errors import Unwritable
from studies.record.lock import locked_record

ROOT = Path(__file__).parents[2]
NOBODY, OTHER, GROUP = 65534, 65533, 65530
as_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002], indirect=True)
def test_files_have_the_mode_that_the_umask_says(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    for content in ("first", b"second"):
        write_atomically(path, content)
        assert mode(path) == 0o666 & ~umask
    assert mode(path.parent) == 0o777 & ~umask
    assert [each.name for each in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("umask", [0o077, 0o002], indirect=True)
def test_a_store_has_the_mode_that_the_umask_says(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quickly(uri: str) -> None:  # MLflow's tables take seconds
        with closing(sqlite3.connect(uri.partition(":///")[2])) as database:
            database.execute("create table if not exists runs (name)")

    monkeypatch.setattr(mlflow_store, "_first_use", quickly)
    store = mlflow_store.open_store(tmp_path / "store")
    with FileLock(store.root / ".lock"):
        found = {path.name: mode(path) for path in store.root.iterdir()}
    files = dict.fromkeys(("mlflow.db", ".lock"), 0o666 & ~umask)
    assert found == {"artifacts": 0o777 & ~umask, **files}


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that others reach, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def written_by(user: int, folder: Path) -> str:
    """What is said when this user, who shares a group with others and lets it write, writes a file into a folder.

    In a forked process, because only root can read the interpreter's own folders.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.umask(0o002)
            os.setgroups([GROUP])
            os.setgid(user)
            os.setuid(user)
            try:
                check_writable(folder, ["runs.csv"])
                write_atomically(folder / "runs.csv", "a")
                said = ""
            except Unwritable as error:
                said = str(error)
            os.write(writing, said.encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as told:
        said = told.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return said


@as_root
def test_two_users_of_a_group_write_to_one_folder(shared: Path) -> None:
    out = shared / "out"
    os.chown(shared, 0, GROUP)
    os.chmod(shared, 0o2775)
    path = out / "runs.csv"
    for user in (NOBODY, OTHER):
        assert written_by(user, out) == ""
        assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (user, GROUP, 0o664)
    os.chmod(path, 0o400)
    assert written_by(NOBODY, out) == ""  # the mode of a file that is replaced says nothing of that
    os.chown(out, 0, GROUP)
    os.chmod(out, 0o3777)
    told = f"{path} cannot be written (in this folder, as in /tmp, only its owner can replace a file)"
    assert written_by(OTHER, out).startswith(told)
    assert written_by(NOBODY, out) == ""


def test_a_file_that_is_changed_in_place_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(Unwritable, match=r"mlflow\.db cannot be written \(it is not a file\)"):
        check_writable(tmp_path, changed=["mlflow.db"])


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Unwritable, match="folder cannot be written"):
        write_atomically(tmp_path / "folder", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


#: Writes half a file, says so, and waits to be killed.
KILLED = """
import sys, time
from pathlib import Path
from stacked.util.atomic import part
with part(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("written", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    mine = tmp_path / ".stacked-notes"
    mine.write_text("of a user")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    sweep(tmp_path, tmp_path / "absent")
    [left] = tmp_path.glob(PARTS)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert left.read_bytes() == b"half"
    with part(tmp_path) as file:
        sweep(tmp_path)
        assert [path.name for path in tmp_path.glob(PARTS)] == [Path(file.name).name]
    assert list(tmp_path.iterdir()) == [mine]


def test_a_file_that_is_swept_before_it_is_locked_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, real = [], atomic._locked

    def locked(file: object) -> bool:
        opened.append(file)
        if len(opened) == 1:
            sweep(tmp_path)
        return real(file)  # type: ignore[arg-type]

    monkeypatch.setattr(atomic, "_locked", locked)
    write_atomically(tmp_path / "file", "whole")
    assert len(opened) == 2
    assert (tmp_path / "file").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_study_sweeps_the_folder_of_its_record(tmp_path: Path) -> None:
    left = [tmp_path / name / f".stacked-{number:016x}.part" for number, name in enumerate(("", "figures", "samples"))]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    with locked_record(tmp_path):
        assert not any(path.exists() for path in left)
