"""Memory of reading a folder of photographs and of training all stages on it."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from stacked import data
from stacked.model.stack import StackedAutoencoder
from stacked.spec import Optimisation, RunSpec
from stacked.training.codes import StoredInputs
from stacked.training.examples import Examples
from stacked.training.fit import Training
from stacked.training.prepare import prepare_phase
from studies.benchmark.workloads.large import SPECS, phases
from studies.benchmark.workloads.spent import resident

SIDE, BATCH, EPOCHS = 224, 16, 5
#: number of different image files; the other names are hard links to them, which take as long to read
FILES = 200
#: updates of each stage
UPDATES = 8


def folder(images: int) -> dict[str, float]:
    """Return the peak of resident memory while a folder is read and AutoEncoder224 is trained greedily on it.

    Every stage is trained for a few updates only, but its codes are cached, or not, as for EPOCHS epochs.
    """
    with tempfile.TemporaryDirectory() as place:
        fill(Path(place) / "photographs", images)
        started = time.perf_counter()
        splits = data.load("folder:photographs", data_dir=place, image_size=SIDE)
        read = time.perf_counter() - started
    spec, shape = SPECS["reference"]
    run, stack = RunSpec(stack=spec, optimisation=Optimisation(batch_size=BATCH)), StackedAutoencoder(shape)
    kept = 0.0
    for phase in phases(spec, "greedy", UPDATES):
        long = replace(phase, updates=EPOCHS * (len(splits.train) // BATCH))
        prepared = prepare_phase(stack, run, long, Examples(StoredInputs(splits.train.inputs)))
        kept = max(kept, prepared.cache.bytes / 1e6)
        for _ in Training(stack, phase, prepared.inputs, run.optimisation, order=prepared.order, seed=0).train():
            pass
        del prepared
    pixels = sum(split.inputs.nbytes for split in (splits.train, splits.valid, splits.test)) / 1e6
    return {"resident_mb": resident("VmHWM"), "pixels_mb": pixels, "codes_mb": kept, "seconds": read}


def fill(place: Path, images: int) -> None:
    """Write `images` JPEG files of smooth random colours, larger than the size at which they are read."""
    place.mkdir()
    draw = np.random.default_rng(0)
    for number in range(images):
        path = place / f"{number:06}.jpg"
        if number < FILES:
            coarse = Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            coarse.resize((300, 260), Image.Resampling.BICUBIC).save(path)
        else:
            os.link(place / f"{number % FILES:06}.jpg", path)
