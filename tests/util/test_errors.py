"""What every refusal is, whatever the value that is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacked.util.atomic import write_atomically
from stacked.util.errors import LONGEST, InputError


@given(st.text() | st.text(min_size=LONGEST))
def test_a_message_is_one_printable_line(text: str) -> None:
    message = str(InputError(text))
    assert message.isprintable()
    assert message.encode().decode() == message
    assert len(message) <= LONGEST + 5
    if text.isprintable() and len(text) <= LONGEST:
        assert message == text


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\nb\tc\r", r"a\nb\tc\r"), ("\x1b[31m", r"\x1b[31m"), ("x\udcff", r"x\udcff"), ("né 日本 –", "né 日本 –")],
)
def test_what_is_not_printable_is_escaped(text: str, line: str) -> None:
    assert str(InputError(text)) == line


def test_the_middle_of_a_long_message_is_left_out() -> None:
    message = str(InputError(f"name {'x' * 5000!r} is not known: choose another"))
    assert message.startswith("name 'xxx")
    assert " ... " in message
    assert message.endswith("xxx' is not known: choose another")


def test_it_goes_from_one_process_to_another() -> None:
    assert str(pickle.loads(pickle.dumps(InputError("a\n")))) == r"a\n"


def test_text_with_a_name_that_is_not_utf_8_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x", "run --data folder:\udcff é")
    assert (tmp_path / "x").read_text(encoding="utf-8") == r"run --data folder:\udcff é"
