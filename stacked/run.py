"""The composition root: the only place where data, stack, policy, training, measurement and record meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked import data, evaluate
from stacked.checkpoint import latest, load_checkpoint, phase_path, save_checkpoint
from stacked.classify import fine_tuned, linear_probe
from stacked.codes import Images, Prefix, free_bytes, inputs, plan
from stacked.data.labels import label_subset
from stacked.data.stream import Order
from stacked.environment import device_of, environment
from stacked.fit import Point, fit
from stacked.flops import update_flops
from stacked.growth import Phase
from stacked.progress import Bar
from stacked.rng import seeded
from stacked.spec import RunSpec, to_json
from stacked.stack import StackedAutoencoder, check_size, next_stage

if TYPE_CHECKING:
    from stacked.tracking import Tracker

    NewBar = Callable[[str, int], Bar]

#: Images in a picture of reconstructions.
SHOWN = 14


class Untracked:
    """Stands where a Tracker could, and records nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self

    def __enter__(self) -> Untracked:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@dataclass
class State:
    """What a run has spent and measured so far; with the stack, all that a checkpoint needs.

    flop: floating-point operations of training, frozen prefixes included. seconds: spent training and computing codes,
    without evaluation. curve: the points of the arm, as rows.
    """

    updates: int = 0
    images_seen: int = 0
    flop: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)


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
    if splits.classes:
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

    train = Images(splits.train.images.to(where))
    valid = Images(splits.valid.images.to(where))
    order = Order(len(train), spec.optimisation.batch_size, spec.seed)
    phases = spec.phases(order.updates_per_epoch)
    stack, state = StackedAutoencoder(splits.image_shape), State()
    finished = latest(work, len(phases)) if work else None
    if work and finished:
        grow(stack, spec, phases[finished - 1].depth)
        weights, saved = load_checkpoint(phase_path(work, finished), spec)
        stack.load_state_dict(weights)
        state = State(**saved)
    stack.to(where)
    curves = Curves(spec, splits, where, state, tracker, sum(phase.updates for phase in phases))

    for number, phase in enumerate(phases, start=1):
        if number <= (finished or 0):
            continue
        grow(stack, spec, phase.depth)
        train_phase(stack, spec, phase, number, train, valid, order, codes, curves, bar)
        if work:
            save_checkpoint(phase_path(work, number), spec, stack.state_dict(), asdict(state))
            tracker.artifact(phase_path(work, number), "checkpoints")
        tracker.flush()
    grow(stack, spec, spec.stack.depth)
    if not phases:
        curves.constant(stack)

    final = {f"final/{name}": value for name, value in measured(stack, spec, splits, where).items()}
    tracker.log(final, step=state.updates)
    tracker.model(stack.encoder, Images(splits.valid.images[:2])(torch.arange(2)))
    row = {
        "run": spec.id,
        "arm": arm or spec.policy,
        "seed": spec.seed,
        "status": "finished",
        "commit": setting["commit"] + ("+changes" if setting["dirty"] == "true" else ""),
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
    return Result(stack.eval(), row, curve, pictures(stack, splits, where))


def grow(stack: StackedAutoencoder, spec: RunSpec, depth: int) -> None:
    """Grow the stack to `depth`; a stage's initial weights depend on the seed and its place alone."""
    device = next((p.device for p in stack.parameters()), None)
    while stack.depth < depth:
        with seeded(spec.seed, "init", stack.depth + 1):
            stack.grow(next_stage(stack, spec.stack).to(device))


def train_phase(
    stack: StackedAutoencoder,
    spec: RunSpec,
    phase: Phase,
    number: int,
    train: Images,
    valid: Images,
    order: Order,
    codes: str,
    curves: Curves,
    bar: NewBar | None,
) -> None:
    """Train one phase and record it, in the arm's curve and in a stage run of its own."""
    state, tracker, how = curves.state, curves.tracker, spec.optimisation
    stack.learn_only(*phase.learn).eval()
    below, free = Prefix.of(stack, phase.reads), free_bytes(train.images.device)
    chosen = plan(below, len(train), phase.updates, order.size, codes, free)
    params = {
        "learns": f"{phase.learn[0]}-{phase.learn[1]}",
        "reads": phase.reads,
        "updates": phase.updates,
        "loss": how.loss_at(phase.reads),
        "corruption_level": how.level_at(phase.reads),
        "codes": chosen.mode,
        "codes_why": chosen.why,
    }
    if not state.curve:
        curves.point(stack, phase, None)
    with (
        tracker.stage(number, phase.name, params) as stage,
        (bar or quiet)(phase.name, phase.updates) as shown,
    ):
        began = time.perf_counter()
        reads = inputs(stack, phase.reads, train, chosen.mode, order.size)
        state.seconds += time.perf_counter() - began
        state.flop += chosen.flops_once
        per_update = update_flops(stack, phase) * order.size + chosen.flops_per_update
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
            curves.point(stack, phase, point)


def quiet(label: str, total: int) -> Bar:
    """A bar that shows nothing."""
    return Bar(label, total, quiet=True)


def spread(n: int, most: int) -> Tensor:
    """At most `most` of n indices, evenly spread: data sorted by class keep all their classes."""
    return torch.arange(n) if n <= most else (torch.arange(most) * n) // most


class Curves:
    """The arm's points on the grid that all arms share, measured on validation images."""

    def __init__(
        self,
        spec: RunSpec,
        splits: data.Splits,
        device: torch.device,
        state: State,
        tracker: Tracker | Untracked,
        last_step: int,
    ) -> None:
        self.how, self.state, self.tracker, self.last_step = spec.evaluation, state, tracker, last_step
        valid, train = splits.valid, splits.train
        self.images = valid.images[spread(len(valid), self.how.images)].to(device)
        self.shown = valid.images[spread(len(valid), SHOWN)].to(device)
        self.probe = None
        if splits.classes:
            pairs = []
            for split in (train, valid):
                labelled = (split.labels >= 0).nonzero().flatten()
                index = labelled[spread(len(labelled), self.how.probe_images)]
                pairs += [split.images[index].to(device), split.labels[index]]
            self.probe = tuple(pairs)

    def point(self, stack: StackedAutoencoder, phase: Phase, trained: Point | None) -> None:
        """Record the run as it stands now, if this update is on the grid or the run's last; None: before any training."""
        step, on_grid = self.state.updates, self.state.updates % self.how.every == 0
        if not on_grid and step != self.last_step:
            return
        probing = step % (self.how.every * self.how.probe_every) == 0 or step == self.last_step
        values = self.measure(stack, probing)
        if trained is not None:
            values |= {
                "train/loss": trained.loss,
                "train/grad_norm": trained.grad_norm,
                "train/lr": trained.lr,
            }
        self.record(step, phase.name, trained.update if trained else 0, phase.depth, values)
        if probing:
            self.tracker.image("recon_grid", grid(stack, self.shown), step)

    def constant(self, stack: StackedAutoencoder) -> None:
        """Record an arm that is not trained: the same values at both ends of the grid, so that they draw a line."""
        values = self.measure(stack, True)
        for step in sorted({0, self.how.until}):
            self.record(step, "untrained", step, 0, values)
        self.tracker.image("recon_grid", grid(stack, self.shown), 0)

    def measure(self, stack: StackedAutoencoder, probing: bool) -> dict[str, float]:
        found = evaluate.reconstruction(stack, self.images)
        values = {"eval/recon_mse": found.mse, "eval/fvu": found.fvu}
        if probing and self.probe:
            train, labels, valid, valid_labels = self.probe
            depth = stack.depth
            values["eval/probe_acc"] = evaluate.quick_probe(
                evaluate.codes(stack, train, depth), labels, evaluate.codes(stack, valid, depth), valid_labels
            )
        return values

    def record(self, step: int, phase: str, phase_step: int, depth: int, values: dict[str, float]) -> None:
        values = values | {
            "progress/stage": depth,
            "progress/images_seen": self.state.images_seen,
            "progress/gflop": self.state.flop / 1e9,
            "progress/train_seconds": self.state.seconds,
        }
        if "eval/probe_acc" in values:  # MLflow pairs the n-th value with the n-th cost when it averages seeds
            values["progress/gflop_at_probe"] = values["progress/gflop"]
        self.state.curve.append({"phase": phase, "step": step, "phase_step": phase_step, **values})
        self.tracker.log(values, step=step)


def measured(stack: StackedAutoencoder, spec: RunSpec, splits: data.Splits, device: torch.device) -> dict[str, float]:
    """The final metrics: the only place that reads the test set."""
    train, valid, test, depth = splits.train, splits.valid, splits.test, stack.depth
    valid_images, test_images = valid.images.to(device), test.images.to(device)
    found: dict[str, float] = {"valid_recon_mse": evaluate.reconstruction(stack, valid_images).mse}
    for k in range(1, depth + 1):
        errors = evaluate.reconstruction(stack, test_images, k)
        found[f"recon_mse_depth{k}"] = errors.mse
        if k == depth:
            found |= {f"recon_{name}": value for name, value in asdict(errors).items()}
    if not splits.classes:
        return found

    labelled = test.labels >= 0
    test_images, test_labels = test_images[labelled.to(device)], test.labels[labelled]
    labels_at_hand = int((train.labels >= 0).sum())
    index = label_subset(train.labels, min(spec.evaluation.probe_labels, labels_at_hand), spec.seed)
    probe_images = train.images[index].to(device)
    for k in range(depth + 1):
        found[f"probe_acc_depth{k}"] = linear_probe(
            evaluate.codes(stack, probe_images, k),
            train.labels[index],
            evaluate.codes(stack, test_images, k),
            test_labels,
        )
    found["probe_acc"] = found[f"probe_acc_depth{depth}"]

    how = spec.classification
    checked = (valid.labels >= 0).nonzero().flatten()
    checked = checked[spread(len(checked), how.images)]
    for budget in how.labels:
        index = label_subset(train.labels, budget, spec.seed)
        tuned = fine_tuned(
            stack,
            (train.images[index].to(device), train.labels[index]),
            (valid.images[checked].to(device), valid.labels[checked]),
            (test_images, test_labels),
            len(splits.classes),
            how,
            spec.seed,
        )
        name = "all" if budget is None else str(budget)
        found |= {
            f"classifier_acc_{name}": tuned.accuracy,
            f"classifier_valid_acc_{name}": tuned.valid_accuracy,
            f"classifier_lr_{name}": tuned.lr,
            f"classifier_updates_{name}": tuned.updates,
        }
    return found


def grid(stack: StackedAutoencoder, images: Tensor, scale: int = 3) -> NDArray[np.uint8]:
    """A picture [H, W, 3]: images above their reconstructions, enlarged `scale` times where they are small."""
    rows = [images.cpu(), evaluate.reconstructed(stack, images, stack.depth)]
    picture = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    if images.shape[-1] < 100:
        picture = picture.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    return (
        picture.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
        if len(picture) == 1
        else picture.permute(1, 2, 0).contiguous().numpy()
    )


def pictures(stack: StackedAutoencoder, splits: data.Splits, device: torch.device) -> dict[str, NDArray[Any]]:
    """Test images and their reconstructions from each depth, uint8 [N, H, W, C], and the first stage's filters."""
    images = splits.test.images[spread(len(splits.test), SHOWN)].to(device)
    found = {"originals": images.cpu().permute(0, 2, 3, 1).numpy()}
    for k in range(1, stack.depth + 1):
        found[f"depth{k}"] = evaluate.reconstructed(stack, images, k).permute(0, 2, 3, 1).numpy()
    first = stack.stages[0].encoder[0]
    if isinstance(first, torch.nn.Conv2d):
        found["filters"] = first.weight.detach().cpu().numpy()
    return found
