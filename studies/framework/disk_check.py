"""Checks before a study starts: its folders can be written, and the disk has space for the runs that are missing."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from stacked.cost.disk import check_room, check_writable, store_room, work_room
from stacked.evaluation.pictures import MAP, filters, samples_bytes
from stacked.model.stack import empty_stack
from studies.record.runs import FILES

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.tracking.backend.store import Store
    from studies.cli.options import Options
    from studies.execution.job import Job

#: Bytes of a row of runs.csv, and of the page with its figures.
ROW, FIGURES = 3000, 500_000
#: Bytes of a point of a curve: twice its size, because curves.csv is replaced by a new copy, and both exist for a moment.
POINT = 500


def check_folders(given: Options, store: Store) -> None:
    """Raise Unwritable if the store or the folder of results cannot be written."""
    check_writable(store.root, changed=["mlflow.db"] if store.is_local else [])
    check_writable(given.out, FILES)
    for folder in (store.root / "work", store.artifacts, given.out / "samples", given.out / "figures"):
        if folder.exists():
            check_writable(folder)


def check_free_space(given: Options, store: Store, jobs: Sequence[Job], splits: Splits) -> None:
    """Raise Unwritable if the disk has too little space for what the runs of `jobs` may write."""
    if not jobs:
        return
    stored, out = bytes_needed(given, store, jobs, splits)
    what = f"{len(jobs)} runs" if len(jobs) > 1 else "a run"
    remedy = "free some space, choose another --store or --out, or fewer --seeds or --arms"
    check_room([(store.root, stored), (given.out, out)], what, remedy)


def bytes_needed(given: Options, store: Store, jobs: Sequence[Job], splits: Splits) -> tuple[int, int]:
    """Return the most bytes that the runs of `jobs` may write: to the store, and to the folder of results."""
    classes = splits.outputs
    picture_bytes = samples_bytes(splits)
    map_bytes = (2 * MAP + 2) * len(splits.test)  # codes as float16 and labels as int16
    samples = 2 * picture_bytes + map_bytes  # those of PCA
    figures = FIGURES
    tables = 0
    run_rooms = []
    for job in jobs:
        spec = job.spec
        phases = spec.phases(spec.updates_per_epoch(len(splits.train)))
        stack = empty_stack(spec.stack, splits.input_shape)
        # without --resume a run starts in a new folder, which holds no checkpoints yet
        work = store.root / "work" / (spec.id if given.resume else "to be set aside")
        room = work_room(spec, stack, phases, classes, work)
        if store.keeps_files:
            room += store_room(spec, stack, phases, classes, work)
        run_rooms.append(room)
        updates = sum(phase.updates for phase in phases)
        tables += ROW + POINT * (updates // spec.evaluation.every + 3)
        if spec.seed == 0:  # the only seed whose pictures are recorded
            layer = filters(stack)
            has_map = torch.Size(stack.latent_shape).numel() == MAP
            drawn_bytes = (0 if layer is None else layer.nbytes) + (map_bytes if has_map else 0)
            samples += (1 + stack.depth) * picture_bytes + drawn_bytes
            figures += drawn_bytes
    # only runs in progress have temporary files
    temporary = sum(heapq.nlargest(given.jobs, (room.temporary for room in run_rooms)))
    stored = sum(room.kept for room in run_rooms) + temporary
    if store.keeps_files:
        stored += figures + 4 * figures // 3  # the report: the figures as files, and in its page as base64
    return stored, tables + samples + figures
