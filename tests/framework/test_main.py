"""The one command line of all studies: the order of its steps, the lock on the folder, the index, and the exit codes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stacked.util.errors import Diverged, InputError, Interrupted
from studies.design.study import Session, Study
from studies.framework.main import main, run_session
from studies.record import index
from studies.record.lock import locked_record


class Steps(Session):
    """Notes which of its methods was called; `act` is done while the folder is locked, before the second of two rows."""

    def __init__(self, out: Path, act: Callable[[Path], object], code: int | None = None) -> None:
        self.out, self.act, self.code = out, act, code
        self.called: list[str] = []

    def begin(self) -> int | None:
        self.called.append("begin")
        return self.code

    def prepare(self) -> None:
        self.called.append("prepare")

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        for number in range(2):
            if number:
                self.act(self.out)
            (self.out / "rows.csv").write_text(f"method\n{number}\n")
            self.called.append("row")
            yield

    def report(self, command: str) -> bool:
        self.called.append(command)
        return True

    def section(self, root: Path) -> str:
        return f"{self.out.relative_to(root)}: {len(self.called)} steps"

    def end(self) -> int:
        self.called.append("end")
        return 0

    def close(self) -> None:
        self.called.append("close")


@dataclass(frozen=True, kw_only=True)
class Toy(Study):
    """A study of one session, whatever the words."""

    steps: Steps

    def session(self, words: list[str]) -> Session:
        if "bad" in words:
            raise InputError("words 'bad' are not allowed: leave them out")
        return self.steps


def toy(steps: Steps) -> Toy:
    return Toy(name="toy", title="Toy", question="?", protocol="", steps=steps)


def nothing(out: Path) -> None:
    """What a session does of itself."""


WHOLE = ["begin", "prepare", "row", "row", "python -m studies.toy --seeds 2", "end", "close"]


def test_the_steps_of_a_session_follow_each_other(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "out", nothing)
    assert main(toy(steps), ["--seeds", "2"]) == 0
    assert steps.called == WHOLE


def test_a_session_that_does_something_else_touches_no_folder(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "out", nothing, code=3)
    assert main(toy(steps), []) == 3
    assert steps.called == ["begin", "close"]
    assert not (tmp_path / "out").exists()


def test_the_folder_is_locked_while_rows_are_made_and_free_after(tmp_path: Path) -> None:
    def act(out: Path) -> None:
        with pytest.raises(InputError, match="another process works in"), locked_record(out):
            pass

    steps = Steps(tmp_path / "out", act)
    assert main(toy(steps), ["--seeds", "2"]) == 0
    assert steps.called == WHOLE
    with locked_record(tmp_path / "out"):
        pass


def fails(error: BaseException) -> Callable[[Path], object]:
    def act(out: Path) -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("act", "code", "said"),
    [
        (fails(InputError("rows are odd: restore them")), 2, "python -m studies.toy: rows are odd: restore them"),
        (fails(Diverged("the loss is not finite")), 1, "python -m studies.toy: the loss is not finite"),
        (
            fails(Interrupted("stopped as asked")),
            130,
            "python -m studies.toy: interrupted; finished results are saved; the",
        ),
        (shutil.rmtree, 1, "was removed while this command worked in it: its rows were written again"),
    ],
)
def test_what_ends_a_session_early_is_said_in_a_line(
    act: Callable[[Path], object], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = Steps(tmp_path / "out", act)
    assert main(toy(steps), []) == code
    assert steps.called == ["begin", "prepare", "row", "close"]
    told = capsys.readouterr().err.strip()
    assert said in told
    assert "\n" not in told
    assert (tmp_path / "out" / "rows.csv").read_text() == "method\n0\n"
    with locked_record(tmp_path / "out"):
        pass


def test_words_that_are_not_allowed_are_said_and_nothing_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = Steps(tmp_path / "out", nothing)
    assert main(toy(steps), ["bad"]) == 2
    assert capsys.readouterr().err == "python -m studies.toy: words 'bad' are not allowed: leave them out\n"
    assert steps.called == []


def test_a_session_that_was_asked_to_stop_makes_no_page(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "out", nothing)
    with pytest.raises(Interrupted):
        run_session(steps, "command", lambda: True)
    assert steps.called == ["begin", "prepare", "row", "row"]


def test_the_index_gets_the_block_of_a_record_that_it_has_a_place_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    monkeypatch.setattr(index, "ROOT", tmp_path)
    monkeypatch.setattr(index, "INDEX", results / "README.md")
    results.mkdir()
    before = "# Records\n<!-- begin: toy -->\nold\n<!-- end: toy -->\n"
    for out, text in ((results / "other", before), (tmp_path / "toy", before), (results / "toy", None)):
        index.INDEX.write_text(before)
        assert main(toy(Steps(out, nothing)), []) == 0
        after = index.INDEX.read_text()
        assert after == (text or before.replace("old", "toy: 5 steps"))


class Early(Steps):
    """Is interrupted before the folder is touched, as while data are loaded or what a study will cost is told."""

    def begin(self) -> int | None:
        raise Interrupted("stopped as asked")


def test_what_is_kept_is_told_only_where_something_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(toy(Early(tmp_path / "out", nothing)), ["--dry-run"]) == 130
    assert capsys.readouterr().err == (
        "\npython -m studies.toy: interrupted; nothing was recorded yet: the same command begins again\n"
    )
    assert main(toy(Steps(tmp_path / "out", fails(Interrupted("stopped as asked")))), []) == 130
    assert capsys.readouterr().err.endswith(
        "interrupted; finished results are saved; the same command continues from there\n"
    )


class Slow(Steps):
    """Gets a signal while it loads, without asking for it."""

    def begin(self) -> int | None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        return 0


def test_before_anything_is_recorded_ctrl_c_ends_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert main(toy(Slow(tmp_path / "out", nothing)), ["--dry-run"]) == 130
    assert time.monotonic() - began < 2
    assert capsys.readouterr().err == (
        "\npython -m studies.toy: interrupted; nothing was recorded yet: the same command begins again\n"
    )


def test_while_results_are_recorded_a_session_has_time_to_end(tmp_path: Path) -> None:
    def act(out: Path) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)

    steps = Steps(tmp_path / "out", act)
    assert main(toy(steps), []) == 130
    assert steps.called == ["begin", "prepare", "row", "row", "close"]
