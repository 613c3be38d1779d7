"""Checks before a study starts: its folders can be written, and the disk has space for the runs that are missing."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from stacked.cost.disk import check_room, check_writable, store_room, work_room
from stacked.data.stream import Order
from stacked.evaluation.pictures import MAP, SHOWN, filters
from stacked.model.stack import empty_stack
from studies.record.runs import FILES

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.tracking.backend.store import Store
    from studies.cli.options import Options
    from studies.execution.job import Job

#: Bytes of a row, of a point of a curve (twice its size, because a file is replaced by a copy), and of the page with figures.
ROW, POINT, FIGURES = 3000, 500, 500_000


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
    shape, classes = splits.image_shape, len(splits.classes)
    values, in_map = torch.Size(shape).numel(), (2 * MAP + 2) * len(splits.test)
    rooms, out, figures = [], 2 * SHOWN * values + in_map, FIGURES  # the first part: samples of PCA
    for job in jobs:
        spec, work = job.spec, store.root / "work" / job.spec.id
        work = work if given.resume else work.with_name("to be set aside")
        per_epoch = Order(len(splits.train), spec.optimisation.batch_size, spec.seed).updates_per_epoch
        each = work_room(spec, shape, per_epoch, classes, work)
        rooms.append(each + store_room(spec, shape, per_epoch, work) if store.is_local else each)
        updates = sum(phase.updates for phase in spec.phases(per_epoch))
        out += ROW + POINT * (updates // spec.evaluation.every + 3)
        if spec.seed == 0:
            stack = empty_stack(spec.stack, shape)
            first = filters(stack)
            drawn = 0 if first is None else first.nbytes
            mapped = in_map if torch.Size(stack.latent_shape).numel() == MAP else 0
            out += (1 + stack.depth) * SHOWN * values + drawn + mapped
            figures += drawn + mapped
    temporary = heapq.nlargest(given.jobs, (each.temporary for each in rooms))
    stored = sum(each.kept for each in rooms) + sum(temporary)
    # the report in MLflow has the figures again, as text
    return stored + (figures + 4 * figures // 3 if store.is_local else 0), out + figures
