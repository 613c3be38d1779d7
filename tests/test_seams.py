"""What is added as one file or one function is found by itself: in a copy of the packages, used as anything else is."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from studies.record.index import ROOT
from tests.helpers.guides import POLICY, STAGE

CORRUPTION = '''\
def inverting(x: Tensor, level: float, generator: torch.Generator) -> Corrupted:
    """Change the sign of each element with probability `level`."""
    hit = chosen(x, level, generator)
    return Corrupted(torch.where(hit, -x, x), hit)
'''
OBJECTIVE = '''\
"""Codes of two views agree, and spread."""

from torch import Tensor

from stacked.objectives.objective import EncodedBatch, Objective


class Agreement(Objective):
    """The squared distance of the codes of two views of an example, less the variance of their values."""

    name = "agreement"
    views = 2

    def per_example(self, batch: EncodedBatch) -> Tensor:
        one, other = (code.flatten(1) for code in batch.codes)
        return (one - other).square().mean(1) - one.var(0, correction=0).mean()
'''
DATASET = '''\
from stacked.data.formats.dataset import Dataset, Official, Source
from stacked.data.formats.split import Split


class Bars(Dataset):
    """240 images of upright or level bars, 1x8x8, drawn from a seed."""

    name = "bars"

    def load(self, source: Source) -> Official:
        """Draw them: no network, no data directory."""
        import torch

        labels = torch.arange(240) % 2
        lines = torch.randint(0, 256, (240, 1, 1, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        upright = lines.expand(-1, -1, 8, -1)
        images = torch.where(labels[:, None, None, None] == 0, upright, upright.transpose(2, 3)).contiguous()
        return Official(Split(images[:200], labels[:200]), Split(images[200:], labels[200:]), ("upright", "level"))
'''
STUDY = '''\
"""Do bars need stages that learn alone?"""

import sys

from studies.design.arms import Arm
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy

STUDY = TrainingStudy(
    name="striped",
    title="Bars",
    question="Do bars need stages that learn alone?",
    protocol="Two arms.",
    arms=(Arm("alternate"), Arm("joint")),
    smoke={"data": "bars", "kind": "average", "corruption": "inverting", "level": [0.1], "labels": ["20"]},
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
'''

#: A run of all that was added to `stacked`, each by its name.
RUN = """
import json
from dataclasses import replace
from stacked import Budget, DataSpec, Optimisation, RunSpec, StackSpec, run
from stacked.spec import Classification, Evaluation
spec = RunSpec(
    policy="alternate",
    data=DataSpec("bars"),
    stack=StackSpec.of("average", 4, 5),
    budget=Budget(stages=2, end_to_end=4, unit="updates"),
    optimisation=Optimisation(batch_size=32, corruption="inverting", corruption_level=0.2),
    evaluation=Evaluation(every=2, images=20, probe_images=20, probe_labels=20),
    classification=Classification(labels=()),
)
result = run(spec)
stages = [type(stage).__module__ for stage in result.stack.stages]
phases = list(dict.fromkeys(point["phase"] for point in result.curve if point["step"]))
how = Optimisation(batch_size=32, corruption_level=0.2, objectives={"agreement": 1.0, "labels": 0.5})
local = run(replace(spec, policy="local-simultaneous", optimisation=how))
assert local.row["updates"] == 2
print(json.dumps({"stages": stages, "updates": result.row["updates"], "phases": phases}))
"""

#: An option for each thing that was added and that a command line names.
ADDED = {"arms": "alternate+unfreeze", "kind": "average", "corruption": "inverting", "data": "bars"}

#: The names that a study lists, for each option.
LISTS = """
import sys
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
for option in sys.argv[1:]:
    try:
        sys.exit(main(STUDY, [f"--{option}", "list"]))
    except SystemExit as ended:
        assert ended.code == 0, option
"""

#: Runs the study as `python -m studies.striped` does.
COMMAND = """
import runpy
words = ["--smoke", "--jobs", "1", "--classification", "{updates: 5, checks: 1}", "--out", "out", "--store", "store"]
sys.argv = ["-m", *words]
runpy.run_module("studies.striped", run_name="__main__", alter_sys=True)
"""


def add(path: Path, table: str, function: str, entry: str) -> None:
    """Write the function into the file, and name it at the end of a table that the file has."""
    text = path.read_text(encoding="utf-8")
    found = re.search(rf"^(#: .*\n)?{table}: .*= \{{\n(?:    .*\n)*(?=\}})", text, re.MULTILINE)
    assert found, table
    path.write_text(
        f"{text[: found.start()]}{function}\n\n{found[0]}    {entry},\n{text[found.end() :]}", encoding="utf-8"
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages, to which a stage, a corruption, a policy, an objective, a dataset and a study were added."""
    folder = tmp_path_factory.mktemp("copy")
    for package in ("stacked", "studies", "tests"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("mnist"))  # 11 MB of images
    stacked = folder / "stacked"
    (stacked / "stages" / "average.py").write_text(STAGE)
    (stacked / "data" / "sources" / "bars.py").write_text(DATASET)
    (stacked / "objectives" / "agreement.py").write_text(OBJECTIVE)
    (folder / "studies" / "striped.py").write_text(STUDY)
    add(stacked / "components" / "corruption.py", "CORRUPTIONS", CORRUPTION, '"inverting": Corruption(inverting, 1.0)')
    add(stacked / "spec" / "growth.py", "GROWTHS", POLICY, '"alternate": alternate')
    return folder


def python(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with these words in the copy, whose packages it imports."""
    env = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *words], cwd=copy, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def used(copy: Path, empty_database: Path) -> subprocess.CompletedProcess[str]:
    """What a run of all that was added prints, what its options list, and a study; in one process, that loads torch."""
    (copy / "store").mkdir()
    shutil.copy(empty_database, copy / "store")
    done = python(copy, "-c", RUN + LISTS + COMMAND, *ADDED)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_all_that_was_added_trains_in_one_run(used: subprocess.CompletedProcess[str]) -> None:
    assert json.loads(used.stdout.splitlines()[0]) == {
        "stages": ["stacked.stages.average"] * 2,
        "updates": 8,
        "phases": ["stage 1", "fine-tuning 1-1", "stage 2", "fine-tuning 1-2"],
    }


@pytest.mark.slow
@pytest.mark.usefixtures("used")
def test_the_study_is_a_command_that_runs_them(copy: Path) -> None:
    assert re.search(r"\n  striped +Do bars need stages that learn alone\?\n", python(copy, "-m", "studies").stdout)
    out = copy / "out"
    page = (out / "README.md").read_text(encoding="utf-8")
    assert "Do bars need stages that learn alone?" in page
    with open(out / "runs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["status"]) for row in rows] == [("alternate", "finished"), ("joint", "finished")]


@pytest.mark.slow
def test_the_command_lines_of_other_studies_list_them(used: subprocess.CompletedProcess[str]) -> None:
    for name in ADDED.values():
        assert re.search(rf"^{re.escape(name)}  \S", used.stdout, re.MULTILINE), name


@pytest.mark.slow
def test_the_contract_tests_cover_it(copy: Path) -> None:
    """Tests of every stage, corruption, policy, objective and dataset."""
    rooms = ("spec/test_growth.py", "components/test_corruption.py", "stages", "data/test_data.py", "objectives")
    names = "alternate or inverting or average or bars or agreement"
    flags = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-k", names)
    done = python(copy, "-m", "pytest", *flags, *(f"tests/{room}" for room in rooms), "-rA")
    assert done.returncode == 0, done.stdout
    for name in names.split(" or "):
        assert len(re.findall(rf"^PASSED .*\b{name}\b", done.stdout, re.MULTILINE)) >= 2, name
