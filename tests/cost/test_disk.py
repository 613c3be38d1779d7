"""What a run will write is counted before it is trained, and a place that does not take it is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from stacked import RunSpec, StackSpec
from stacked.cost import disk
from stacked.cost.disk import Room, check_room, check_writable, work_room
from stacked.data.formats.split import Splits
from stacked.data.order import Order
from stacked.model.stack import empty_stack
from stacked.runs.run import load, run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.tracking.backend.store import open_store
from stacked.util.errors import Unwritable
from studies.cli.command_line import parser
from studies.cli.options import options
from studies.framework import disk_check
from studies.framework.main import main
from studies.framework.plan import plan
from studies.pretraining.layerwise import STUDY
from tests.helpers.splits import toy_splits

ROOT = Path(__file__).parents[2]


def on_disk(*folders: Path) -> int:
    """Bytes of the blocks of all files below the folders."""
    return sum(path.stat().st_blocks * 512 for folder in folders for path in folder.rglob("*") if path.is_file())


# What a run writes

SPEC = RunSpec(
    policy="greedy+finetune",
    stack=StackSpec.of("dense", 300, 100),
    budget=Budget((2.0,), 3.0),
    optimisation=Optimisation(batch_size=32),
    evaluation=Evaluation(every=5, images=40, probe_every=100, probe_images=40, probe_labels=40),
    classification=Classification(labels=()),
)
HOWS = {
    "adam": {},
    "sgd": {"optimiser": "sgd"},
    "patient": {"patience": 1, "end_patience": 1},
    "rollback": {"on_nonfinite": "rollback", "patience": 2, "end_patience": 2},
}


def room(spec: RunSpec, splits: Splits, work: Path) -> Room:
    """What a run with 4 updates an epoch has yet to write into its work folder."""
    return work_room(spec, empty_stack(spec.stack, splits.input_shape), spec.phases(4), len(splits.classes), work)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("policy", ["greedy+finetune", "supervised+unfreeze", "joint", "local-simultaneous"])
def test_the_largest_checkpoint_inside_a_phase_is_what_was_counted(how: str, policy: str, tmp_path: Path) -> None:
    splits, largest = toy_splits(128), 0
    objectives = {"input": 1.0, "image": 1.0, "labels": 1.0} if policy.startswith("local") else {}
    spec = replace(SPEC, policy=policy, optimisation=replace(SPEC.optimisation, objectives=objectives, **HOWS[how]))

    def look() -> bool:
        nonlocal largest
        largest = max([largest, *(path.stat().st_size for path in tmp_path.glob("update-*"))])
        return False

    counted = room(spec, splits, tmp_path).temporary / 3
    run(spec, splits, work=tmp_path, checkpoint_every=1, stop=look)
    assert largest <= counted <= 1.25 * largest  # of what learns, decoders need not


def test_the_work_folder_of_a_run_takes_what_was_counted(tmp_path: Path) -> None:
    splits = toy_splits(128)
    counted = room(SPEC, splits, tmp_path)
    run(SPEC, splits, work=tmp_path)
    assert on_disk(tmp_path) <= counted.kept <= 1.2 * on_disk(tmp_path)
    left = room(SPEC, splits, tmp_path)
    assert left.kept < 0.2 * counted.kept  # its checkpoints are there
    stack = (tmp_path / "stack.safetensors").stat().st_blocks * 512
    assert stack <= left.temporary <= 1.2 * stack  # it is replaced, and both exist for a moment


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, which takes seconds to make."""
    return open_store(tmp_path_factory.mktemp("empty")).root / "mlflow.db"


STUDIES = {
    "tiny": ["--smoke", "--arms", "greedy", "random"],
    "images": [
        *("--data", "mnist", "--limit", "600", "--channels", "16", "32", "--epochs", "2", "--finetune", "2"),
        *("--labels", "100", "--seeds", "1", "--arms", "joint", "--evaluation", "{probe_labels: 300}"),
    ],
    "large": [
        *("--data", "mnist", "--limit", "300", "--kind", "dense", "--channels", "600", "300", "30"),
        *("--epochs", "1", "--finetune", "1", "--labels", "100", "--seeds", "1", "--arms", "greedy+finetune"),
        *("--evaluation", "{probe_labels: 300}"),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_writes_at_most_what_was_counted_and_about_half_of_it(
    name: str, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[int, int]] = []
    (tmp_path / "store").mkdir()
    shutil.copy(database, tmp_path / "store")
    before, real = on_disk(tmp_path / "store"), disk_check.bytes_needed
    monkeypatch.setattr(disk_check, "bytes_needed", lambda *given: counted.append(real(*given)) or counted[0])
    words = ["--jobs", "1", "--classification", "{updates: 5, checks: 1}", "--store", str(tmp_path / "store")]
    assert main(STUDY, [*STUDIES[name], *words, "--out", str(tmp_path / "out")]) == 0
    written = on_disk(tmp_path / "store") - before, on_disk(tmp_path / "out")
    [(store, out)] = counted
    assert written[0] <= store, (written, counted)
    assert written[1] <= out, (written, counted)
    assert store + out <= 2.2 * sum(written), (written, counted)


# Room


def test_folders_of_one_disk_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: SimpleNamespace(free=5_000_000))
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    check_room([(one, 2_500_000), (two, 2_500_000)], "it", "")
    with pytest.raises(Unwritable) as error:
        check_room([(one, 2_500_000), (two, 2_600_000)], "3 runs", "free some space")
    assert str(error.value) == (f"3 runs may write 5.1 MB to {one} and {two}, where 5.0 MB are free: free some space")
    with pytest.raises(Unwritable, match=r"may write 7,000\.5 GB to "):
        check_room([(one, 7_000_500_000_000)], "it", "")


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: SimpleNamespace(free=100_000))


def test_a_study_that_will_not_fit_is_refused_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--smoke", "--arms", "joint", "--jobs", "1", "--store", str(tmp_path / "s"), "--out", str(tmp_path / "o")]
    full(monkeypatch)
    assert main(STUDY, words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "a run may write " in said
    assert (
        f" MB to {tmp_path}/s and {tmp_path}/o, where 0.1 MB are free: free some space, choose another --store" in said
    )
    assert list((tmp_path / "s" / "work").glob("*")) == []
    assert not (tmp_path / "o" / "runs.csv").exists()


def test_a_run_that_will_not_fit_into_its_work_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch)
    with pytest.raises(
        Unwritable, match=rf"^the run may write \S+ MB to {tmp_path}, where 0\.1 MB are free: free some"
    ):
        run(SPEC, toy_splits(64), work=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_not_counted_again(toy: Splits, tmp_path: Path) -> None:
    words = f"--data digits --channels 4 8 --seeds 2 --jobs 2 --store {tmp_path} --out {tmp_path}"
    given = options("layerwise", parser("p", "q", STUDY.arm_names).parse_args(words.split()))
    store, splits = open_store(tmp_path), load(given.base)
    jobs = list(plan(STUDY, given, splits))
    everything = disk_check.bytes_needed(given, store, jobs, splits)
    assert disk_check.bytes_needed(given, store, jobs[:4], splits)[0] < everything[0]
    per_epoch = Order(len(splits.train), 128, 0).updates_per_epoch
    work = store.root / "work" / jobs[0].spec.id
    work.mkdir(parents=True)
    (work / "phase-1.safetensors").write_bytes(b"")
    assert len(jobs[0].spec.phases(per_epoch)) == 2
    assert disk_check.bytes_needed(given, store, jobs, splits)[0] < everything[0]
    assert disk_check.bytes_needed(replace(given, resume=False), store, jobs, splits) == everything


# Places


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a study says of these words, in one line, before it trains."""
    assert main(STUDY, ["--smoke", "--arms", "random", "--jobs", "1", *words]) == 2
    [said] = capsys.readouterr().err.strip().splitlines()
    return said


@pytest.mark.parametrize("name", ["runs.csv", "curves.csv", "README.md"])
def test_a_folder_in_the_place_of_a_file_is_seen_before_training(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    said = refused(["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")], capsys)
    assert said.endswith(
        f"{tmp_path}/out/{name} cannot be written (it is not a file): move it away, or choose another folder"
    )


def test_a_file_in_the_place_of_a_folder_is_seen_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "figures").write_text("")
    store, out = ["--store", str(tmp_path / "store")], ["--out", str(tmp_path / "file" / "out")]
    assert "file/out cannot be written (Not a directory)" in refused([*store, *out], capsys)
    assert "out/figures cannot be written (File exists)" in refused([*store, "--out", str(tmp_path / "out")], capsys)
    assert "file/store' cannot hold the MLflow store" in refused(["--store", str(tmp_path / "file" / "store")], capsys)


NOBODY = 65534


@pytest.mark.slow
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can become another user, whom modes stop"
)
def test_what_another_user_may_not_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "runs.csv").write_text("")
    for folder in ("store/work", "store/artifacts"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "store" / "mlflow.db").write_bytes(b"")
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    for path in tmp_path.parents:  # pytest's folders are root's alone
        if path.stat().st_mode & 0o055 != 0o055:
            os.chmod(path, path.stat().st_mode | 0o055)
    whats = ("out", "store", "store/mlflow.db", "store/work", "store/artifacts")
    code = f"""
import os
from pathlib import Path
from types import SimpleNamespace
from stacked.util.errors import Unwritable
from studies.framework.disk_check import check_folders
home = Path({str(tmp_path)!r})
store = SimpleNamespace(root=home / "store", artifacts=home / "store" / "artifacts", is_local=True)
os.setgid({NOBODY})
os.setuid({NOBODY})
check_folders(SimpleNamespace(out=home / "out"), store)
os.chmod(home / "out" / "runs.csv", 0o444)  # it is replaced, not changed
check_folders(SimpleNamespace(out=home / "out"), store)
for what in {whats!r}:
    mode = (home / what).stat().st_mode
    os.chmod(home / what, 0o555)
    try:
        check_folders(SimpleNamespace(out=home / "out"), store)
    except Unwritable as error:
        print(error)
    os.chmod(home / what, mode)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    beginnings = [line.partition(":")[0] for line in done.stdout.splitlines()]
    reasons = ["it is read-only" if "." in what else "Permission denied" for what in whats]
    expected = zip(whats, reasons, strict=True)
    assert beginnings == [f"{tmp_path}/{what} cannot be written ({reason})" for what, reason in expected]


def test_a_place_that_is_fine_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("a")
    check_writable(tmp_path, ["runs.csv", "none"])
    check_writable(tmp_path / "new" / "folder")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "new",
        "new/folder",
        "runs.csv",
    ]
    assert (tmp_path / "runs.csv").read_text() == "a"
