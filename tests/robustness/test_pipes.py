"""A named pipe in the place of a file is refused in one line: reading it would never end."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stacked import RunSpec, load_encoder
from stacked.data.formats.files import read_archive
from stacked.data.formats.idx import IdxFolder
from stacked.model.model_file import kind_of
from stacked.runs.checkpoint import Checkpoints, load_checkpoint
from stacked.tracking.metric_log import MetricLog
from stacked.tracking.pending_uploads import stored_uploads
from stacked.tracking.run_record import read_record
from stacked.util.reading import check_regular
from studies.record import runs as record
from studies.record.index import readme_section
from studies.record.lock import locked_record
from studies.record.samples import load_arrays
from studies.reliability.endurance_report import load as load_samples_of_endurance
from studies.statistics import measurement_rows, rows
from studies.statistics.trials import load_choices, load_trials
from tests.helpers.refused import refusal

WHAT = "it is a pipe, a socket or a device, not a file"
#: what reads a file, given the folder in which it is, by the name of the file
READERS: dict[str, Callable[[Path], Any]] = {
    "runs.csv": rows.load_rows,
    "curves.csv": rows.load_curves,
    "trials.csv": load_trials,
    "rows.csv": measurement_rows.load,
    "samples.csv": lambda folder: load_samples_of_endurance(folder / "samples.csv"),
    "configuration.json": record.recorded,
    "budgets.json": record.load_budgets,
    "reference.json": rows.load_reference,
    "choices.json": load_choices,
    "README.md": lambda folder: readme_section(folder / "README.md", "x"),
    "samples/joint-s0.npz": rows.load_samples,
    "samples/joint.npz": load_arrays,
    "run.json": read_record,
    "points.jsonl": lambda folder: MetricLog(folder / "points.jsonl"),
    "unsent/000001.npz": stored_uploads,
    "phase-1.safetensors": lambda folder: load_checkpoint(folder / "phase-1.safetensors", RunSpec()),
    "encoder.safetensors": lambda folder: load_encoder(folder / "encoder.safetensors"),
    "train-images-idx3-ubyte": lambda folder: IdxFolder(folder, {}, "get it again")._array(
        "train-images-idx3-ubyte", 3
    ),
    "any.csv": lambda folder: locked_record(folder).__enter__(),
}


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Make a named pipe below the folder; who reads it gets nothing, again and again, instead of waiting for ever."""
    writers = []

    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        os.mkfifo(path)
        writers.append(subprocess.Popen(["sh", "-c", 'while : > "$0"; do sleep 0.1; done', str(path)]))
        return path

    yield make
    for writer in writers:
        writer.kill()
        writer.wait()


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_in_the_place_of_a_file_is_refused(name: str, pipe: Callable[[str], Path], tmp_path: Path) -> None:
    path = pipe(name)
    _, refused = refusal(lambda: READERS[name](tmp_path))
    assert refused.startswith(str(path))
    assert WHAT in refused or name == "unsent/000001.npz"


def test_a_checkpoint_that_is_a_pipe_is_passed_over(pipe: Callable[[str], Path], tmp_path: Path) -> None:
    path = pipe("phase-1.safetensors")
    with pytest.warns(RuntimeWarning, match=WHAT):
        assert Checkpoints(tmp_path, RunSpec()).newest() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kind_of(path) == ""


def test_data_and_devices_that_are_no_files_are_refused(pipe: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(OSError, match=WHAT):
        read_archive(pipe("stl10.tar.gz"), "0", (), "get it again")
    with pytest.raises(OSError, match=WHAT):
        check_regular("/dev/null")
