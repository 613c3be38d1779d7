"""What the README and the other guides show runs, and what they claim are the numbers of the committed rows."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stacked.apps.anomaly import default_spec
from stacked.spec import Budget, from_json
from studies.applications.anomaly import study as anomaly
from studies.applications.capacity import study as capacity
from studies.applications.compression import study as compression
from studies.applications.denoising import study as denoising
from studies.applications.linear import study as linear
from studies.applications.photographs import study as photographs
from studies.applications.projection import study as projection
from studies.applications.tables import study as tables
from studies.benchmark import page as benchmark
from studies.benchmark.study import STUDY as BENCHMARK
from studies.framework.training_session import section
from studies.measuring import page
from studies.papers.hinton2006 import STUDY as HINTON
from studies.papers.larochelle2009 import STUDY as LAROCHELLE
from studies.pretraining.layerwise import STUDY as LAYERWISE
from studies.pretraining.policies import STUDY as POLICIES
from studies.record.index import INDEX, ROOT, readme_section
from studies.statistics import measurement_rows
from studies.statistics.rows import finished, load_rows
from tests.helpers.guides import POLICY, README, STAGE
from tests.helpers.images import classes

GUIDES = (
    ROOT / "README.md",
    ROOT / "stacked" / "COMING_FROM.md",
    ROOT / "studies" / "README.md",
    ROOT / "studies" / "reliability" / "README.md",
    INDEX,
)
STUDIES = (LAYERWISE, POLICIES, HINTON, LAROCHELLE)
USES = {
    one.STUDY.name: one.STUDY
    for one in (anomaly, capacity, compression, denoising, linear, photographs, projection, tables)
}
#: The records that the index shows, and those that are committed: others are their user's.
EVERY_SECTION = re.findall(r"^<!-- begin: (\S+) -->$", INDEX.read_text(encoding="utf-8"), re.MULTILINE)
SECTIONS = [name for name in EVERY_SECTION if name.split("/")[0] not in USES and name != "benchmark"]
SECTIONS_OF_USES = [name for name in EVERY_SECTION if name.split("/")[0] in USES]
COMMITTED = (
    subprocess.run(["git", "-C", ROOT, "ls-files", "results"], capture_output=True, text=True).stdout.split()
    if shutil.which("git")
    else []
)
TRACKED = [ROOT / path for path in COMMITTED if Path(path).name in ("runs.csv", "rows.csv")]
EXAMPLES = [
    pytest.param(
        code, id=f"{guide.relative_to(ROOT)} {number}", marks=[pytest.mark.slow] if "folder:photos" in code else []
    )
    for guide in GUIDES
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", guide.read_text(), re.DOTALL | re.MULTILINE), 1)
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_examples_run(
    code: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "folder:photos" in code:
        classes(tmp_path / "photos", 30, "cat", "dog", start=40)
        quick = replace(
            default_spec(), budget=Budget((20.0,), 20.0, "updates")
        )  # a detector trains for a minute by default
        monkeypatch.setattr("stacked.apps.anomaly.default_spec", lambda *_: quick)
        assert "Budget(stages=200, end_to_end=400, " in code
        code = code.replace("Budget(stages=200, end_to_end=400, ", "Budget(stages=20, end_to_end=40, ")
    exec(compile(code, "example", "exec"), {"__name__": "example"})
    if "folder:photos" in code:
        predicted, p_values = capsys.readouterr().out.splitlines()[-2:]
        assert set(ast.literal_eval(predicted)) == {"cat", "dog"}
        assert all(0 < float(p) <= 1 for p in p_values.strip("[]").split())
    if "run(spec)" in code:
        said = re.fullmatch(r"test MSE (0\.\d{4}), probe (\d+\.\d)%\n", capsys.readouterr().out)
        assert said
        assert float(said[2]) > 80


def test_the_readme_is_short_and_its_examples_too() -> None:
    assert len(README.encode()) <= 12_000
    assert all(code.count("\n") <= 30 for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL))


def test_the_stage_example_is_a_stage_and_the_policy_example_a_policy() -> None:
    import torch

    from stacked.spec import growth
    from stacked.stages import kinds

    names: dict[str, Any] = {"__name__": "average"}
    try:
        exec(compile(STAGE, "README stage", "exec"), names)
        made = names["Average"].of((3, 7, 8), 5)
        images = torch.rand(2, 3, 7, 8)
        assert made.encode(images).shape == (2, *made.code_shape)
        assert made(images).shape == images.shape
        assert kinds()["average"] is names["Average"]
    finally:
        del names.pop("Average").kind  # no stage of this process any more
    names = dict(vars(growth))
    exec(compile(POLICY, "README policy", "exec"), names)
    phases = names["alternate"](2, growth.Updates((3, 3), 8))
    assert [phase.name for phase in phases] == ["stage 1", "fine-tuning 1-1", "stage 2", "fine-tuning 1-2"]


def test_links_lead_to_files() -> None:
    for guide in GUIDES:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", guide.read_text(encoding="utf-8")):
            assert (guide.parent / link).exists(), (guide, link)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_is_that_of_the_committed_rows(name: str) -> None:
    study = next(study for study in STUDIES if name.split("/")[0] == study.name)
    assert readme_section(INDEX, name) == section(study, ROOT / "results" / name, INDEX.parent)


@pytest.mark.parametrize("name", SECTIONS_OF_USES)
def test_the_section_of_a_use_is_that_of_its_committed_rows(name: str) -> None:
    use, out = USES[name.split("/")[0]], ROOT / "results" / name
    assert readme_section(INDEX, name) == page.section(use, out, INDEX.parent)
    rows = measurement_rows.load(out)
    assert set(rows["method"]) == set(use.methods)
    assert (rows.groupby("method")["seed"].nunique() > 1).all()
    assert rows["commit"].nunique() == 1
    assert not rows["commit"].str.contains("changes").any()


def test_the_section_of_the_benchmark_is_that_of_its_rows() -> None:
    assert readme_section(INDEX, "benchmark") == benchmark.section(
        BENCHMARK.questions, ROOT / "results" / "benchmark", INDEX.parent
    )


@pytest.mark.parametrize("name", SECTIONS)
def test_committed_rows_are_whole(name: str) -> None:
    rows = load_rows(ROOT / "results" / name)
    assert len(finished(rows)) == len(rows)
    assert rows["commit"].nunique() == 1
    assert not rows["commit"].str.contains("changes").any()
    assert {from_json(spec).id for spec in rows["spec"]} == set(rows["run"])


@pytest.mark.skipif(not COMMITTED, reason="asks git what is committed")
def test_every_record_stands_in_the_index() -> None:
    assert {path.parent.relative_to(ROOT / "results").as_posix() for path in TRACKED} == set(EVERY_SECTION)
    assert "layerwise" in SECTIONS


def test_the_two_commands_stand_at_the_top() -> None:
    first = README.split("```")[1].strip().splitlines()
    assert first == ["pip install -e . && python -m studies.layerwise", "pip install -e '.[test]' && pytest"]


def test_the_smoke_run_goes_where_the_guide_says() -> None:
    given = LAYERWISE.given(["--smoke"])
    guide = (ROOT / "studies" / "README.md").read_text(encoding="utf-8")
    shown = guide.split("The smoke run prints")[1].split("```")[1]
    assert shown.count(f"{given.out}\n") == 1
    assert shown.count(f"{given.out}/README.md\n") == 1
    assert shown.count(f"layerwise-{given.configuration}:") == 2
