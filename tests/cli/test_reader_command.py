"""A page shows the command that its reader types, without places on the machine of the record."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from studies.cli.reader_command import PLACES, reader_command
from studies.record.index import ROOT

PAGES = sorted(
    page for page in (ROOT / "results").glob("**/README.md") if "python -m studies" in page.read_text(encoding="utf-8")
)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--store", "/home/alice/runs", "--seeds", "2"], "--seeds 2"),
        (["--store=there", "--data-dir", "../sets", "--out", "results/x"], "--out results/x"),
        (
            ["--data", "folder:/home/alice/my photos", "--config", "~/my.yaml"],
            "--data 'folder:my photos' --config my.yaml",
        ),
    ],
)
def test_a_command_names_no_place_of_the_machine(words: list[str], shown: str) -> None:
    assert reader_command("python -m studies.x", words) == f"python -m studies.x {shown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.relative_to(ROOT).as_posix())
def test_no_committed_page_shows_such_a_place(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not [option for option in PLACES if re.search(f"{option}[ =]", text)]
