"""The composition root: the only place where data, stack, policy, training, measurement and record meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from stacked import data
from stacked.checkpoint import latest, load_checkpoint, phase_path, save_checkpoint
from stacked.codes import Images, Prefix, free_bytes, inputs, plan
from stacked.curves import Curves, State
from stacked.data.labels import label_subset
from stacked.data.stream import Order
from stacked.environment import device_of, environment
from stacked.fit import Point, fit
from stacked.flops import update_flops
from stacked.growth import Phase
from stacked.outcome import measured, probe_labels
from stacked.pictures import pictures
from stacked.plain import to_json
from stacked.progress import Bar
from stacked.rng import seeded
from stacked.spec import RunSpec
from stacked.stack import StackedAutoencoder, build, check_size, next_stage
from stacked.untracked import Untracked

if TYPE_CHECKING:
    from stacked.tracking import Tracker

    NewBar = Callable[[str, int], Bar]


@dataclass(frozen=True)
class Result:
    """A finished run: the trained stack, its row and curve as plain values, and pictures for the figures."""

    stack: StackedAutoencoder
    row: dict[str, Any]
    curve: list[dict[str, Any]]
    samples: dict[str, NDArray[Any]]


def load(spec: RunSpec, data_dir: str | Path | None = None, download: bool = False) -> data.Splits:
    """The splits that `spec` names."""
    what = spec.data
    return data.load(
        what.name,
        limit=what.limit,
        valid=what.valid,
        data_dir=data_dir,
        download=download,
        image_size=what.image_size,
        grey=what.grey,
    )


def check(spec: RunSpec, splits: data.Splits) -> None:
    """Raise InputError where the data cannot serve the spec, before anything is trained."""
    check_size(spec.stack, splits.image_shape)
    with torch.device("meta"):
        build(spec.stack, splits.image_shape)
    if splits.classes:
        label_subset(splits.train.labels, probe_labels(spec, splits), spec.seed)
        for budget in spec.classification.labels:
            label_subset(splits.train.labels, budget, spec.seed)


def run(
    spec: RunSpec,
    splits: data.Splits | None = None,
    *,
    arm: str | None = None,
    device: str = "cpu",
    codes: str = "auto",
    work: Path | None = None,
    tracker: Tracker | Untracked | None = None,
    bar: NewBar | None = None,
) -> Result:
    """Train, measure and classify as `spec` says, and return what came of it.

    splits: the data, where they are at hand already. arm: the name to record (default: the policy). codes: "auto",
    "memory" or "recompute", which all give the same numbers. work: a folder for checkpoints; a run whose first phases are
    in it goes on after them. bar: makes the progress bar of a phase from its name and its updates (default: none).

    Raises InputError for what cannot be run, Diverged when a loss is not finite.
    """
    began = time.perf_counter()
    splits = splits or load(spec)
    check(spec, splits)
    where = device_of(device)
    tracker = tracker or Untracked()
    setting = environment(where)
    tracker.tags(setting)
    for context, split in (("train", splits.train), ("valid", splits.valid), ("test", splits.test)):
        tracker.dataset(splits.name, splits.digest, rows=len(split), shape=splits.image_shape, context=context)
    tracker.text(to_json(spec), "spec.json")

    train, valid = Images.near(splits.train.images, where), Images.near(splits.valid.images, where)
    order = Order(len(train), spec.optimisation.batch_size, spec.seed)
    phases = spec.phases(order.updates_per_epoch)
    stack, state = StackedAutoencoder(splits.image_shape), State()
    finished = latest(work, len(phases)) if work else None
    if work and finished:
        grow(stack, spec, phases[finished - 1].depth, where)
        weights, saved = load_checkpoint(phase_path(work, finished), spec)
        stack.load_state_dict(weights)
        state = State(**saved)
    commit = setting["commit"] + ("+changes" if setting["dirty"] == "true" else "")
    state.commits += [commit] if commit not in state.commits else []
    curves = Curves(spec, splits, state, tracker)

    for number, phase in enumerate(phases, start=1):
        if number <= (finished or 0):
            continue
        grow(stack, spec, phase.depth, where)
        train_phase(stack, spec, phases, number, train, valid, order, codes, curves, bar)
        if work:
            save_checkpoint(phase_path(work, number), spec, stack.state_dict(), asdict(state))
            tracker.artifact(phase_path(work, number), "checkpoints")
        tracker.flush()
    grow(stack, spec, spec.stack.depth, where)
    if not phases:
        curves.constant(stack)

    final = {f"final/{name}": value for name, value in measured(stack, spec, splits).items()}
    tracker.log(final, step=state.updates)
    tracker.model(stack.encoder, Images(splits.valid.images[:2])(torch.arange(2)))
    row = {
        "run": spec.id,
        "arm": arm or spec.policy,
        "seed": spec.seed,
        "status": "finished",
        "commit": ", ".join(state.commits),
        "updates": state.updates,
        "images_seen": state.images_seen,
        "gflop": state.flop / 1e9,
        "train_seconds": state.seconds,
        "seconds": time.perf_counter() - began,
        "threads": torch.get_num_threads(),
        "device": str(where),
        **final,
        "spec": to_json(spec),
    }
    curve = [{"run": spec.id, "arm": row["arm"], "seed": spec.seed, **point} for point in state.curve]
    return Result(stack.eval(), row, curve, pictures(stack, splits))


def grow(stack: StackedAutoencoder, spec: RunSpec, depth: int, device: torch.device | None = None) -> None:
    """Grow the stack to `depth` on `device`; a stage's initial weights depend on the seed and its place alone."""
    while stack.depth < depth:
        with seeded(spec.seed, "init", stack.depth + 1):
            stage = next_stage(stack, spec.stack)
        # channels-last convolutions train 1.4 times as fast on a CPU
        stack.grow(stage.to(device).to(memory_format=torch.channels_last))


def train_phase(
    stack: StackedAutoencoder,
    spec: RunSpec,
    phases: list[Phase],
    number: int,
    train: Images,
    valid: Images,
    order: Order,
    codes: str,
    curves: Curves,
    bar: NewBar | None,
) -> None:
    """Train the phase of this number (from 1) and record it, in the arm's curve and in a stage run of its own."""
    phase, state, tracker, how = phases[number - 1], curves.state, curves.tracker, spec.optimisation
    stack.learn_only(*phase.learn).eval()
    below = Prefix.of(stack, phase.reads)
    # FLOPs are those of the plan that does not depend on the machine or on what was asked for: arms stay comparable
    counted = plan(below, len(train), phase.updates, order.size)
    chosen = plan(below, len(train), phase.updates, order.size, codes, free_bytes(where := train.device))
    params = {
        "learns": f"{phase.learn[0]}-{phase.learn[1]}",
        "reads": phase.reads,
        "updates": phase.updates,
        "loss": how.loss_at(phase.reads),
        "corruption_level": how.level_at(phase.reads),
    }
    if not state.curve:
        curves.point(stack, phase, None)
    with (
        tracker.stage(number, phase.name, params) as stage,
        (bar or quiet)(phase.name, phase.updates) as shown,
    ):
        stage.tags({"codes": chosen.mode, "codes_why": chosen.why})
        began = time.perf_counter()
        reads = inputs(stack, phase.reads, train, chosen.mode, order.size)
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        state.seconds += time.perf_counter() - began
        state.flop += counted.flops_once
        per_update = update_flops(stack, phase) * order.size + counted.flops_per_update
        before, seconds_before, last = state.updates, state.seconds, 0
        held = inputs(stack, phase.reads, valid, "recompute", order.size) if how.patience else None
        points: Iterator[Point] = fit(
            stack,
            phase,
            reads,
            how,
            order=order,
            seed=spec.seed,
            done=before,
            every=spec.evaluation.every,
            valid=held,
        )
        for point in points:
            state.updates = before + point.update
            state.images_seen += (point.update - last) * order.size
            state.flop += (point.update - last) * per_update
            state.seconds = seconds_before + point.seconds
            last = point.update
            shown.to(point.update, point.loss)
            stage.log(
                {"stage/loss": point.loss, "stage/lr": point.lr}
                | ({} if point.valid_loss is None else {"stage/valid_loss": point.valid_loss}),
                step=point.update,
            )
            over = number == len(phases) and (point.stopped or point.update == phase.updates)
            curves.point(stack, phase, point, last=over)


def quiet(label: str, total: int) -> Bar:
    """A bar that shows nothing."""
    return Bar(label, total, quiet=True)
