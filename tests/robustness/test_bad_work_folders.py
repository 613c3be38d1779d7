"""The work folder of a run with anything in its files: points that are whole are kept, all else is refused in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stacked.tracking import uploader
from stacked.tracking.metric_log import LoggedMetrics, MetricLog
from stacked.tracking.run_record import RunRecord, open_record, read_record
from stacked.tracking.tracker import Store, Tracker
from tests.helpers.refused import broken, damaged, mutated, note, refusal, text_of

POINTS = [
    {"run": "joint/s0", "step": 3, "time": 1_700_000_000_000, "metrics": {"train/loss": 0.5, "eval/fvu": None}},
    {"run": "joint/s0", "step": 6, "time": 1_700_000_000_009, "metrics": {"train/loss": 0.25}},
    {"run": "joint/s0", "step": 9, "time": 1_700_000_000_020, "metrics": {"train/loss": 1}},
]
LINES = [json.dumps(point) for point in POINTS]
CONTENT = "".join(line + "\n" for line in LINES).encode()
RECORD = {
    "store": "there",
    "name": "joint/s0",
    "tags": {"arm": "joint"},
    "params": {"seed": "0"},
    "started": 1_700_000_000_000,
    "ended": None,
    "status": "RUNNING",
    "parent": None,
    "run_id": "a1",
    "points_sent": 2,
    "tags_sent": True,
    "end_sent": False,
    "done": ["model encoder"],
    "experiment": "mnist-conv-16-32",
    "key": "6f1ec4cfcbc8688c4027b49aaf7ca7ff",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def same(point: LoggedMetrics, line: str) -> bool:
    said = json.loads(line)
    numbers = {name: math.nan if value is None else value for name, value in said["metrics"].items()}
    right = point.metrics.keys() == numbers.keys() and all(
        point.metrics[name] == number or not math.isfinite(number) for name, number in numbers.items()
    )
    return right and (point.run, point.step, point.time) == (said["run"], said["step"], said["time"])


def points_in(work: Path, content: bytes) -> MetricLog | None:
    """The points in these bytes, which are then as they were but for a torn end; or a refusal that leaves all as it was."""
    path = work / "points.jsonl"
    path.write_bytes(content)
    file, refused = refusal(lambda: MetricLog(path))
    note("refused" if refused else "read")
    whole = content[: content.rfind(b"\n") + 1]
    assert path.read_bytes() == whole
    if file is None:
        assert refused.startswith(str(path))
        assert refused.endswith("; move its folder away to start afresh")
        return None
    lines = whole.decode().splitlines()
    assert len(file.entries) == len(lines)
    assert all(same(point, line) for point, line in zip(file.entries, lines, strict=True))
    for point in file.entries:
        assert 0 <= point.step < 2**63
        assert all(isinstance(value, float) and not math.isinf(value) for value in point.metrics.values())
    return file


@given(size=st.integers(0, len(CONTENT)))
def test_points_cut_anywhere_are_kept_to_the_last_whole_line(work: Path, size: int) -> None:
    file = points_in(work, CONTENT[:size])
    assert file is not None
    assert len(file.entries) == CONTENT[:size].count(b"\n")
    assert file.add("joint/s0", {"train/loss": 2.0}, step=99, time=5) is not None
    assert len(MetricLog(file.path).entries) == len(file.entries)


@given(content=damaged(CONTENT))
@example(content=b"\xff\n")
@example(content=b"\n")
@example(content=b"\r")
@example(content=b"[" * 100_000 + b"\n")
def test_damaged_points(work: Path, content: bytes) -> None:
    points_in(work, content)


@given(points=st.lists(mutated(POINTS, most=2).map(text_of) | broken(st.sampled_from(LINES)), min_size=1, max_size=3))
@example(points=['{"run": "a", "step": 1e400, "time": 1, "metrics": {}}'])
@example(points=['{"run": "a", "step": 1, "time": 1, "metrics": {"a": 1' + "0" * 400 + "}}"])
@example(points=['{"run": "a", "step": 9223372036854775808, "time": 1, "metrics": {}}'])
@example(points=['{"run": "a", "step": 1, "time": 1, "metrics": {"a": "1"}}'])
@example(points=['{"run": "a", "step": 1, "time": 1, "metrics": {"//": 1}}'])
@example(points=['{"run": ["a"], "step": 1, "time": 1, "metrics": {}}'])
@example(points=['{"run": "a", "step": true, "time": 1, "metrics": {}}'])
def test_other_points(work: Path, points: list[str]) -> None:
    points_in(work, "".join(point + "\n" for point in points).encode(errors="surrogatepass"))


def test_a_folder_in_the_place_of_points_is_named(tmp_path: Path) -> None:
    (tmp_path / "points.jsonl").mkdir()
    _, refused = refusal(lambda: MetricLog(tmp_path / "points.jsonl"))
    assert (
        refused == f"{tmp_path / 'points.jsonl'} cannot be read (Is a directory); move its folder away to start afresh"
    )


def record_in(work: Path, content: bytes) -> RunRecord | None:
    """The record in these bytes, which can be gone on with and written again; or a refusal."""
    path = work / "run.json"
    path.write_bytes(content)
    found, refused = refusal(lambda: read_record(work, "there"))
    note("refused" if refused else "read")
    if found is None:
        assert refused.startswith(f"{path} is not the record of a run (")
        assert refused.endswith("); move its folder away to start the run afresh")
        assert path.read_bytes() == content
        return None
    opened, refused = refusal(lambda: open_record(work, "there", "toys", "joint/s0", {"arm": "joint"}, {"seed": 0}))
    assert opened is not None or "holds a run with other parameters" in refused
    found.save(work)
    assert read_record(work, found.store) == found
    return found


@given(content=damaged(json.dumps(RECORD, indent=1).encode()))
def test_damaged_records(work: Path, content: bytes) -> None:
    record_in(work, content)


@given(text=mutated([RECORD], ["RUNNING", "FINISHED", 0, 1], most=2).map(text_of) | broken(st.just(text_of(RECORD))))
@example(text="[" * 100_000)
@example(text=text_of(RECORD | {"tags": [1]}))
@example(text=text_of(RECORD | {"params": None}))
@example(text=text_of(RECORD | {"points_sent": -3}))
@example(text=text_of(RECORD | {"status": "OVER"}))
@example(text=text_of({name: value for name, value in RECORD.items() if name != "name"}))
def test_other_records(work: Path, text: str) -> None:
    record_in(work, text.encode(errors="surrogatepass"))


def test_what_is_changed_here_is_read_before(work: Path) -> None:
    assert points_in(work, CONTENT) is not None
    assert record_in(work, json.dumps(RECORD).encode()) == RunRecord(**RECORD)  # type: ignore[arg-type]


def test_other_folders_beside_those_of_stages_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploader.Uploader, "flush", lambda *_, **__: True)
    for name in ("1", "1 copy", ".cache", "²"):
        (tmp_path / "stages" / name).mkdir(parents=True)
        (tmp_path / "stages" / name / "run.json").write_text(json.dumps(RECORD))
    tracker = Tracker(Store("there", tmp_path), "e", name="joint/s0", work=tmp_path, tags={}, params={})
    assert list(tracker._phases) == [1]
