"""What an outage leaves to be done: kept in files that hold no more than they must, and read with care."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given

from stacked.tracking.pending_uploads import MOST_BYTES, PendingUpload, store_upload, stored_uploads
from stacked.util.errors import InputError
from tests.helpers.refused import damaged, note, refusal


@pytest.mark.parametrize(
    "upload",
    [
        PendingUpload("end_run", {}),
        PendingUpload("_client", {}),
        PendingUpload("log_text", {}),
        PendingUpload("log_text", {"text": "t", "artifact_file": 5}),
        PendingUpload("log_text", {"text": "t", "artifact_file": "t.txt", "run_id": "r"}),
        PendingUpload("log_text", {"text": "t", "artifact_file": "t.txt"}, {"self": np.zeros(1)}),
        PendingUpload("log_file", {"path": "../../mlflow.db", "folder": None}),
        PendingUpload("log_image", {"key": "k", "step": 0, "at": 0}),
        PendingUpload("log_image", {"key": "k", "step": 0, "at": 0}, {"image": np.zeros((2, 2, 9), np.uint8)}),
        PendingUpload("log_dataset", {"name": "d", "digest": "d", "rows": 1, "shape": "x", "context": "c"}),
    ],
    ids=str,
)
def test_an_errand_asks_for_nothing_else(tmp_path: Path, upload: PendingUpload) -> None:
    store_upload(tmp_path, upload)
    with pytest.raises(InputError, match="move it away"):
        stored_uploads(tmp_path)


def test_an_errand_names_no_file_elsewhere(tmp_path: Path) -> None:
    """A file that lies elsewhere is copied; one that says that it does, as ours never do, is refused."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "runs.csv").write_text("rows")
    for path in (tmp_path / "out" / "runs.csv", tmp_path / "out"):
        store_upload(tmp_path / "work", PendingUpload("log_file", {"path": str(path), "folder": None}))
    (tmp_path / "out" / "runs.csv").unlink()
    file, folder = stored_uploads(tmp_path / "work")
    assert (tmp_path / "work" / file.plain["path"]).read_text() == "rows"
    assert (tmp_path / "work" / folder.plain["path"] / "runs.csv").read_text() == "rows"
    assert not any(str(tmp_path).encode() in each.read_bytes() for each in (tmp_path / "work").rglob("*.npz"))
    sent: list[str] = []
    client = SimpleNamespace(log_file=lambda run, path, folder: sent.append(path))
    for upload in (file, folder):
        upload.do(client, "r", tmp_path / "work")
    assert sent == [str(tmp_path / "work" / upload.plain["path"]) for upload in (file, folder)]
    assert list((tmp_path / "work" / "unsent").iterdir()) == []


def test_what_takes_much_memory_is_read_again_when_it_is_sent(tmp_path: Path) -> None:
    text, picture = {"text": "t" * 10_000, "artifact_file": "t.txt"}, {"key": "k", "step": 0, "at": 0}
    store_upload(tmp_path, PendingUpload("log_text", text, once="text"))
    store_upload(tmp_path, PendingUpload("log_image", picture, {"image": np.eye(4, dtype=np.uint8)}))
    long, pictured = stored_uploads(tmp_path)
    assert (long.plain, long.once, pictured.arrays) == ({}, "text", {})
    sent: list[dict[str, object]] = []
    client = SimpleNamespace(
        log_text=lambda _, **given: sent.append(given), log_image=lambda _, **given: sent.append(given)
    )
    for upload in (long, pictured):
        upload.do(client, "r", tmp_path)
    assert sent[0] == text
    np.testing.assert_array_equal(sent[1].pop("image"), np.eye(4))  # type: ignore[arg-type]
    assert sent[1] == picture
    assert list((tmp_path / "unsent").iterdir()) == []


def test_a_dataset_that_was_sent_can_be_sent_again(tmp_path: Path) -> None:
    plain = {"name": "d" * 5000, "digest": "d", "rows": 1, "shape": (1,), "context": "c", "dtype": "uint8"}
    store_upload(tmp_path, PendingUpload("log_dataset", plain))
    [upload] = stored_uploads(tmp_path)
    sent: list[dict[str, object]] = []
    for _ in range(2):
        upload.do(SimpleNamespace(log_dataset=lambda _, **given: sent.append(given)), "r", tmp_path)
    assert sent == [plain] * 2


def test_what_is_too_large_to_be_read_again_is_not_stored_and_said_so(tmp_path: Path) -> None:
    upload = PendingUpload("log_text", {"text": "t" * MOST_BYTES, "artifact_file": "t.txt"})
    with pytest.warns(RuntimeWarning, match="log_text has 16 MiB, and uploads of at most 16 MiB are kept for later"):
        store_upload(tmp_path, upload)
    assert upload.path is None
    assert stored_uploads(tmp_path) == []
    upload.plain["text"] = "t" * (MOST_BYTES - 1000)
    store_upload(tmp_path, upload)
    assert [each.path for each in stored_uploads(tmp_path)] == [upload.path]


def archive(**words: object) -> bytes:
    """An upload's file with these words, and what its writer would not write."""
    content = io.BytesIO()
    np.savez_compressed(content, errand=np.frombuffer(json.dumps(words).encode(), np.uint8))
    return content.getvalue()


GOOD = archive(what="log_text", plain={"text": "t" * 99, "artifact_file": "t.txt"}, once="")


@given(content=damaged(GOOD))
@example(archive(what="log_file", plain={"path": "/etc/passwd", "folder": "x"}, once=""))
@example(archive(what="log_text", plain="[" * 10**5, once=""))
@example(archive(what=["log_text"], plain={}, once=""))
@example(GOOD.replace(b"\x08\x00", b"\x63\x00"))  # another method of compression
@example(GOOD[:6] + b"\x01" + GOOD[7:])  # as if encrypted
def test_any_errand_is_whole_or_named(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "uploads"
    (folder / "unsent").mkdir(parents=True, exist_ok=True)
    (folder / "unsent" / "000001.npz").write_bytes(content)
    found, refused = refusal(lambda: stored_uploads(folder))
    note("refused" if refused else "read")
    assert found or "000001.npz is not a pending upload of a run" in refused
    if found:
        assert found[0].plain == {"text": "t" * 99, "artifact_file": "t.txt"}
