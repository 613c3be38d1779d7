"""A run: the only place where data, stack, policy, training, evaluation and records meet."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from stacked import data
from stacked.cost.disk import check_room, check_writable, work_room
from stacked.data.formats.files import at_home
from stacked.data.formats.split import kind_of
from stacked.evaluation.final_metrics import final_metrics
from stacked.evaluation.label_rows import possible_budgets
from stacked.evaluation.pictures import pictures
from stacked.model.classifier import Classifier
from stacked.model.encoder import save_encoder
from stacked.model.regressor import Regressor
from stacked.model.stack import StackedAutoencoder, grow
from stacked.model.stack_file import NAME as STACK_FILE
from stacked.model.stack_file import write_stack
from stacked.runs.check import check as check
from stacked.runs.checkpoint import Checkpoints, phase_path
from stacked.runs.checkpoint_validation import phase_of, restore_stack
from stacked.runs.classifiers import Classifiers
from stacked.runs.curves import Curves
from stacked.runs.observer import RunObserver
from stacked.runs.regressors import Regressors
from stacked.runs.run_state import RunState
from stacked.runtime.determinism import is_strict
from stacked.runtime.environment import device_of, environment
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec
from stacked.tracking.null_tracker import NullTracker
from stacked.training.codes import StoredInputs
from stacked.training.examples import examples_of
from stacked.training.pretrain import train_phases
from stacked.util.checks import need
from stacked.util.serialization import to_json

if TYPE_CHECKING:
    from stacked.tracking.protocol import RecordsRun


@dataclass(frozen=True)
class Result:
    """A finished run: the trained stack, its row and curve as plain values, the arrays of its pictures, and its models.

    classifiers, regressors: the model fine-tuned with each label budget, by its number of labels as text, or "all":
    classifiers of data with classes, regressors of data with numbers to predict.
    """

    stack: StackedAutoencoder
    row: dict[str, Any]
    curve: list[dict[str, Any]]
    samples: dict[str, NDArray[Any]]
    classifiers: dict[str, Classifier] = field(default_factory=dict)
    regressors: dict[str, Regressor] = field(default_factory=dict)


@own_settings()
def load(
    spec: RunSpec,
    data_dir: str | Path | None = None,
    download: bool = False,
    disk_cache: str | Path | None = None,
) -> data.Splits:
    """Return the splits that `spec` describes, with arguments as in `stacked.data.load`.

    disk_cache: for decoded image files; data that have none are in memory.
    """
    disk_cache = disk_cache if data.can_be_mapped(spec.data.name) else None
    return data.load(**vars(spec.data), data_dir=data_dir, download=download, disk_cache=disk_cache)


def splits_of(
    spec: RunSpec, given: Any = None, target: str | None = None, disk_cache: Path | None = None
) -> data.Splits:
    """Return splits as they are, other data as `Splits.of` divides and scales them, and without data those of the spec."""
    if given is None or isinstance(given, data.Splits):
        need(target is None, f"target {target!r} is a column of a DataFrame: give one, or leave target out")
        return given or load(spec, disk_cache=disk_cache)
    return data.Splits.of(given, target=target)


def tell_left_out(spec: RunSpec, splits: data.Splits) -> None:
    """Warn, in one line, of label budgets of the default that the data do not have."""
    budgets = possible_budgets(spec.classification, splits) if splits.outputs else spec.classification.labels
    left_out = [f"{budget:,}" for budget in spec.classification.labels if budget not in budgets]
    if left_out:
        models = "classifiers" if splits.classes else "regressors"
        labelled = int((splits.train.marks >= 0).sum())
        of_classes = f" of {len(splits.classes):,} classes" if splits.classes else ""
        warnings.warn(
            f"{labelled:,} training examples{of_classes} have labels: {models} with {' and '.join(left_out)} labels are left out "
            "(Classification(labels=...) chooses others)",
            RuntimeWarning,
            stacklevel=4,
        )


@own_settings()
def run(
    spec: RunSpec,
    splits: Any = None,
    *,
    target: str | None = None,
    arm: str | None = None,
    device: str = "cpu",
    codes: str = "auto",
    disk_cache: str | Path | None = None,
    work: Path | None = None,
    tracker: RecordsRun | None = None,
    checkpoint_every: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Train and evaluate a run as `spec` describes.

    splits: the data: `Splits`, or data for `Splits.of`: an array or tensor [N, ...], a pair (X, y), a pandas DataFrame, or a
    map-style torch Dataset (None: the data that the spec names are loaded). target: the column of a DataFrame that holds the
    labels. arm: recorded name (default: the policy). device: device to train on. codes: whether the codes of frozen stages are
    kept ("memory") or computed again for each batch ("recompute"), which gives the same numbers; "auto": kept where this saves
    time and fits in memory. disk_cache: folder for memory-mapped files, of decoded images where data are loaded here, and of
    codes that are to be kept and take more than 1 GiB or do not fit in memory (None: both are in memory). work: folder for
    checkpoints and, at the end, the trained encoder (see `load_encoder`), the whole stack (see `load_stack`) and the
    classifiers or regressors (see `load_classifier`, `load_regressor`); a run resumes from the checkpoints in it, and ends as
    if it had not been interrupted. tracker: where the run is logged (default: nowhere). checkpoint_every: updates between
    checkpoints inside a phase (default: by time, so that they take at most 2 % of the run time). stop: called after every
    update; the run ends if it returns True. Its progress is shown inside the context `stacked.runtime.progress.shown`.

    Raises InputError for a spec or data that cannot be run, Unwritable (an InputError) if the work folder cannot be written
    or is full, Diverged if a loss is not finite, and Interrupted if `stop` ends the run.
    """
    checkpoints = Checkpoints(work, spec, checkpoint_every, stop)
    disk_cache = None if disk_cache is None else at_home(disk_cache)
    splits = splits_of(spec, splits, target, disk_cache)
    checked = check(spec, splits)
    tell_left_out(spec, splits)
    torch_device = device_of(device)
    tracker = tracker or NullTracker()
    environment_tags = environment(torch_device)
    tracker.tags(environment_tags)
    for context, split in (("train", splits.train), ("valid", splits.valid), ("test", splits.test)):
        tracker.dataset(
            splits.name,
            splits.digest,
            rows=len(split),
            shape=splits.input_shape,
            context=context,
            dtype=str(split.inputs.dtype).removeprefix("torch."),
        )
    tracker.text(to_json(spec), "spec.json")
    if splits.scaling is not None:
        tracker.text(to_json(splits.scaling), "scaling.json")

    phases = spec.phases(spec.updates_per_epoch(len(splits.train)))
    if work:
        check_writable(work)
        room = work_room(spec, checked.stack, phases, splits.outputs, work)
        check_room([(work, room.kept + room.temporary)], "the run", "free some space, or choose another folder")
    saved = checkpoints.newest()
    stack, state = StackedAutoencoder(splits.input_shape, scaling=splits.scaling), RunState()
    if saved:
        depth = spec.stack.depth if saved.is_classifier else phase_of(saved, phases).depth
        grow(stack, spec, depth, torch_device)
        state = restore_stack(saved, stack)
    need(
        state.data in ("", splits.digest),
        f"{work} holds a run on other data named {splits.name!r}: use another folder (in a study, another --store)",
    )
    state.data = splits.digest
    threads = torch.get_num_threads()
    if state.threads not in (0, threads):
        warnings.warn(
            f"the run was trained with {state.threads} threads and resumes with {threads}, which round differently: its numbers "
            "will differ in their last bits",
            RuntimeWarning,
            stacklevel=2,
        )
    state.threads = threads
    state.deterministic = is_strict() and (state.deterministic or not saved)
    if is_strict() and not state.deterministic:
        tracker.tags({"deterministic": "false"})
        warnings.warn(
            "the run was started without strict determinism, which applies only from now on: it is recorded as not "
            "deterministic",
            RuntimeWarning,
            stacklevel=2,
        )
    commit = environment_tags["commit"] + ("+changes" if environment_tags["dirty"] == "true" else "")
    state.commits += [commit] if commit not in state.commits else []
    curves = Curves(spec, splits, state, tracker)

    first_phase = saved.phases + 1 if saved else 1
    for number in range(1, first_phase):  # upload again, in case the last upload was incomplete
        if work and phase_path(work, number).exists():
            tracker.artifact(phase_path(work, number), "checkpoints")
    observer = RunObserver(stack, spec, phases, len(splits.classes), curves, checkpoints, saved)
    train_phases(
        stack,
        spec,
        phases,
        lambda phase: examples_of(splits, phase, spec.optimisation, checked.labels.of(phase), torch_device),
        torch_device,
        observer,
        first_phase=first_phase,
        classes=len(splits.classes),
        codes=codes,
        disk_cache=disk_cache,
        every=spec.evaluation.every,
    )
    if not phases and not state.curve:
        curves.record_untrained(stack)
    curves.record_final_picture(stack)

    how = spec.evaluation
    found = final_metrics(stack, splits, checked.labels, how.probes, how.probe_depths, how.fresh_decoder)
    ends = stack, spec, splits, checked.labels, state, checkpoints, saved, tracker, len(phases)
    classifiers, classified = Classifiers(*ends).fine_tune() if splits.classes else ({}, {})
    regressors, regressed = Regressors(*ends).fine_tune() if splits.train.targets is not None else ({}, {})
    found |= classified | regressed
    final = {f"final/{name}": value for name, value in found.items()}
    # step 0, so that MLflow shows a bar instead of a one-point line
    tracker.log({name: value for name, value in final.items() if not math.isnan(value)}, step=0)
    first_two = splits.valid.inputs[:2]
    example = StoredInputs(first_two)(torch.arange(len(first_two)))
    tracker.model(stack.encoder, example, state.updates)
    for kind, models in (("classifier", classifiers), ("regressor", regressors)):
        for name, model in models.items():
            mine = [metric for metric in final if metric.endswith(f"_{name}") and f"/{kind}_" in metric]
            tracker.model(model, example, int(final[f"final/{kind}_updates_{name}"]), f"{kind}-{name}", mine)
    if work:
        save_encoder(work / "encoder.safetensors", stack, spec.stack)
        tracker.artifact(work / "encoder.safetensors", "encoder")
        write_stack(work / STACK_FILE, stack, spec.stack)
        tracker.artifact(work / STACK_FILE, "stack")
    row = {
        "run": spec.id,
        "arm": arm or spec.policy,
        "seed": spec.seed,
        "status": "finished",
        **({} if kind_of(splits.input_shape) == "images" else {"examples": kind_of(splits.input_shape)}),
        "commit": ", ".join(state.commits),
        "updates": state.updates,
        "images_seen": state.images_seen,
        "gflop": state.flop / 1e9,
        "span_gflop": state.span / 1e9,
        "train_seconds": state.seconds,
        "seconds": checkpoints.elapsed(),
        "peak_mb": state.peak_bytes / 1e6,
        "codes_mb": state.codes_bytes / 1e6,
        **(
            {"skipped": state.skipped, "rollbacks": state.rollbacks} if spec.optimisation.on_nonfinite != "stop" else {}
        ),
        "threads": threads,
        "device": str(torch_device),
        **final,
        "spec": to_json(spec),
    }
    checkpoints.clear()
    curve = [{"run": spec.id, "arm": row["arm"], "seed": spec.seed, **point} for point in state.curve]
    return Result(stack.eval(), row, curve, pictures(stack, splits), classifiers, regressors)
