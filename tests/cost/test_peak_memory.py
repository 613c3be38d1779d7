"""How much memory a study takes beside its images: no more for more of them, and bounded however large one is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="reads the memory of a process from /proc"
)

#: what a run and the references of its study do with images, and the growth of resident memory meanwhile
STUDY = """
import json, sys, tempfile
from pathlib import Path
import torch
from stacked.data.formats.split import Split, Splits
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation, RunSpec, StackSpec
from studies.record.reference import write_reference

def splits(side, *counts):
    parts = [torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8) for count in counts]
    return Splits("noise", *(Split(part, torch.arange(len(part)) % 4) for part in parts), tuple("abcd"))

def memory(which):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[which].split()[0])

spec = RunSpec(
    "greedy+finetune",
    stack=StackSpec.of("conv", 4, 4),
    budget=Budget((2.0,), 2.0, "updates"),
    optimisation=Optimisation(batch_size=8),
    evaluation=Evaluation(every=2, images=16, probe_images=16, probe_labels=16),
    classification=Classification(labels=(16, None), updates=1, epochs=0.001, checks=1, lrs=(1e-3,), images=16),
)
run(spec, splits(8, 32, 32, 32))  # what is loaded for it alone is there then
photographs = splits(224, 1700, 60, 240)
Path("/proc/self/clear_refs").write_text("5")  # the largest so far is forgotten
before, grew = memory("VmRSS"), {}
run(spec, photographs)
grew["run"] = memory("VmHWM") - before
with tempfile.TemporaryDirectory() as folder:
    write_reference(Path(folder), photographs, spec)
grew["all"] = memory("VmHWM") - before
print(json.dumps(grew))
"""


@pytest.mark.slow
@linux
def test_a_study_of_2000_photographs_takes_little_beside_them() -> None:
    """Their bytes are 301 MB; as float64 they would be 2.4 GB, and 500 at a time of them 1.8 GB."""
    done = subprocess.run([sys.executable, "-c", STUDY], cwd=ROOT, capture_output=True, text=True, check=True)
    grew = json.loads(done.stdout)
    assert max(grew.values()) < 600e6, grew
