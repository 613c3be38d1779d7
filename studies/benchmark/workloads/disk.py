"""Reading and training on a folder of images in a memory-mapped file, beside the same images in memory."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from stacked import data
from stacked.model.stack import StackedAutoencoder
from stacked.spec import Optimisation, RunSpec, StackSpec
from stacked.training.codes import StoredInputs
from stacked.training.examples import Examples
from stacked.training.fit import Training
from stacked.training.prepare import prepare_phase
from studies.benchmark.workloads.large import phases
from studies.benchmark.workloads.spent import resident

#: side of the images in pixels, batch size, and updates that are timed
SIDE, BATCH, UPDATES = 64, 64, 40
#: number of different files; the other names are hard links to them, which take as long to read
FILES = 500
#: how often both ways are measured, in turn
TURNS = 3


def folder(images: int) -> dict[str, float]:
    """Decode `images` generated PNG files into a memory-mapped file, and read them from it and from memory.

    Returns the images decoded per second of CPU time; the growth of anonymous memory (of no file) while they are decoded and an
    epoch of them is read, and the size of the pixels, in MB; and for each way the images read in random order, and trained on by
    the first of three conv stages, per second of CPU time (medians of alternating turns).
    """
    with tempfile.TemporaryDirectory() as place:
        fill(Path(place) / "images", images)
        before, started = resident("RssAnon"), time.process_time()
        splits = data.load("folder:images", data_dir=place, image_size=SIDE, disk_cache=Path(place) / "cache")
        decoding = time.process_time() - started
        mapped = splits.train.inputs
        reading_seconds(mapped)
        growth = resident("RssAnon") - before
        pixels = sum(part.inputs.nbytes for part in (splits.train, splits.valid, splits.test)) / 1e6
        ways = {"file": mapped, "memory": mapped.clone()}
        read: dict[str, list[float]] = {way: [] for way in ways}
        trained: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(TURNS):
            for way, values in ways.items():
                read[way].append(len(values) / reading_seconds(values))
                trained[way].append(UPDATES * BATCH / training_seconds(values))
    found = {"decoded_per_second": images / decoding, "anonymous_mb": growth, "pixels_mb": pixels}
    found |= {f"read_from_{way}": statistics.median(each) for way, each in read.items()}
    return found | {f"trained_from_{way}": statistics.median(each) for way, each in trained.items()}


def prepared_training(values: Tensor) -> Training:
    """Return the training of the first stage on these images."""
    spec = RunSpec(stack=StackSpec.of("conv", 16, 32, 64), optimisation=Optimisation(batch_size=BATCH))
    stack, (first, *_) = StackedAutoencoder(tuple(values.shape[1:])), phases(spec.stack, "greedy", UPDATES)
    prepared = prepare_phase(stack, spec, first, Examples(StoredInputs(values)))
    return Training(stack, first, prepared.inputs, spec.optimisation, order=prepared.order, seed=0)


def reading_seconds(values: Tensor) -> float:
    """Return the CPU seconds of reading an epoch of batches in random order, as training reads them."""
    one = prepared_training(values)
    started = time.process_time()
    for update in range(one.order.updates_per_epoch):
        one.inputs(one.order.batch(update))
    return time.process_time() - started


def training_seconds(values: Tensor) -> float:
    """Return the CPU seconds of UPDATES updates."""
    one = prepared_training(values)
    started = time.process_time()
    for _ in one.train():
        pass
    return time.process_time() - started


def fill(place: Path, images: int) -> None:
    """Write `images` PNG files of smooth random colours."""
    place.mkdir()
    draw = np.random.default_rng(0)
    for number in range(images):
        path = place / f"{number:07}.png"
        if number < FILES:
            coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)
        else:
            os.link(place / f"{number % FILES:07}.png", path)
