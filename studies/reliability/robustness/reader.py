"""Reads one file in its own process, as the package reads it, and prints the time and the memory that this took.

python -m studies.reliability.robustness.reader KIND FILE INTACT
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stacked import data
from stacked.apps.anomaly import Detector
from stacked.apps.codec.codec import Codec
from stacked.apps.codec.compress import read
from stacked.apps.denoise import Denoiser
from stacked.data.formats.idx import STEMS
from stacked.model.classifier import load_classifier
from stacked.model.encoder import load_encoder
from stacked.model.stack_file import load_stack
from stacked.util.errors import InputError
from studies.record import runs as record
from studies.statistics.rows import load_rows, load_samples


def reading(kind: str, path: Path, intact: Path) -> Callable[[], object]:
    """Return the function that reads a file of a kind; imports and preparations are done before it returns."""
    home = path.with_suffix(".home")
    home.mkdir()

    def placed(name: str) -> Path:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, home / name)
        return home

    if kind == "stk":
        codec = Codec.load(intact / "codec.safetensors")
        return lambda: codec.decode(path.read_bytes(), path.name)
    if kind == "folder":
        for name in "abcd":
            placed(f"{name}.png")
        return lambda: data.load(f"folder:{home.name}", data_dir=home.parent, grey=True, image_size=32)
    if kind == "idx":
        for stem in STEMS:
            placed(f"FashionMNIST/raw/{stem}.gz")
        return lambda: data.load("fashion-mnist", data_dir=home)
    readers: dict[str, Callable[[], object]] = {
        "detector": lambda: Detector.load(path),
        "denoiser": lambda: Denoiser.load(path),
        "codec": lambda: Codec.load(path),
        "encoder": lambda: load_encoder(path),
        "classifier": lambda: load_classifier(path),
        "stack": lambda: load_stack(path),
        "png": lambda: read(path, 1),
        "samples": lambda: load_samples(placed("samples/greedy-s0.npz")),
        "rows": lambda: load_rows(placed("runs.csv")),
        "configuration": lambda: record.recorded(placed("configuration.json")),
    }
    return readers[kind]


def peak() -> float:
    """Return the peak of resident memory of this process in MB (getrusage would include that of its parent)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def main(kind: str, path: Path, intact: Path) -> None:
    """Read a file and print, as JSON, the seconds, the growth of peak memory in MB, and the error message ("": none)."""
    read_file = reading(kind, path, intact)
    before, started, error = peak(), time.perf_counter(), ""
    try:
        read_file()
    except InputError as raised:
        error = str(raised)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "megabytes": peak() - before, "error": error}))
    shutil.rmtree(path.with_suffix(".home"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
