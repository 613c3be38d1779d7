"""The study of damage on purpose: what it counts as what, and that each of its families attempts what it says."""

from __future__ import annotations

import csv
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stacked.util.errors import InputError
from studies.framework.main import main
from studies.reliability.robustness import bombs, damage, servers
from studies.reliability.robustness import study as study
from studies.reliability.robustness.attempts import BELIEVED, FAILED, NOTICED, UNHARMED, Attempt, attempt
from studies.reliability.robustness.intact import Subject, fingerprint, image_files, model_files
from studies.reliability.robustness.report import counts, findings


def raising(error: Exception) -> Any:
    raise error


def warning(text: str) -> int:
    warnings.warn(text, stacklevel=1)
    return 2


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda: 1, UNHARMED),
        (lambda: 2, BELIEVED),
        (lambda: warning("a row was dropped"), NOTICED),
        (lambda: raising(InputError("it is damaged")), NOTICED),
        (lambda: raising(KeyError("x")), FAILED),
        (lambda: raising(MemoryError()), FAILED),
    ],
)
def test_outcomes(read: Any, outcome: str) -> None:
    assert attempt("files", "a", "a bit flipped", read, 1).outcome == outcome


def test_a_fingerprint_tells_every_change() -> None:
    values: list[Any] = [
        1,
        1.0,
        "a",
        None,
        [1, 2],
        [2, 1],
        {"a": 1},
        {"b": 1},
        np.zeros(3),
        np.zeros((3, 1)),
        np.ones(3),
    ]
    values += [torch.nn.Linear(2, 2), torch.zeros(2), torch.zeros(2, dtype=torch.int64), Path("a")]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": [np.ones(2)]}) == fingerprint({"a": [np.ones(2)]})


def test_damage_is_the_same_for_a_seed_and_the_intact_file_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    subject = Subject("file", path, lambda: fingerprint(path.read_bytes()))
    attempts = list(damage.try_damage(subject, 30, 0))
    assert path.read_bytes() == bytes(range(200))
    assert [each.outcome for each in attempts] == [BELIEVED] * 30
    assert [each.case for each in attempts] == [each.case for each in damage.try_damage(subject, 30, 0)]
    assert sum("cut off" in each.case for each in attempts) == 3
    for case, content in damage.damaged(bytes(range(200)), 30, random.Random(1)):
        flipped = np.frombuffer(content, np.uint8) ^ np.arange(len(content), dtype=np.uint8)
        assert np.unpackbits(flipped).sum() == (0 if "cut off" in case else 1)


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Subject]]:
    folder = tmp_path_factory.mktemp("intact")
    return folder, {subject.name: subject for subject in (*model_files(folder), *image_files(folder))}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detector", "denoiser", "codec", "compressed images", "photograph (PNG)"])
def test_no_damaged_file_with_a_checksum_is_believed(name: str, intact: tuple[Path, dict[str, Subject]]) -> None:
    subject = intact[1][name]
    attempts = list(damage.try_damage(subject, 60, 1))
    assert [each for each in attempts if each.outcome in (BELIEVED, FAILED)] == []
    assert subject.checksum


@pytest.mark.slow
@pytest.mark.parametrize("case", ["detector whose header", "compressed images: one of", "CSV with one field"])
def test_a_small_file_of_large_cost_is_read_in_a_process_of_its_own(
    case: str, intact: tuple[Path, dict[str, Subject]], tmp_path: Path
) -> None:
    [(told, (kind, make))] = [item for item in bombs.bombs(intact[0]).items() if item[0].startswith(case)]
    path = tmp_path / "bomb"
    path.write_bytes(make(intact[0]))
    found = bombs.read_apart(told, kind, path, intact[0])
    assert found.outcome == NOTICED, found
    assert found.megabytes is not None


def test_an_odd_answer_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "CASES", [("", "a login page"), ("log-batch", "no ids")])
    assert [each.outcome for each in servers.try_answers(tmp_path)] == [UNHARMED] * 2


def test_what_did_not_arrive_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "CASES", [("", "null")])
    monkeypatch.setattr(servers.OddServer, "points", lambda _: {})
    [found] = servers.try_answers(tmp_path)
    assert (found.outcome, found.detail) == (FAILED, "points are missing or duplicate")


def test_the_page_counts_outcomes(tmp_path: Path) -> None:
    made = [Attempt("files", "encoder", f"case {n}", NOTICED, "", 0.5) for n in range(3)]
    made += [Attempt("files", "encoder", "case 3", FAILED, "KeyError: 'x' | y", 2.0, 700.0)]
    assert counts(made) == {("files", "encoder"): {NOTICED: 3, FAILED: 1}}
    parts = findings(made)
    assert parts[0] == "4 attempts: 3 noticed, 0 unharmed, 0 believed, 1 failed."
    assert "| files | encoder | 4 | 3 | – | – | 1 | 2.0 | 700 |" in parts[3]
    assert "`KeyError: 'x' \\| y`" in parts[-1]


def test_the_command_writes_a_record_and_fails_where_something_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = [NOTICED]
    monkeypatch.setattr(
        study, "all_attempts", lambda *_: (Attempt("files", "a", "b", each, "", 0.1) for each in outcomes)
    )
    words = ["--out", str(tmp_path / "out")]
    assert main(study.STUDY, words) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        ".study.lock",
        "README.md",
        "attempts.csv",
        "figures",
    }
    outcomes.append(FAILED)
    assert main(study.STUDY, words) == 1
    with (tmp_path / "out" / "attempts.csv").open(newline="") as file:
        assert [row["outcome"] for row in csv.DictReader(file)] == outcomes
    capsys.readouterr()
    assert main(study.STUDY, ["--only", "file"]) == 2
    assert "family" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README.md").write_text("mine")
    assert main(study.STUDY, ["--out", str(tmp_path / "other")]) == 2
    assert (tmp_path / "other" / "README.md").read_text() == "mine"
