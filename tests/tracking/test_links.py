"""A store that somebody else made: links in it lead to no file of this machine."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from stacked.doctor.__main__ import main as doctor_command
from stacked.doctor.checks import CHECKS
from stacked.tracking.backend.circuit_breaker import CircuitBreaker
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.store import Store, open_store
from stacked.tracking.pending_uploads import PendingUpload, store_upload, stored_uploads
from stacked.tracking.tracker import set_aside
from stacked.tracking.uploader import Uploader
from stacked.util.errors import InputError
from stacked.viewing.server import serve
from studies.viewing.ui import print_addresses
from tests.helpers.tracked import arm, train

from mlflow import MlflowClient  # isort: skip

SECRET = "a line\nno end of a line"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with files that nobody may send, change or delete."""
    for name in ("elsewhere/000001/secret", "elsewhere/secret"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(SECRET)
    return tmp_path / "elsewhere"


def is_whole(elsewhere: Path) -> bool:
    files = sorted(path.relative_to(elsewhere).as_posix() for path in elsewhere.rglob("*") if path.is_file())
    return files == ["000001/secret", "secret"] and {path.read_text() for path in elsewhere.rglob("secret")} == {SECRET}


def sent(store: Store) -> list[str]:
    return [path.name for path in store.artifacts.rglob("*") if path.is_file() and path.read_text() == SECRET]


@pytest.mark.parametrize("name", ["run.json", "points.jsonl", "unsent", "unsent/000001.npz", "stages", "stages/1"])
def test_a_link_in_a_work_folder_is_named_and_not_followed(
    name: str, store: Store, elsewhere: Path, tmp_path: Path
) -> None:
    link = tmp_path / "work" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere if name in ("unsent", "stages", "stages/1") else elsewhere / "secret")
    with pytest.raises(InputError, match=rf"{name} is a link that leads out of .* and is not followed: move it away"):
        arm(store, tmp_path / "work")
    assert is_whole(elsewhere)


def test_files_behind_links_are_not_sent(store: Store, elsewhere: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "unsent" / "000002" / "figures").mkdir(parents=True)
    (work / "unsent" / "000001").symlink_to(elsewhere / "000001")
    (work / "unsent" / "000002" / "figures" / "a.png").symlink_to(elsewhere / "secret")
    (work / "phase-1.safetensors").symlink_to(elsewhere / "secret")
    for path in ("unsent/000001/secret", "unsent/000002/figures", "phase-1.safetensors"):
        store_upload(work, PendingUpload("log_file", {"path": path, "folder": "kept"}))
    with pytest.warns(RuntimeWarning, match="is a link that leads elsewhere: it is not sent to MLflow") as told:
        train(arm(store, work))
    assert len([each for each in told if "is a link" in str(each.message)]) == 3
    assert sent(store) == []
    assert is_whole(elsewhere)
    assert stored_uploads(work) == []


def test_the_doctor_tells_of_links_and_deletes_what_is_in_the_store_alone(elsewhere: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    work = store.root / "work" / "a"
    train(arm(store, work))
    (elsewhere / ".stacked-0123456789abcdef.part").write_text(SECRET)
    (work / "unsent").symlink_to(elsewhere)
    found = [finding for check in CHECKS.values() for finding in check(store)]
    assert any("unsent is a link that leads out of" in finding.line for finding in found)
    assert (elsewhere / ".stacked-0123456789abcdef.part").exists()
    (elsewhere / ".stacked-0123456789abcdef.part").unlink()
    assert is_whole(elsewhere)


def test_a_work_folder_that_is_a_link_is_neither_trained_in_nor_set_aside(
    elsewhere: Path, tmp_path: Path, store: Store
) -> None:
    (tmp_path / "work").mkdir()
    link = tmp_path / "work" / "a"
    link.symlink_to(elsewhere)
    for use in (lambda: train(arm(store, link)), lambda: set_aside(store, link)):
        with pytest.raises(InputError, match=r"work/a is a link that leads out of .*work and is not followed: move it"):
            use()
    assert link.is_symlink()
    assert is_whole(elsewhere)


def test_the_doctor_leaves_a_work_folder_that_is_a_link_alone(
    elsewhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(tmp_path / "store")
    names = ("phase-1.safetensors", "update-0.safetensors", ".stacked-0123456789abcdef.part")
    for name in names:
        (elsewhere / name).write_text("precious")
    (store.root / "work").mkdir()
    (store.root / "work" / "a").symlink_to(elsewhere)
    assert doctor_command(["--store", str(store.root)]) == 1
    told = f"records: {store.root / 'work' / 'a'} is a link that leads out of {store.root / 'work'} and is not followed"
    assert capsys.readouterr().out.splitlines() == [f"{told}: move it away. Repair it by hand.", "1 found, 0 repaired."]
    with arm(store, tmp_path / "other"):
        pass
    shutil.copytree(tmp_path / "other", elsewhere / "run", dirs_exist_ok=True)
    for path in (elsewhere / "run").iterdir():  # a whole run, whose checkpoints are not needed
        path.rename(elsewhere / path.name)
    assert [finding.line for check in CHECKS.values() for finding in check(store)] == [
        told.removeprefix("records: ") + ": move it away"
    ]
    assert all((elsewhere / name).read_text() == "precious" for name in names)


@pytest.mark.parametrize("name", ["artifacts", "work"])
def test_a_store_a_part_of_which_is_elsewhere_is_not_opened(name: str, elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / name).symlink_to(elsewhere)
    with pytest.raises(
        InputError, match=rf"{name} is a link that leads out of .*store and is not followed: move it away"
    ):
        open_store(tmp_path / "store")
    assert is_whole(elsewhere)


def test_links_among_artifacts_are_neither_served_nor_written_through(elsewhere: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    with arm(store, store.root / "work" / "a") as tracker:
        tracker.text("x", "notes/x.txt")
    notes = store.artifacts / str(tracker.run_id) / "artifacts" / "notes"
    (notes / "y.txt").symlink_to(notes / "x.txt")
    store.artifacts.joinpath(".hidden").mkdir()
    with pytest.raises(InputError, match="port 0 does not exist"):
        serve(store, 0)
    for link in (notes / "z", store.artifacts / ".hidden" / "secret"):
        link.symlink_to(elsewhere if link.name == "z" else elsewhere / "secret")
        with pytest.raises(
            InputError, match=rf"{link.name} is a link that leads out of .*artifacts and is not followed"
        ):
            serve(store, 5998)
        if link.name == "z":
            with (
                pytest.raises(InputError, match="z is a link that leads out of"),
                arm(store, store.root / "work" / "a"),
            ):
                pass
            link.unlink()
    assert is_whole(elsewhere)


def test_files_of_an_outage_are_not_copied_into_a_link(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "work" / "unsent").mkdir(parents=True)
    (tmp_path / "work" / "unsent" / "000001").symlink_to(elsewhere)
    (tmp_path / "x.txt").write_text("x")
    upload = PendingUpload("log_file", {"path": str(tmp_path / "x.txt"), "folder": None})
    with pytest.raises(InputError, match="unsent/000001 is a link that leads out of"):
        store_upload(tmp_path / "work", upload)
    assert is_whole(elsewhere)


CONTROL = "a\x1b[31m\x07\nb"


def test_what_is_said_of_a_foreign_store_does_nothing_to_a_terminal(
    elsewhere: Path, tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    work = store.root / "work" / CONTROL
    with arm(store, work):
        pass
    (work / f"{CONTROL}.png").symlink_to(elsewhere / "secret")
    (work / f"{CONTROL}s").mkdir()
    (work / f"{CONTROL}s" / CONTROL).symlink_to(elsewhere / "secret")
    for name in (f"{CONTROL}.png", f"{CONTROL}s", f"{CONTROL} gone"):
        store_upload(work, PendingUpload("log_file", {"path": name, "folder": None}))
    before = warnings.formatwarning
    try:
        with pytest.warns(RuntimeWarning) as told:
            assert doctor_command(["--store", str(store.root), "unsent"]) == 0
        shown = [warnings.formatwarning(each.message, each.category, each.filename, each.lineno) for each in told]
        shown.append(warnings.formatwarning(f"from elsewhere: {CONTROL}", RuntimeWarning, "x.py", 1))
    finally:
        warnings.formatwarning = before
    said = [str(each.message) for each in told if each.category is RuntimeWarning]
    assert len(said) == 3
    assert [line for line in said if not line.isprintable()] == []
    assert [line for line in shown if not line.removesuffix("\n").isprintable()] == []
    out = capsys.readouterr()
    assert [line for line in (out.out + out.err).split("\n") if not line.isprintable()] == []
    shutil.rmtree(work)


def test_an_outage_is_told_of_without_what_a_folder_does_to_a_terminal() -> None:
    def fail() -> None:
        raise ConnectionError(CONTROL)

    with pytest.warns(RuntimeWarning, match=r"kept in a\\x1b\[31m") as told:
        Uploader(fail, f"http://{CONTROL}", CONTROL, CircuitBreaker()).flush()
    assert str(told[0].message).isprintable()


def test_the_name_of_a_view_does_nothing_to_a_terminal(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    print_addresses([(CONTROL, "key", "1")], store, 5000, "127.0.0.1", running=True)
    assert capsys.readouterr().out.startswith(r"  a\x1b[31m\x07\nb: http://127.0.0.1:5000/#/experiments/1/runs")


def test_a_log_and_a_database_that_are_links_are_not_written(elsewhere: Path, tmp_path: Path, store: Store) -> None:
    (store.root / "server.log").symlink_to(elsewhere / "secret")
    with pytest.raises(InputError, match=r"server\.log is a link that leads out"):
        serve(store, 5999)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mlflow.db").symlink_to(elsewhere / "secret")
    with pytest.raises(InputError, match=r"mlflow\.db is a link that leads out"):
        open_store(tmp_path / "other")
    assert is_whole(elsewhere)


def test_a_store_that_is_itself_behind_a_link_is_used(tmp_path: Path) -> None:
    (tmp_path / "large" / "work").mkdir(parents=True)
    (tmp_path / "store").symlink_to(tmp_path / "large")
    store = open_store(tmp_path / "store")
    with arm(store, tmp_path / "store" / "work" / "a") as tracker:
        tracker.image("grid", np.zeros((8, 8), np.uint8), 3)
        (tmp_path / "store" / "work" / "a" / "x.txt").write_text("x")
        tracker.artifact(tmp_path / "store" / "work" / "a" / "x.txt")
    client = StoreClient(store, "digits-conv-4-8")
    assert MlflowClient(store.uri).get_run(tracker.run_id).info.experiment_id == client.experiment_id
    assert [path.name for path in store.artifacts.rglob("x.txt")] == ["x.txt"]
