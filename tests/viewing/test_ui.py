"""The server of --ui, replaced by one that is stopped at once."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from stacked.tracking import tracker
from stacked.viewing import server
from studies.pretraining.layerwise import STUDY
from studies.viewing import replay, ui


def test_ctrl_c_stops_the_server_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def poll() -> None:
        raise KeyboardInterrupt

    running, stopped = SimpleNamespace(poll=poll), list[object]()
    store = SimpleNamespace(root=tmp_path, is_server=False, uri="sqlite:///x")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(tracker, "open_store", lambda _: store)
    monkeypatch.setattr(replay, "replay", lambda *_: [("runs", "key", "1")])
    monkeypatch.setattr(server, "serve", lambda *_, **__: running)
    monkeypatch.setattr(server, "stop", stopped.append)
    (tmp_path / "runs.csv").touch()
    assert ui.show("none", STUDY.given(["--ui", "--out", str(tmp_path)]), "python -m studies.layerwise") == 0
    assert stopped == [running]
    assert capsys.readouterr().out.endswith("\nstopped\n")
