"""Holm's correction in the table of all papers: the claims of a paper are one family, on whatever datasets they are."""

from __future__ import annotations

from dataclasses import replace
from math import pi, tan
from pathlib import Path

import pandas as pd
import pytest

from stacked.spec import DataSpec, RunSpec
from stacked.util.serialization import to_json
from studies.design.arms import Arm
from studies.design.claims import Claim
from studies.framework.training_study import TrainingStudy
from studies.papers import overview
from studies.report.verdicts import RULES_OF_PAPER, RULES_OF_RECORD, claims_table
from studies.statistics.rows import load_rows

SSE = "final/recon_sse"
ARMS = ("greedy", "joint", "random")


def paper(name: str, *claims: tuple[str, str, str]) -> TrainingStudy:
    """A paper that claims that an arm is better than another on a dataset."""
    return TrainingStudy(
        name=name,
        module=f"papers.{name}",
        title=name,
        question="?",
        protocol="p",
        arms=tuple(map(Arm, ARMS)),
        claims=tuple(Claim(f"{a} on {data}", a, SSE, against=b, data=data) for data, a, b in claims),
    )


def away(p: float) -> list[float]:
    """Two differences of mean -1 with this p in a paired t-test.

    Those of -1 - d and -1 + d have a standard error of d, thus t = 1 / d, and with one degree of freedom, where t has Cauchy's
    distribution, p = 1 - 2/pi arctan(1/d) = 2/pi arctan(d).
    """
    d = tan(pi * p / 2)
    return [-1 - d, -1 + d]


def record(folder: Path, data: str, **values: list[float]) -> None:
    """Write a record of two seeds on a dataset; values: the squared errors of each arm."""
    folder.mkdir(parents=True)
    specs = {(arm, seed): RunSpec(arm, seed, DataSpec(data)) for arm in values for seed in (0, 1)}
    row = {"status": "finished", "seconds": 1800.0}
    rows = [
        {"run": spec.id, "arm": arm, "seed": seed, SSE: values[arm][seed], "spec": to_json(spec), **row}
        for (arm, seed), spec in specs.items()
    ]
    pd.DataFrame(rows).to_csv(folder / "runs.csv", index=False)


def cells(page: str) -> dict[str, tuple[str, str]]:
    """Return the corrected p and the verdict of each claim in the table of all papers."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| [")]
    return {f"{line[0].partition(']')[0][1:]}: {line[1].partition(' (')[0]}": (line[6], line[7]) for line in lines}


def test_the_claims_of_a_paper_on_all_datasets_are_one_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """p is 0.02 on digits, 0.03 and 0.04 on mnist: times 3, 2 and 1, and not below those before; another paper has its own."""
    level = [5.0, 50.0]
    lower = {p: [here + d for here, d in zip(level, away(p), strict=True)] for p in (0.02, 0.03, 0.04)}
    record(tmp_path / "two" / "digits", "digits", greedy=lower[0.02], joint=level)
    record(tmp_path / "two" / "mnist", "mnist", greedy=lower[0.03], joint=level, random=lower[0.04])
    record(tmp_path / "one", "mnist", greedy=lower[0.04], joint=level)
    studies = [
        paper("one", ("mnist", "greedy", "joint")),
        paper("two", ("digits", "greedy", "joint"), ("mnist", "greedy", "joint"), ("mnist", "random", "joint")),
    ]
    monkeypatch.setattr(overview, "papers", lambda: studies)
    text = overview.page(tmp_path)
    assert cells(text) == {
        "one: greedy on mnist": ("0.040", "**reproduced**"),
        "two: greedy on digits": ("0.060", "**direction only**"),
        "two: greedy on mnist": ("0.060", "**direction only**"),
        "two: random on mnist": ("0.060", "**direction only**"),
    }
    assert RULES_OF_PAPER in text
    assert "all records of the same paper test together, on all its datasets" in text
    # the page of one record, whose family is its own claims, and which says so
    own = claims_table(load_rows(tmp_path / "two" / "digits"), {}, studies[1].claims)
    assert "| 0.020 | 0.020 | **reproduced** |" in own
    assert RULES_OF_RECORD in own
    assert "the number of claims that this record tests" in own
    other = claims_table(load_rows(tmp_path / "two" / "mnist"), {}, studies[1].claims)
    assert [line.split(" | ")[5:7] for line in other.splitlines()[2:4]] == [["0.030", "0.060"], ["0.040", "0.060"]]


def test_a_record_more_of_a_paper_can_change_its_verdicts_and_those_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = [5.0, 50.0]
    better = [here + d for here, d in zip(level, away(0.04), strict=True)]
    study = paper("two", ("digits", "greedy", "joint"), ("mnist", "greedy", "joint"))
    monkeypatch.setattr(overview, "papers", lambda: [study])
    record(tmp_path / "two" / "digits", "digits", greedy=better, joint=level)
    alone = overview.page(tmp_path)
    assert cells(alone) == {"two: greedy on digits": ("0.040", "**reproduced**")}
    assert "- two: 1 claims, `" in alone
    record(tmp_path / "two" / "mnist", "mnist", greedy=better, joint=level)
    assert set(cells(overview.page(tmp_path)).values()) == {("0.080", "**direction only**")}


def test_the_studies_of_a_paper_are_one_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level = [5.0, 50.0]
    better = [here + d for here, d in zip(level, away(0.04), strict=True)]
    studies = [paper(name, ("mnist", "greedy", "joint")) for name in ("one", "one_more", "two")]
    studies[1] = replace(studies[1], paper="one")
    monkeypatch.setattr(overview, "papers", lambda: studies)
    for study in studies:
        record(tmp_path / study.name, "mnist", greedy=better, joint=level)
    found = {name: p for name, (p, _) in cells(overview.page(tmp_path)).items()}
    assert found == {
        "one: greedy on mnist": "0.080",
        "one_more: greedy on mnist": "0.080",
        "two: greedy on mnist": "0.040",
    }
