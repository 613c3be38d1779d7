"""What the README shows runs, and what it claims are the numbers of the committed rows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stacked.spec import from_json
from studies.applications.anomaly import study as anomaly
from studies.applications.capacity import study as capacity
from studies.applications.compression import study as compression
from studies.applications.denoising import study as denoising
from studies.applications.linear import study as linear
from studies.applications.photographs import study as photographs
from studies.applications.projection import study as projection
from studies.benchmark import report as benchmark
from studies.benchmark.questions import questions
from studies.framework.command_line import parser
from studies.framework.options import options
from studies.framework.study import block, parse
from studies.papers.hinton2006 import STUDY as HINTON
from studies.pretraining.layerwise import STUDY as LAYERWISE
from studies.pretraining.policies import STUDY as POLICIES
from studies.report import readme_block, uses
from studies.statistics.rows import finished, load_rows

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
STUDIES = (LAYERWISE, POLICIES, HINTON)
USES = {one.USE.name: one.USE for one in (anomaly, capacity, compression, denoising, linear, photographs, projection)}
#: The records that the README shows, and those that are committed: others are their user's.
EVERY_BLOCK = [name for name in re.findall(r"^<!-- begin: (\S+) -->$", README, re.MULTILINE) if name != "benchmark"]
BLOCKS = [name for name in EVERY_BLOCK if name.split("/")[0] not in USES]
BLOCKS_OF_USES = [name for name in EVERY_BLOCK if name not in BLOCKS]
COMMITTED = (
    subprocess.run(["git", "-C", ROOT, "ls-files", "results"], capture_output=True, text=True).stdout.split()
    if shutil.which("git")
    else []
)
TRACKED = [
    ROOT / path
    for path in COMMITTED
    if Path(path).name in ("runs.csv", "rows.csv") and Path(path).parent.name != "benchmark"
]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(
    number: int, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[number], f"README example {number + 1}", "exec"), {"__name__": "example"})
    if number == 0:
        said = re.fullmatch(r"test MSE (0\.\d{4}), probe (\d+\.\d)%\n", capsys.readouterr().out)
        assert said
        assert float(said[2]) > 80


def test_the_policy_example_is_a_policy() -> None:
    from stacked.spec import growth

    code = re.search(r"^  ```python\n(.*?)^  ```", README, re.DOTALL | re.MULTILINE)
    assert code
    names = dict(vars(growth))
    exec(compile(re.sub(r"^  ", "", code[1], flags=re.MULTILINE), "README policy", "exec"), names)
    phases = names["alternate"](2, growth.Updates((3, 3), 8))
    assert [phase.name for phase in phases] == ["stage 1", "fine-tuning 1", "stage 2", "fine-tuning 2"]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_that_of_the_committed_rows(name: str) -> None:
    study = next(study for study in STUDIES if name.split("/")[0] == study.name)
    assert readme_block(ROOT / "README.md", name) == block(study, ROOT / "results" / name)


@pytest.mark.parametrize("name", BLOCKS_OF_USES)
def test_the_block_of_a_use_is_that_of_its_committed_rows(name: str) -> None:
    use, out = USES[name.split("/")[0]], ROOT / "results" / name
    assert readme_block(ROOT / "README.md", name) == uses.block(use, out, ROOT)
    rows = uses.load(out)
    assert set(rows["method"]) == set(use.methods)
    assert (rows.groupby("method")["seed"].nunique() > 1).all()
    assert rows["commit"].nunique() == 1
    assert not rows["commit"].str.contains("changes").any()


def test_the_block_of_the_benchmark_is_that_of_its_rows() -> None:
    assert readme_block(ROOT / "README.md", "benchmark") == benchmark.block(ROOT / "results" / "benchmark", questions())


@pytest.mark.parametrize("name", BLOCKS)
def test_committed_rows_are_whole(name: str) -> None:
    rows = load_rows(ROOT / "results" / name)
    assert len(finished(rows)) == len(rows)
    assert rows["commit"].nunique() == 1
    assert not rows["commit"].str.contains("changes").any()
    assert {from_json(spec).id for spec in rows["spec"]} == set(rows["run"])


@pytest.mark.skipif(not COMMITTED, reason="asks git what is committed")
def test_every_record_stands_in_the_readme() -> None:
    assert {path.parent.relative_to(ROOT / "results").as_posix() for path in TRACKED} == set(EVERY_BLOCK)
    assert "layerwise" in BLOCKS


def test_the_two_commands_stand_at_the_top() -> None:
    first = README.split("```")[1].strip().splitlines()
    assert first == ["pip install -e . && python -m studies.layerwise", "pip install -e '.[test]' && pytest"]


def test_the_smoke_run_goes_where_the_readme_says() -> None:
    given = options("layerwise", parse(LAYERWISE, parser("p", "q", LAYERWISE.arm_names), ["--smoke"]))
    shown = README.split("The smoke run prints")[1].split("```")[1]
    assert shown.count(f"{given.out}\n") == 1
    assert shown.count(f"{given.out}/README.md\n") == 1
    assert shown.count(f"layerwise-{given.configuration}:") == 2
