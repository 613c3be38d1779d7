"""At its end a study tells a terminal what it found: a table, the answer, and paths that can be pasted."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Generator
from pathlib import Path

import pandas as pd
import pytest

from studies.applications.anomaly.study import STUDY as ANOMALY
from studies.design.claims import Claim
from studies.measuring import page
from studies.reliability.session import ReliabilitySession, ReliabilityStudy
from studies.report.answer import quote
from studies.report.terminal import best_encoder, best_supervised, outcome, plain

ROOT = Path(__file__).parents[2]
TABLE = """\
| arm | seeds | error per pixel (less is better) |
| --- | --: | --: |
| joint\\|all | 3 | 0.0100 ± 0.0004 |
| greedy | 10 | 0.1200 (0.1100 to 0.1300) |"""


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a terminal of this width."""
    monkeypatch.setenv("COLUMNS", "120")


def made_up() -> pd.DataFrame:
    """Two arms with two seeds, and a run that failed; what is best on validation images is not best on test images."""
    lines = [
        ("a", "joint", 0, "finished", 0.020, 0.021, 0.80),
        ("b", "greedy", 0, "finished", 0.012, 0.010, 0.70),
        ("c", "joint", 1, "finished", 0.019, 0.018, 0.82),
        ("d", "greedy", 1, "finished", 0.010, 0.011, 0.74),
        ("e", "greedy", 2, "failed: it diverged", None, None, None),
    ]
    columns = ["run", "arm", "seed", "status", "final/recon_mse", "final/valid_recon_mse", "final/probe_acc"]
    return pd.DataFrame(lines, columns=columns).assign(gflop=400.0, seconds=60.0)


def test_a_table_has_columns_of_equal_width() -> None:
    lines = plain(TABLE, width=120).splitlines()
    assert lines[-2].split() == ["joint|all", "3", "0.0100", "±", "0.0004"]
    assert lines[-1].endswith("0.1200 (0.1100 to 0.1300)")
    assert len({len(line) for line in lines[-3:]}) == 1  # numbers are flush right


def test_a_table_that_is_too_wide_goes_without_spreads() -> None:
    lines = plain(TABLE, width=40).splitlines()
    assert [line.split() for line in lines[-2:]] == [["joint|all", "3", "0.0100"], ["greedy", "10", "0.1200"]]
    assert max(map(len, lines)) <= 40


def test_marks_of_markdown_are_left_out() -> None:
    text = "> **a** is `b`\\_c\n\n![figure](figures/a.png)\n\n- **Error:** see [page](README.md)."
    assert plain(text, width=80) == "a is `b`_c\n\n- Error: see page."
    assert plain(f"{'word ' * 50}", width=70).count("\n") == 3


def test_the_table_of_arms_has_error_probe_and_cost_and_the_answer_follows() -> None:
    told = outcome(made_up(), "joint", quote)
    head, joint, greedy = (told.index(each) for each in ("test MSE", "\njoint ", "\ngreedy "))
    assert (
        head
        < joint
        < greedy
        < told.index("At equal compute (400 GFLOP of training; 2 seeds), greedy reconstructs best")
    )
    [line] = [line for line in told.splitlines() if line.startswith("greedy ")]
    assert line.split() == ["greedy", "2", "0.0110", "±", "0.0014", "72.00", "±", "2.83", "400", "60"]
    assert "1 of 5 runs did not finish" in told
    assert "**" not in told


def test_without_a_quotation_arms_are_compared_on_error_and_probe() -> None:
    told = outcome(made_up(), "joint")
    assert "- Test MSE per pixel: " in told
    assert "- Linear probe accuracy: " in told


def test_of_a_paper_the_verdicts_are_counted() -> None:
    claims = (Claim("the error", "final/recon_mse", "joint", paper="0.0195"),)
    assert "Claims of the paper: 1 " in outcome(made_up(), "joint", claims=claims)


def test_the_best_encoder_is_chosen_on_validation_images_and_its_path_can_be_pasted(tmp_path: Path) -> None:
    work = tmp_path / "my store" / "work"
    path = work / "b" / "encoder.safetensors"
    told = "Best encoder by validation error (greedy, seed 0): "
    assert best_encoder(made_up(), work) == f"{told}not in {work}, trained elsewhere"
    path.parent.mkdir(parents=True)
    path.touch()
    [pasted] = shlex.split(best_encoder(made_up(), work).removeprefix(told))
    assert Path(pasted) == path
    assert best_encoder(made_up().drop(columns="final/valid_recon_mse"), work) == ""
    assert best_encoder(made_up().tail(1), work) == ""


def test_the_best_classifier_is_that_of_most_labels_with_the_highest_validation_accuracy(tmp_path: Path) -> None:
    rows = made_up()
    assert best_supervised(rows, tmp_path, "classifier") == ""
    rows["final/classifier_valid_acc_100"] = [0.9, 0.1, 0.2, 0.3, 0.4]
    rows["final/classifier_valid_acc_1000"] = [0.1, 0.2, 0.8, 0.8, 0.99]  # the last run has not finished
    row = rows.iloc[2]
    told = f"Best classifier by validation accuracy ({row['arm']}, seed {row['seed']}, 1000 labels): "
    assert best_supervised(rows, tmp_path, "classifier") == f"{told}not in {tmp_path}, trained elsewhere"
    path = tmp_path / str(row["run"]) / "classifier-1000.safetensors"
    path.parent.mkdir()
    path.touch()
    assert best_supervised(rows, tmp_path, "classifier") == f"{told}{path}"
    rows["final/classifier_valid_acc_all"] = [0.5, 0.1, 0.2, 0.3, 0.4]
    assert "all labels" in best_supervised(rows, tmp_path, "classifier")


def test_a_study_of_measurements_ends_with_its_table_and_where_the_page_is() -> None:
    out = ROOT / "results" / "anomaly" / "mnist"
    told = page.ending(ANOMALY, out)
    assert [line.split()[0] for line in told.splitlines() if line.startswith(("layer-wise, both", "PCA", "isolation"))]
    assert "AUROC" in told
    assert told.endswith(f"{out / 'README.md'}; figures: {out / 'figures'}")


class Tried(ReliabilitySession):
    """Something that was tried once."""

    table, head = "rows.csv", "number"

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        yield

    def findings(self) -> list[str]:
        return ["**All** is well.", "| what | number |\n| --- | --: |\n| kills | 3 |"]


@pytest.mark.parametrize("kept", [False, True])
def test_a_study_of_reliability_ends_with_its_findings(
    kept: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ReliabilityStudy(
        name="tried", title="T", question="Q?", protocol="P.", options=print, check=print, make_session=Tried
    )
    session = Tried(study, argparse.Namespace(out=tmp_path / "out" if kept else None))
    session.begin()
    session.report("command")
    assert session.end() == 0
    session.close()
    said = capsys.readouterr().out
    assert ("# T" in said) != kept  # the page itself, where it is kept nowhere
    if kept:
        assert "All is well." in said
        assert "kills       3" in said
        assert said.endswith(f"{tmp_path / 'out' / 'README.md'}\n")


def test_what_a_record_says_does_not_control_a_terminal() -> None:
    rows = made_up().assign(arm=lambda rows: rows["arm"].replace("greedy", "greedy\x1b[2J\r"))
    told = outcome(rows, "joint")
    assert "greedy\\x1b[2J\\r" in told
    assert [character for character in told if not character.isprintable() and character != "\n"] == []
