"""Makes an intact file of every kind that the package reads, with the function that reads it."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stacked import data
from stacked.apps.anomaly import Detector
from stacked.apps.codec.codec import Codec
from stacked.apps.codec.compress import read
from stacked.apps.denoise import Denoiser
from stacked.data.image_files.image_file import open_image, png
from stacked.model.classifier import load_classifier
from stacked.model.encoder import load_encoder
from stacked.model.stack_file import load_stack, save_stack
from stacked.runs.checkpoint import load_checkpoint, read_header
from stacked.spec import Budget, Optimisation, RunSpec, StackSpec, from_json
from stacked.util.atomic import write_atomically
from stacked.util.checks import need
from studies.record import runs as record
from studies.record.index import ROOT
from studies.statistics import measurement_rows
from studies.statistics.rows import load_curves, load_reference, load_rows, load_samples

#: options of training that takes about a second
SPEC = RunSpec(
    stack=StackSpec((*StackSpec.of("conv", 4, 8).stages, *StackSpec.of("dense", 8, activation="linear").stages)),
    budget=Budget((20.0,), 20.0, "updates"),
    optimisation=Optimisation(batch_size=32),
)


@dataclass(frozen=True)
class Subject:
    """A file that is read.

    name: kind of file. path: the file. read: function that reads it and returns a fingerprint of the result. checksum: whether
    the format has a checksum of its content.
    """

    name: str
    path: Path
    read: Callable[[], str]
    checksum: bool = True


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of the contents of a value: arrays, modules with weights, containers, and attributes of objects."""
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(part)
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, nn.Module):
        value = dict(value.state_dict())
    if isinstance(value, pd.DataFrame):
        value = value.to_dict("list")
    if isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, dict):
        for name, each in value.items():
            yield repr(name).encode()
            yield from _parts(each)
    elif isinstance(value, (list, tuple)):
        yield f"{len(value)}".encode()
        for each in value:
            yield from _parts(each)
    elif hasattr(value, "__dict__") and not dataclasses.is_dataclass(value):
        yield from _parts(vars(value))
    else:
        yield repr(value).encode()


def model_files(folder: Path) -> Iterator[Subject]:
    """Make the model files of applications: a detector, a denoiser, a codec, and a file of compressed images."""
    images = data.load("digits").train.inputs[:400]
    detector, denoiser, codec = (
        folder / "detector.safetensors",
        folder / "denoiser.safetensors",
        folder / "codec.safetensors",
    )
    Detector(SPEC).fit(images).save(detector)
    Denoiser(SPEC).fit(images).save(denoiser)
    Codec.fit(images, SPEC, step=0.1).save(codec)
    loaded = Codec.load(codec)
    compressed = folder / "images.stk"
    write_atomically(compressed, loaded.encode(images[:20]))
    yield Subject("detector", detector, lambda: fingerprint(Detector.load(detector)))
    yield Subject("denoiser", denoiser, lambda: fingerprint(Denoiser.load(denoiser)))
    yield Subject("codec", codec, lambda: fingerprint(Codec.load(codec)))
    stack = folder / "stack.safetensors"
    save_stack(loaded.stack, stack)
    yield Subject("stack", stack, lambda: fingerprint(load_stack(stack)))
    yield Subject(
        "compressed images", compressed, lambda: fingerprint(loaded.decode(compressed.read_bytes(), str(compressed)))
    )


def study_files(folder: Path) -> Iterator[Subject]:
    """Make the files of a small study: its record, checkpoints, encoders and classifiers."""
    out, store = folder / "layerwise", folder / "store"
    arguments = [
        "--data",
        "digits",
        "--channels",
        "4",
        "8",
        "--arms",
        "greedy+finetune",
        "joint",
        "--seeds",
        "1",
        "--jobs",
        "1",
    ]
    arguments += ["--epochs", "2", "--finetune", "2", "--labels", "100", "--out", str(out), "--store", str(store)]
    run_study("layerwise", arguments)
    checkpoint = sorted(store.glob("work/*/phase-*.safetensors"))[0]
    spec = from_json(read_header(checkpoint)["spec"])
    encoder = sorted(store.glob("artifacts/**/encoder.safetensors"))[0]
    yield Subject("checkpoint", checkpoint, lambda: fingerprint(load_checkpoint(checkpoint, spec)))
    classifier = sorted(store.glob("work/*/classifier-100.safetensors"))[0]
    yield Subject("encoder", encoder, lambda: fingerprint(load_encoder(encoder)))
    yield Subject("classifier", classifier, lambda: fingerprint(load_classifier(classifier)))
    samples = sorted(out.glob("samples/*.npz"))[0]
    yield Subject("sample images (.npz)", samples, lambda: fingerprint(load_samples(out)))
    readers: dict[str, Callable[[Path], object]] = {
        "runs.csv": load_rows,
        "curves.csv": load_curves,
        "configuration.json": record.recorded,
        "budgets.json": record.load_budgets,
        "reference.json": load_reference,
    }
    for name, load in readers.items():
        yield Subject(name, out / name, lambda load=load: fingerprint(load(out)))  # type: ignore[misc]
    measured = folder / "linear"
    run_study("linear", ["--smoke", "--out", str(measured), "--store", str(store)])
    yield Subject("rows.csv", measured / "rows.csv", lambda: fingerprint(measurement_rows.load(measured)))


def run_study(name: str, arguments: list[str]) -> None:
    """Run a study in its own process; raise InputError if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", f"studies.{name}", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    last = " ".join(done.stderr.split()[-40:])
    need(done.returncode == 0, f"studies.{name} ended with exit code {done.returncode}: {last}")


def image_files(folder: Path) -> Iterator[Subject]:
    """Make a folder with a photograph, which is read as a dataset."""
    pixels = data.load("photographs", image_size=64).train.inputs[0]
    path = folder / "photograph.png"
    write_atomically(path, png(torch.as_tensor(pixels)))
    yield Subject("photograph (PNG)", path, lambda: fingerprint(read(path, 3)))
    other = folder / "photograph.jpg"
    open_image(path).save(other, quality=90)
    yield Subject("photograph (JPEG)", other, lambda: fingerprint(read(other, 3)), checksum=False)
