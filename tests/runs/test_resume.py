"""A run that is stopped anywhere and started again ends as if it had never stopped: weights, rows and curves, bit for bit."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from stacked import InputError, StackSpec
from stacked.data.formats.split import Split, Splits
from stacked.runs import checkpoint
from stacked.runs.checkpoint import Checkpoints, Damaged, load_checkpoint, position, save_checkpoint
from stacked.runs.run import Result, run
from stacked.spec import Budget, Classification, StageSpec
from stacked.util.errors import Interrupted
from tests.helpers.runs import SPEC, numbers, same_weights
from tests.helpers.splits import toy_splits

VISIBLE = StackSpec.of("transformer", 8, 8, visible_only=True)
DENSE = StackSpec((StageSpec("conv-pool", 4, options={"tied": True, "unpool": "switches"}), StageSpec("dense", 5)))
#: half as long, with updates enough for several stops in each run
SHORT = replace(SPEC, budget=Budget((1.0,), 2.0))
#: Each has something else to keep: momentum, a head, the best weights so far, left-over FLOPs, tied weights, rates by stage.
SPECS = {
    "greedy+finetune": SPEC,
    "sgd": replace(SHORT, optimisation=replace(SHORT.optimisation, optimiser="sgd")),
    "sgd, nesterov": replace(SHORT, optimisation=replace(SHORT.optimisation, optimiser="sgd", nesterov=True)),
    "adamw, clipped": replace(
        SHORT, optimisation=replace(SHORT.optimisation, optimiser="adamw", clip=0.1, weight_decay=0.1)
    ),
    "supervised+unfreeze": replace(SHORT, policy="supervised+unfreeze"),
    "greedy-pixels+unfreeze": replace(SHORT, policy="greedy-pixels+unfreeze"),
    "visible patches": replace(
        SHORT,
        stack=VISIBLE,
        optimisation=replace(
            SHORT.optimisation,
            corruption="patch-masking",
            corruption_level=(0.5,),
            corruption_patch=2,
            emphasis=(1.0, 0.5),
        ),
    ),
    "simultaneous": replace(SHORT, policy="simultaneous"),
    "stale codes": replace(
        SHORT,
        policy="local-simultaneous",
        optimisation=replace(
            SHORT.optimisation, staleness=3, on_nonfinite="rollback", objectives={"image": 1.0, "labels": 0.5}
        ),
    ),
    "copies": replace(SHORT, policy="progressive-copy", stack=StackSpec.of("conv", 4, 4, 4)),
    "joint-local": replace(SHORT, policy="joint-local", stack=DENSE),
    "objectives": replace(
        SPEC,
        policy="local-simultaneous",
        optimisation=replace(
            SPEC.optimisation,
            objectives={"image": 1.0, "labels": 0.5},
            on_nonfinite="rollback",
            patience=3,
            check_every=3,
        ),
    ),
    "objectives by block": replace(
        SHORT,
        policy="local-simultaneous",
        optimisation=replace(SHORT.optimisation, objectives={"input": (1.0, 0.0), "labels": (0.0, 1.0)}),
    ),
    "a block": replace(SHORT, policy="local+finetune", blocks=2),
    "resampled+finetune": replace(SHORT, policy="resampled+finetune", stack=DENSE),
    "converge+finetune": replace(
        SPEC,
        policy="converge+finetune",
        optimisation=replace(SPEC.optimisation, patience=2, end_patience=2, check_every=3, schedule="constant"),
        budget=Budget((10.0,), 5.0),
    ),
    "classifiers": replace(
        SPEC,
        budget=Budget((2.0,), 2.0, "updates"),
        classification=Classification(
            labels=(20, None),
            lrs=(1e-3, 1e-2, 1e38),
            updates=4,
            batch_size=16,
            checks=2,
            corruption_level=0.2,
            dropout=0.5,
        ),
    ),
    "classifier on frozen codes": replace(
        SHORT,
        policy="random",
        classification=Classification(labels=(20,), updates=7, checks=7, encoder="frozen", head="mlp", patience=2),
    ),
}


@pytest.fixture(scope="module")
def splits() -> Splits:
    """Validated on negatives, which patient phases soon do worse on."""
    made = toy_splits(150)
    return replace(made, valid=Split(255 - made.valid.inputs, made.valid.labels))


@pytest.fixture(scope="module")
def whole(splits: Splits) -> dict[str, Result]:
    return {name: run(spec, splits) for name, spec in SPECS.items()}


def same(one: Result, other: Result) -> bool:
    pictures = one.samples.keys() == other.samples.keys() and all(
        (one.samples[name] == other.samples[name]).all() for name in one.samples
    )
    classifiers = one.classifiers.keys() == other.classifiers.keys() and all(
        same_weights(classifier, other.classifiers[name]) for name, classifier in one.classifiers.items()
    )
    return same_weights(one.stack, other.stack) and pictures and classifiers


@pytest.mark.parametrize(
    ("name", "step"),
    [*((name, 3) for name in SPECS), ("greedy+finetune", 1), ("supervised+unfreeze", 7), ("classifiers", 1)],
)
def test_stopped_after_every_so_many_updates_it_ends_the_same(
    name: str, step: int, whole: dict[str, Result], splits: Splits, tmp_path: Path
) -> None:
    """At step 1 there is a stop after every single update of the run."""
    spec, stops, result = SPECS[name], 0, None
    while result is None:
        count = itertools.count(1)
        try:
            result = run(spec, splits, work=tmp_path, stop=lambda count=count: next(count) >= step)  # type: ignore[misc]
        except Interrupted:
            stops += 1
    assert stops >= whole[name].row["updates"] // step - len(spec.phases(4))
    assert numbers(result) == numbers(whole[name])
    assert same(result, whole[name])
    kept = [f"phase-{k}" for k in range(1, len(spec.phases(4)) + 1)]
    classifiers = [f"classifier-{name}" for name in sorted(result.classifiers)]
    assert sorted(path.stem for path in tmp_path.iterdir()) == [*classifiers, "encoder", *kept, "stack"]


@pytest.mark.parametrize("every", [1, 4])
def test_checkpoints_change_nothing(every: int, whole: dict[str, Result], splits: Splits, tmp_path: Path) -> None:
    result = run(SPEC, splits, work=tmp_path, checkpoint_every=every)
    assert numbers(result) == numbers(whole["greedy+finetune"])
    assert same(result, whole["greedy+finetune"])


class Killed(Exception):
    """As if the process had died: nothing is kept at that moment."""


def killed_at(update: int, splits: Splits, work: Path, every: int) -> None:
    """A run of SPEC that keeps its place every so many updates, and dies after `update` of them."""
    count = itertools.count(1)

    def dies() -> bool:
        if next(count) >= update:
            raise Killed
        return False

    with pytest.raises(Killed):
        run(SPEC, splits, work=work, checkpoint_every=every, stop=dies)


def files(work: Path) -> list[str]:
    return sorted(path.name for path in work.iterdir())


@pytest.fixture(scope="module")
def killed_at_13(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that kept its place every 2 updates and died after 13; tests work on copies."""
    work = tmp_path_factory.mktemp("killed")
    killed_at(13, splits, work, every=2)
    return work


def test_two_generations_are_kept_and_the_newest_is_used(
    whole: dict[str, Result], splits: Splits, killed_at_13: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed_at_13, tmp_path, dirs_exist_ok=True)
    assert files(tmp_path) == ["phase-1.safetensors", "update-0.safetensors", "update-1.safetensors"]
    kept = [load_checkpoint(tmp_path / name, SPEC) for name in files(tmp_path)]
    assert sorted((saved.phases, saved.update) for saved in kept) == [(1, 0), (1, 2), (1, 4)]
    newest = Checkpoints(tmp_path, SPEC).newest()
    assert newest is not None
    assert (newest.phases, newest.update, newest.state["updates"]) == (1, 4, 12)
    assert same(run(SPEC, splits, work=tmp_path), whole["greedy+finetune"])


@pytest.mark.parametrize("harm", ["torn", "empty", "flipped", "both", "all"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    harm: str, whole: dict[str, Result], splits: Splits, killed_at_13: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed_at_13, tmp_path, dirs_exist_ok=True)
    ordered = sorted(tmp_path.iterdir(), key=position)
    for path in {"both": ordered[1:], "all": ordered}.get(harm, ordered[-1:]):
        content = bytearray(path.read_bytes())
        content[-9] ^= 1
        path.write_bytes({"torn": content[:-20], "empty": b""}.get(harm, content))
    with pytest.warns(
        RuntimeWarning,
        match=r"safetensors (is incomplete or damaged|does not) .*: it is ignored, and the checkpoint before it used",
    ) as told:
        result = run(SPEC, splits, work=tmp_path)
    assert len(told) == {"both": 2, "all": 3}.get(harm, 1)
    assert numbers(result) == numbers(whole["greedy+finetune"])
    assert same(result, whole["greedy+finetune"])


def test_the_older_of_two_generations_is_replaced_also_after_a_resume(
    splits: Splits, killed_at_13: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed_at_13, tmp_path, dirs_exist_ok=True)
    killed_at(2, splits, tmp_path, every=2)  # one update more, 13, and none is due
    killed_at(3, splits, tmp_path, every=2)  # 14 is kept
    assert sorted(map(position, tmp_path.iterdir())) == [(1, 0), (1, 4), (1, 6)]


def test_without_a_folder_a_stop_keeps_nothing_and_says_so(splits: Splits) -> None:
    with pytest.raises(Interrupted, match=r"^stopped as asked$"):
        run(SPEC, splits, stop=lambda: True)


def test_checkpoints_by_time_cost_their_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])

    def written(*_: Any) -> None:
        now[0] += 0.3

    monkeypatch.setattr(checkpoint, "save_checkpoint", written)
    kept, at = Checkpoints(tmp_path, SPEC), []
    for update in range(1, 600):
        now[0] += 0.1
        if kept.due(update):
            at.append(now[0])
            kept.save_inside_phase(0, update, {}, {})
    assert at[0] == pytest.approx(105, abs=0.11)
    gaps = [later - earlier - 0.3 for earlier, later in itertools.pairwise(at)]
    assert gaps == pytest.approx([15.0] * len(gaps), abs=0.11)  # 0.3 s are 2 % of 15 s
    assert len(gaps) >= 2


def test_a_run_counts_the_seconds_of_all_its_processes(splits: Splits, tmp_path: Path) -> None:
    """Those until the last checkpoint of a process, whatever was done after it."""
    stopped = []

    def stop() -> bool:
        stopped.append(None)
        return len(stopped) == 5

    with pytest.raises(Interrupted):
        run(SPEC, splits, work=tmp_path, stop=stop)
    newest = Checkpoints(tmp_path, SPEC).newest()
    assert newest is not None
    assert newest.elapsed >= newest.state["seconds"] > 0
    others = {name: value for name, value in newest.state.items() if name != "elapsed"}
    save_checkpoint(newest.path, SPEC, newest.phases, newest.update, newest.tensors, others | {"elapsed": 1000.0})
    row = run(SPEC, splits, work=tmp_path).row
    assert 1000 < row["seconds"] < 1100
    # a checkpoint of an earlier version does not say how long its process ran
    alone = tmp_path / "alone" / newest.path.name
    save_checkpoint(alone, SPEC, newest.phases, newest.update, newest.tensors, others)
    again = Checkpoints(alone.parent, SPEC)
    assert again.newest() is not None
    assert again.elapsed() < 100
    for wrong in (-1.0, "long", None):
        save_checkpoint(alone, SPEC, newest.phases, newest.update, newest.tensors, others | {"elapsed": wrong})
        with pytest.raises(InputError, match=r"does not fit its run \(elapsed is "):
            Checkpoints(alone.parent, SPEC).newest()


# The file


def test_a_checkpoint_holds_what_was_saved(tmp_path: Path) -> None:
    tensors = {
        "a": torch.ones(2),
        "b": torch.tensor(3),
        "c": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    save_checkpoint(tmp_path / "c", SPEC, 2, 7, tensors | {"d": torch.empty(0)}, {"updates": 3})
    saved = load_checkpoint(tmp_path / "c", SPEC)
    assert (saved.phases, saved.update, saved.state) == (2, 7, {"updates": 3})
    assert all(torch.equal(saved.tensors[name], tensor) for name, tensor in tensors.items())
    assert saved.tensors["d"].shape == (0,)


def test_a_checkpoint_of_another_spec_shows_the_differing_fields(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", SPEC, 1, 0, {"a": torch.ones(2)}, {})
    other = replace(SPEC, seed=5, optimisation=replace(SPEC.optimisation, lr=0.5))
    with pytest.raises(InputError, match=r"seed is 0 there and 5 here; optimisation.lr is 0.01 there and 0.5 here"):
        load_checkpoint(tmp_path / "c", other)


def test_a_checkpoint_with_statistics_of_corrupted_training_is_not_gone_on_with_to_clean_ones(tmp_path: Path) -> None:
    """As one is that was written before there was a choice; its own spec still goes on with it."""
    then = replace(SPEC, optimisation=replace(SPEC.optimisation, recalibrate=False))
    save_checkpoint(tmp_path / "phase-1.safetensors", then, 1, 0, {}, {})
    with pytest.raises(InputError, match=r"optimisation\.recalibrate is 'left out' there and True here$"):
        load_checkpoint(tmp_path / "phase-1.safetensors", SPEC)
    assert load_checkpoint(tmp_path / "phase-1.safetensors", then).phases == 1


def test_no_torn_or_altered_checkpoint_is_taken_for_whole(tmp_path: Path) -> None:
    """Cut after any byte, or with a bit of any byte changed."""
    path = tmp_path / "c"
    save_checkpoint(path, SPEC, 1, 0, {"a": torch.arange(20.0), "b": torch.ones(3)}, {"updates": 3})
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(Damaged, match="incomplete or damaged"):
            load_checkpoint(path, SPEC)
    for at in range(0, len(content), 3):
        altered = bytearray(content)
        altered[at] ^= 1 << at % 8
        path.write_bytes(altered)
        with pytest.raises(InputError):
            load_checkpoint(path, SPEC)
    path.write_bytes(content)
    assert load_checkpoint(path, SPEC).state == {"updates": 3}
    assert [each.name for each in tmp_path.iterdir()] == ["c"]  # no temporary file is left


def test_a_file_of_another_version_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "phase-1.safetensors", {"format": "stacked checkpoint 1"})
    with pytest.raises(InputError, match=r"not a checkpoint of this version .*: move it away to train the run again"):
        Checkpoints(tmp_path, SPEC).newest()


def test_a_run_does_not_go_on_with_other_data_of_the_same_name(splits: Splits, tmp_path: Path) -> None:
    killed_at(9, splits, tmp_path, every=4)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=f"^{tmp_path} holds a run on other data named 'toy': use another folder"):
        run(SPEC, toy_splits(150), work=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("notes.txt", "phase-x.safetensors", "update-2.safetensors", ".phase-1.safetensors-abc"):
        (tmp_path / name).write_text("mine")
    kept = Checkpoints(tmp_path, SPEC)
    assert kept.newest() is None
    kept.clear()
    assert len(files(tmp_path)) == 4
