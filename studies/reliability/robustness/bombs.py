"""Robustness tests by small files that claim large contents; each is read in its own process."""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from stacked.apps.codec.format import ID_BYTES, MAGIC, MOST_IMAGES, VERSION
from stacked.model.encoder import FORMAT as ENCODER
from stacked.model.tensor_file import read, to_bytes
from stacked.spec import StackSpec
from stacked.util.serialization import to_json
from studies.record.index import ROOT
from studies.reliability.robustness.attempts import FAILED, LONGEST, NOTICED, UNHARMED, Attempt

FAMILY = "small files of large cost"
#: The memory and the time that reading may take.
MOST_MEGABYTES, MOST_SECONDS = 512, 10
#: Seconds after which a reading process is killed.
STUCK = 120


def bombs(intact: Path) -> dict[str, tuple[str, Callable[[Path], bytes]]]:
    """Return, by description, the kind of each file and the function that makes its bytes from the folder of intact files."""
    return {
        "detector whose header says 1 x 45,000 x 45,000 pixels": (
            "detector",
            lambda f: header(f, "detector", [1, 45_000, 45_000]),
        ),
        "denoiser whose header says 3 x 60,000 x 60,000 pixels": (
            "denoiser",
            lambda f: header(f, "denoiser", [3, 60_000, 60_000]),
        ),
        "codec whose header says 1 x 45,000 x 45,000 pixels": (
            "codec",
            lambda f: header(f, "codec", [1, 45_000, 45_000]),
        ),
        "stack whose header says 1 x 45,000 x 45,000 pixels": (
            "stack",
            lambda f: header(f, "stack", [1, 45_000, 45_000]),
        ),
        "encoder with 3,000 stages": ("encoder", lambda _: many_stages(3_000)),
        "encoder with 5,000 stages": ("encoder", lambda _: many_stages(5_000)),
        "safetensors header of a terabyte": ("encoder", lambda _: struct.pack("<Q", 10**12) + b"{}"),
        "compressed images: as many of one pixel as are allowed": (
            "stk",
            lambda f: images_of_one_run(f, MOST_IMAGES, 1, 1),
        ),
        "compressed images: one of 30,000 x 30,000": ("stk", lambda f: images_of_one_run(f, 1, 30_000, 30_000)),
        "PNG of 45,000 x 45,000 pixels": ("png", lambda _: blank_png(45_000, 45_000, 8)),
        "PNG of 9,000 x 9,000 pixels of 16 bits, four times": ("folder", lambda _: blank_png(9_000, 9_000, 16)),
        "gzip of 500 MB in an IDX folder": ("idx", lambda _: gzip.compress(bytes(500_000_000), 9)),
        "npz whose array says 10 GB": ("samples", lambda _: npz_of((10_000_000_000,), b"")),
        "npz that unpacks to 500 MB": ("samples", lambda _: npz_of((500_000_000,), bytes(500_000_000))),
        "CSV with one field of 50 MB": ("rows", lambda _: b"run,arm,seed,status,spec\n" + b"x" * 50_000_000 + b"\n"),
        "JSON of 100,000 open brackets": ("configuration", lambda _: b"[" * 100_000),
    }


def header(intact: Path, kind: str, shape: list[int]) -> bytes:
    """Return the intact model file of a kind with another input shape in its header and a valid checksum."""
    tensors, texts, _ = read(intact / f"{kind}.safetensors")
    return to_bytes(tensors, texts | {"input_shape": json.dumps(shape)})


def many_stages(count: int) -> bytes:
    """Return an encoder file without weights whose header has `count` stages."""
    stack = json.loads(to_json(StackSpec.of("dense", 4)))
    stack["stages"] *= count
    return to_bytes({}, {"format": ENCODER, "stack": json.dumps(stack), "input_shape": "[1, 8, 8]"})


def images_of_one_run(intact: Path, *run: int) -> bytes:
    """Return an empty file of compressed images that claims to hold (images, height, width) = `run`."""
    model = (intact / "images.stk").read_bytes()[len(MAGIC) + 1 :][:ID_BYTES]
    body = MAGIC + bytes([VERSION]) + model + b"".join(map(base_128, (1, *run)))
    return body + zlib.crc32(body).to_bytes(4, "little")


def base_128(number: int) -> bytes:
    """Encode a number in LEB128."""
    low = bytes([number & 0x7F | (0x80 if number >> 7 else 0)])
    return low + base_128(number >> 7) if number >> 7 else low


def blank_png(width: int, height: int, bits: int) -> bytes:
    """Return a black greyscale PNG; with 8 bits it ends after its first rows, with 16 bits it is complete."""
    rows = height if bits == 16 else 8
    pixels = zlib.compressobj(9)
    line = bytes(1 + width * bits // 8)
    content = b"".join([*(pixels.compress(line) for _ in range(rows)), pixels.flush()])
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)), (b"IDAT", content), (b"IEND", b""))
    chunks = (struct.pack(">I", len(of)) + name + of + struct.pack(">I", zlib.crc32(name + of)) for name, of in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def npz_of(shape: tuple[int, ...], content: bytes) -> bytes:
    """Return an .npz archive of one array of bytes that claims to have this shape."""
    array_header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    array_header += " " * (-(len(array_header) + 11) % 64) + "\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(array_header)) + array_header.encode() + content
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("originals.npy", member)
    return file.getvalue()


def try_bombs(intact: Path, folder: Path) -> Iterator[Attempt]:
    """Read each file in its own process and yield the attempts."""
    for number, (case, (kind, make)) in enumerate(bombs(intact).items()):
        path = folder / f"{number}.bomb"
        path.write_bytes(make(intact))
        yield read_apart(case, kind, path, intact)
        path.unlink()


def read_apart(case: str, kind: str, path: Path, intact: Path) -> Attempt:
    """Read a file in its own process and return the attempt with its time and memory."""
    size, started = path.stat().st_size, time.perf_counter()
    command = [sys.executable, "-m", "studies.reliability.robustness.reader", kind, str(path), str(intact)]
    description = f"{case} ({size:,} bytes)"
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=STUCK, check=False)
        found = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return Attempt(
            FAMILY, kind, description, FAILED, f"still reading after {STUCK} s", time.perf_counter() - started
        )
    except ValueError:
        last = " ".join(done.stderr.split())[-300:]
        return Attempt(
            FAMILY, kind, description, FAILED, f"exit code {done.returncode}: {last}", time.perf_counter() - started
        )
    seconds, megabytes, error = found["seconds"], found["megabytes"], found["error"]
    modest = seconds <= MOST_SECONDS and megabytes <= MOST_MEGABYTES and len(error) <= LONGEST
    outcome = (NOTICED if error else UNHARMED) if modest else FAILED
    return Attempt(FAMILY, kind, description, outcome, error[:300], seconds, megabytes)
