"""What the README shows runs, and what it claims are the numbers of the committed rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from studies.report import headline, readme_block
from studies.report.rows import finished, load_rows

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(EXAMPLES[number], f"README example {number + 1}", "exec"), {"__name__": "example"})
    if number == 0:
        said = re.fullmatch(r"test MSE (0\.\d{4}), probe (\d+\.\d)%\n", capsys.readouterr().out)
        assert said
        assert float(said[2]) > 80


def test_the_policy_example_is_a_policy() -> None:
    from stacked import growth

    code = re.search(r"^  ```python\n(.*?)^  ```", README, re.DOTALL | re.MULTILINE)
    assert code
    names = dict(vars(growth))
    exec(compile(re.sub(r"^  ", "", code[1], flags=re.MULTILINE), "README policy", "exec"), names)
    phases = names["alternate"](2, growth.Updates((3, 3), 8))
    assert [phase.name for phase in phases] == ["stage 1", "fine-tuning 1", "stage 2", "fine-tuning 2"]


def test_the_headline_is_that_of_the_committed_rows() -> None:
    assert readme_block(ROOT / "README.md", "layerwise") == headline(ROOT / "results" / "layerwise")


def test_the_committed_rows_are_whole() -> None:
    rows = load_rows(ROOT / "results" / "layerwise")
    assert len(finished(rows)) == len(rows)
    assert rows.groupby("arm")["seed"].nunique().min() >= 5
    assert rows["commit"].nunique() == 1
    assert not rows["commit"].str.contains("changes").any()


def test_the_two_commands_stand_at_the_top() -> None:
    first = README.split("```")[1].strip().splitlines()
    assert first == ["pip install -e . && python -m studies.layerwise", "pip install -e '.[test]' && pytest"]
