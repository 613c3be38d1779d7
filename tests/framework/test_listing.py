"""The lists of `--data list` and the like."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacked import data
from stacked.components.corruption import CORRUPTIONS
from stacked.spec.growth import POLICIES
from stacked.stages import kinds
from studies.applications.anomaly.study import STUDY as ANOMALY
from studies.framework.main import main
from studies.papers import hinton2006
from studies.pretraining.layerwise import STUDY


@pytest.mark.parametrize(
    ("study", "words", "names"),
    [
        (STUDY, ["--data", "list"], data.names()),
        (ANOMALY, ["--smoke", "--data=list"], data.names()),
        (STUDY, ["--arms", "list", "--seeds", "2"], [*STUDY.arm_names, *sorted(set(POLICIES) - set(STUDY.arm_names))]),
        (hinton2006.STUDY, ["--kind", "list"], sorted(kinds())),
        (STUDY, ["--corruption", "list"], list(CORRUPTIONS)),
    ],
    ids=["training", "measurement", "arms", "kinds", "corruptions"],
)
def test_names_are_listed_one_a_line_and_nothing_runs(
    study: object,
    words: list[str],
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^0$"):
        main(study, words)  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.err == ""
    lines = [line.partition("  ") for line in said.out.splitlines()]
    assert sorted(name for name, _, _ in lines) == sorted(names)
    assert all(text.endswith((".", "?")) for _, _, text in lines)
    assert not list(tmp_path.iterdir())


def test_the_sentence_is_that_of_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    for option, line in (
        ("--data", "csv:PATH  A CSV table in UTF-8, with commas between cells and a first line of column names."),
        (
            "--arms",
            "greedy+finetune  greedy, then all stages are trained at once to reconstruct the pixels, after growth",
        ),
        ("--kind", "dense  Linear - norm - activation and back"),
    ):
        with pytest.raises(SystemExit):
            main(STUDY, [option, "list"])
        assert any(each.startswith(line) for each in capsys.readouterr().out.splitlines())
