"""What is said to be reproducible is, to the bit, and strict determinism refuses what is not."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from stacked import InputError, RunSpec, StackSpec
from stacked.components import corruption
from stacked.components.corruption import CORRUPTIONS, Corrupted, Corruption
from stacked.components.losses import LOSSES
from stacked.components.nonfinite import ON_NONFINITE
from stacked.components.optim import OPTIMISERS
from stacked.components.penalties import PENALTIES
from stacked.components.schedules import SCHEDULES
from stacked.components.winner_take_all import WINNER_TAKE_ALL
from stacked.data.formats.split import Splits
from stacked.objectives import objectives
from stacked.runs.run import run
from stacked.runtime.determinism import WORKSPACE, check_workspace, is_strict, strict
from stacked.runtime.environment import environment
from stacked.spec import Budget, Classification, Evaluation, Optimisation, StageSpec
from stacked.spec.growth import POLICIES
from stacked.stages import kinds
from stacked.stages.activations import ACTIVATIONS
from stacked.stages.initialise import INITS
from stacked.stages.norms import NORMS
from stacked.stages.pooled import UNPOOL
from stacked.tracking.null_tracker import NullTracker
from stacked.util.errors import Interrupted
from tests.helpers.policies import needs_patience
from tests.helpers.runs import TIMES
from tests.helpers.splits import toy_splits

ROOT = Path(__file__).parents[2]
MIXED = (
    StageSpec("conv-pool", 4, options={"unpool": "switches"}),
    StageSpec("transformer", 4),
    StageSpec("residual", 4),
    StageSpec("dense", 5),
)
#: A stage of each kind, classes learned first, every part of a row measured.
WHOLE = RunSpec(
    policy="supervised+finetune",
    stack=StackSpec(MIXED),
    budget=Budget((1.0,), 2.0),
    optimisation=Optimisation(
        batch_size=32, lr=1e-2, corruption="masking+gaussian", corruption_level=((0.2, 0.1),), loss=("l1",)
    ),
    evaluation=Evaluation(every=3, images=40, probe_every=2, probe_images=40, probe_labels=40),
    classification=Classification(labels=(16, None), updates=6, checks=2, images=40),
)
#: Two updates a phase.
TINY = RunSpec(
    policy="joint",
    stack=StackSpec.of("conv", 4, 4),
    budget=Budget((2.0,), 2.0, "updates"),
    optimisation=Optimisation(batch_size=16, corruption_level=(0.1,)),
    evaluation=Evaluation(every=100, images=16, probe_every=100, probe_images=16, probe_labels=16),
    classification=Classification(labels=()),
)


def made(home: Path) -> dict[str, str]:
    """Digests of all that a run of WHOLE gives but for times: weights and state of checkpoints, row, curve, samples."""
    result = run(WHOLE, toy_splits(80), work=home)  # 2 batches of 32 and a rest
    found = {
        f"samples/{name}": f"{array.dtype} {array.shape} {array.tobytes()!r}" for name, array in result.samples.items()
    }
    found |= {"row": plain(result.row), "curve": plain(result.curve)}
    for path in sorted(home.glob("*.safetensors")):
        with safe_open(path, "np") as file:
            header = file.metadata()
            found[f"{path.stem}/state"] = plain(json.loads(header.pop("state", "{}")))
            header.pop("sha256", None)  # of the clock's times, too
            found[f"{path.stem}/header"] = plain(dict(sorted(header.items())))  # they are read in any order
            for name in file.keys():  # noqa: SIM118
                found[f"{path.stem}/{name}"] = repr(file.get_tensor(name).tobytes())
    return {name: hashlib.sha256(value.encode()).hexdigest() for name, value in found.items()}


def plain(value: Any) -> str:
    """As JSON, in which floats keep all their bits; without what the clock, the commit and the mode say."""

    def timeless(each: Any) -> Any:
        if isinstance(each, dict):
            return {k: timeless(v) for k, v in each.items() if k not in (*TIMES, "deterministic")}
        return [timeless(v) for v in each] if isinstance(each, list) else each

    return json.dumps(timeless(value))


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_with_and_without_strict_determinism(tmp_path: Path) -> None:
    """Strict in a process of its own, and not in this one: on a CPU no kernel that is used has another, deterministic one."""
    words = [sys.executable, __file__, str(tmp_path / "strict")]
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run(words, env=os.environ | paths, capture_output=True, text=True, timeout=300, check=False)
    assert not done.returncode, done.stderr
    found = made(tmp_path / "not strict")
    assert json.loads(done.stdout) == found
    assert {"row", "curve", "samples/depth4", "phase-5/state"} <= found.keys()
    assert sum(name.startswith("phase-5/") for name in found) > 20


class Noting(NullTracker):
    """Keeps the tags."""

    def __init__(self) -> None:
        self.noted: dict[str, str] = {}

    def tags(self, tags: dict[str, str]) -> None:
        self.noted |= tags


@pytest.fixture(scope="module")
def splits() -> Splits:
    return toy_splits(48)


def cases() -> dict[str, RunSpec]:
    """Everything that a spec can name, one at a time."""
    how = TINY.optimisation
    sigmoid = StackSpec.of("dense", 6, activation="sigmoid")
    stage = StackSpec.of("conv", 4)
    one = {f"stage {kind}": replace(TINY, policy="greedy", stack=StackSpec.of(kind, 4)) for kind in kinds()}
    for unpool in UNPOOL:
        options = {"unpool": unpool, "tied": True}
        one[f"unpool {unpool}"] = replace(TINY, stack=StackSpec((StageSpec("conv-pool", 4, options=options),)))
    one |= {f"norm {name}": replace(TINY, stack=StackSpec.of("conv", 4, norm=name)) for name in NORMS}
    one |= {f"init {name}": replace(TINY, stack=StackSpec.of("conv", 4, init=name)) for name in INITS}
    one |= {
        f"activation {name}": replace(TINY, stack=StackSpec.of("dense", 6, activation=name)) for name in ACTIVATIONS
    }
    changes: dict[str, dict[str, Any]] = {f"corruption {name}": {"corruption": name} for name in CORRUPTIONS}
    changes["emphasis"] = {"emphasis": (1.0, 0.5)}
    changes |= {
        f"optimiser {name}": {"optimiser": name, "clip": None if name == "lbfgs" else 1.0} for name in OPTIMISERS
    }
    changes |= {f"schedule {name}": {"schedule": name} for name in SCHEDULES}
    changes |= {f"on_nonfinite {name}": {"on_nonfinite": name} for name in ON_NONFINITE}
    changes |= {
        f"winner_take_all {name}": {"winner_take_all": name, "winner_take_all_rate": 0.2} for name in WINNER_TAKE_ALL
    }
    one |= {name: replace(TINY, stack=stage, optimisation=replace(how, **change)) for name, change in changes.items()}
    for name in PENALTIES:
        one[f"penalty {name}"] = replace(TINY, stack=sigmoid, optimisation=replace(how, penalties={name: 1e-3}))
    for name, loss in LOSSES.items():
        output = min(loss.outputs or {"sigmoid"})
        stack = StackSpec.of("conv", 4, output=output)
        one[f"loss {name}"] = replace(TINY, stack=stack, optimisation=replace(how, loss=(name,)))
    for name in objectives():
        one[f"objective {name}"] = replace(TINY, policy="local", optimisation=replace(how, objectives={name: 1.0}))
    for name in POLICIES:
        patient = replace(how, patience=1, check_every=1) if needs_patience(name) else how
        one[f"policy {name}"] = replace(TINY, policy=name, optimisation=patient)
    return one


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_everything_that_a_spec_can_name_trains_strictly_on_a_cpu(name: str, splits: Splits) -> None:
    noting = Noting()
    with strict():
        row = run(CASES[name], splits, tracker=noting).row
    assert (row["updates"] > 0) == any(phase.updates for phase in CASES[name].phases(2))
    assert noting.noted["deterministic"] == "true"


def put() -> None:
    """An operation that no device does deterministically."""
    torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))


def test_what_is_not_deterministic_is_refused_inside_and_not_after() -> None:
    put()
    refused = "^put_ has no deterministic implementation on cpu: leave strict determinism out"
    with pytest.raises(InputError, match=refused), strict():
        put()
    put()
    with strict(on=False):
        put()


def chancy(x: torch.Tensor, level: float, generator: torch.Generator) -> Corrupted:
    put()
    return Corrupted(x, None)


def test_a_run_that_needs_it_is_refused_where_it_is_called(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(corruption.CORRUPTIONS, "chancy", Corruption(chancy, 1.0, chooses=False))
    spec = replace(TINY, optimisation=replace(TINY.optimisation, corruption="chancy"))
    assert run(spec, splits).row["updates"] == 2
    with pytest.raises(InputError, match="put_ has no deterministic implementation"), strict():
        run(spec, splits)


def settings() -> tuple[Any, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get(WORKSPACE),
    )


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a test sets of torch's settings is set back."""
    monkeypatch.delenv(WORKSPACE, raising=False)
    before = settings()
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    torch.backends.cudnn.benchmark = before[2]


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("before", [(False, False, False), (True, True, True), (True, False, True)])
def test_the_settings_of_before_are_restored_also_after_an_error(
    before: tuple[bool, bool, bool], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    torch.backends.cudnn.benchmark = before[2]
    was = settings()
    with strict(device):
        assert settings() == (True, False, False, ":4096:8" if device == "cuda" else None)
        assert is_strict()
        with pytest.raises(RuntimeError, match="of another kind"), strict(device):
            raise RuntimeError("of another kind")
        assert settings() == (True, False, False, ":4096:8" if device == "cuda" else None)
    assert settings() == was
    with strict(device, on=False):
        assert settings() == was


@pytest.mark.usefixtures("restored")
def test_the_workspace_that_cuda_was_started_with_stays_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a second time it is still known to be the right one."""
    started: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: bool(started))
    with strict("cuda:1"):
        started.append(True)
    assert os.environ[WORKSPACE] == ":4096:8"
    with strict("cuda:1"):
        assert os.environ[WORKSPACE] == ":4096:8"
    assert os.environ[WORKSPACE] == ":4096:8"
    monkeypatch.delenv(WORKSPACE)
    with pytest.raises(
        InputError, match=f"^CUDA was started without {WORKSPACE}, .* set it to :4096:8 or :16:8 before"
    ):
        strict("cuda").__enter__()
    assert not is_strict()
    with strict("cpu"):  # where it has no say
        assert is_strict()


@pytest.mark.parametrize(
    ("workspace", "started", "message"),
    [
        (None, False, ""),
        (":4096:8", False, ""),
        (":16:8", True, ""),
        (None, True, "CUDA was started without"),
        (":0:0", False, f"{WORKSPACE} ':0:0' does not make CUDA deterministic: set it to :4096:8 or :16:8"),
        (":0:0", True, f"{WORKSPACE} ':0:0' does not make CUDA deterministic"),
    ],
)
def test_a_workspace_that_is_not_deterministic_is_refused(workspace: str | None, started: bool, message: str) -> None:
    if not message:
        check_workspace(workspace, started)
        return
    with pytest.raises(InputError) as error:
        check_workspace(workspace, started)
    assert str(error.value).startswith(message)


@pytest.mark.usefixtures("restored")
def test_the_record_says_whether_torch_was_strict() -> None:
    def noted() -> str:
        return environment(torch.device("cpu"))["deterministic"]

    assert noted() == "false"
    with strict():
        assert noted() == "true"
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert noted() == "false"


@pytest.mark.parametrize(
    ("first", "then", "tag"), [(True, True, "true"), (False, True, "false"), (True, False, "false")]
)
def test_a_run_is_strict_when_all_of_it_is(first: bool, then: bool, tag: str, splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(Interrupted), strict(on=first):
        run(TINY, splits, work=tmp_path, stop=lambda: True)
    noting, mixed = Noting(), then and not first
    told = (
        pytest.warns(RuntimeWarning, match="^the run was started without strict determinism")
        if mixed
        else nullcontext()
    )
    with told, strict(on=then):
        run(TINY, splits, work=tmp_path, tracker=noting)
    assert noting.noted["deterministic"] == tag


if __name__ == "__main__":  # a process of test_two_processes...
    with strict():
        print(json.dumps(made(Path(sys.argv[1]))))
