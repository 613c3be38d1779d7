"""Small files that ask for much: each is refused in a line, or read, in little time and memory."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from stacked import RunSpec, StackSpec
from stacked.apps.anomaly import Detector
from stacked.apps.codec.codec import Codec
from stacked.apps.codec.format import pack
from stacked.model.encoder import FORMAT as ENCODER
from stacked.model.stack_file import FORMAT as STACK
from stacked.model.tensor_file import MOST_HEADER, read, to_bytes
from stacked.spec import Budget, Optimisation
from stacked.util.serialization import to_json
from studies.record import samples
from tests.helpers.images import chunk, png

ROOT = Path(__file__).parents[2]
#: what one of them may take: memory in MiB, of which torch and Pillow take some for themselves, and seconds of a processor
MOST_MIB, MOST_SECONDS = 250, 10

#: reads what is in a folder; prints the growth of memory, the seconds of it, and what was said
READ = """
import json, sys, time
from pathlib import Path
from stacked import InputError, load_encoder, load_stack
from stacked.apps.anomaly import Detector
from stacked.apps.codec.codec import Codec
from stacked.apps.codec.compress import read
from stacked.data.image_files.image import decode_all
from stacked.tracking.pending_uploads import stored_uploads
from studies.record import samples
from studies.statistics.rows import load_table

folder = Path(sys.argv[1])
class Client:
    log_image = log_text = staticmethod(lambda *_, **__: None)

def send(work):
    for upload in stored_uploads(work):
        upload.do(Client(), "run", work)

codec = Codec.load(folder / "codec")
certain = Codec.load(folder / "certain")
decode_all([folder / "small.png"], 8, False)  # what is loaded for it alone is there then
WAYS = {
    "encoder": load_encoder,
    "stack": load_stack,
    "detector": Detector.load,
    "codec": Codec.load,
    "stk": lambda path: codec.decode(path.read_bytes(), str(path)),
    "certain stk": lambda path: certain.decode(path.read_bytes(), str(path)),
    "image": lambda path: decode_all([path], 8, False),
    "to be compressed": lambda path: codec.encode([read(path, 1)]),
    "samples": samples.load_arrays,
    "table": lambda path: load_table(path, ("seed",)),
    "unsent": send,
}

def memory(which):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[which].split()[0]) / 1024

told = {}
for path in sorted((folder / "bombs").iterdir()):
    Path("/proc/self/clear_refs").write_text("5")  # the largest so far is forgotten
    before, began, said = memory("VmRSS"), time.process_time(), ""
    try:
        WAYS[path.name.split(" - ")[0]](path)
    except InputError as error:
        said = str(error)
    told[path.name] = [memory("VmHWM") - before, time.process_time() - began, said]
print(json.dumps(told))
"""


class Taken(NamedTuple):
    mib: float
    seconds: float
    said: str


def packed(width: int, height: int, bits: int, kind: int, raw: bytes) -> bytes:
    """A PNG with these rows, as small as it can be."""
    return png(width, height, bits, kind, chunk(b"IDAT", zlib.compress(raw, 9)))


def scans(count: int) -> bytes:
    """A progressive JPEG with its last scan so many times."""
    file = io.BytesIO()
    Image.new("L", (3000, 3000)).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * count + whole[-2:]


def models() -> dict[str, bytes]:
    stages = '{"activation":"relu","kind":"dense","options":{},"width":2}'
    halves = '{"activation":"relu","kind":"transformer","options":{"blocks":1000},"width":4}'
    names = ",".join(f'"{n:x}":1' for n in range(20_000))
    specs = {
        "5,000 stages": (f'{{"output":"sigmoid","stages":[{",".join([stages] * 5000)}]}}', [1, 2, 2]),
        "1,001 stages": (f'{{"output":"sigmoid","stages":[{",".join([stages] * 1001)}]}}', [1, 2, 2]),
        "many blocks": (f'{{"output":"sigmoid","stages":[{",".join([halves] * 100)}]}}', [1, 1024, 1024]),
        "drawn weights": (to_json(StackSpec.of("dense", 20_000, 20_000, init="orthogonal")), [1, 2, 2]),
        "odd patch": (to_json(StackSpec.of("transformer", 4, patch=7)), [1, 2**15, 2**15]),
        "large images": (to_json(StackSpec.of("transformer", 4, patch=7)), [1, 2**60, 2**60]),
        "a name twice": (f'{{{names},"{19_999:x}":1}}', [1, 2, 2]),
    }
    found = {
        f"{kind} - {name}": to_bytes(
            {"0.weight": torch.zeros(1)}, {"format": form, "stack": stack, "input_shape": json.dumps(shape)}
        )
        for kind, form in (("encoder", ENCODER), ("stack", STACK))
        for name, (stack, shape) in specs.items()
    }
    return found | {"encoder - long header": (MOST_HEADER + 8).to_bytes(8, "little") + b"{}"}


def trained(folder: Path) -> dict[str, bytes]:
    """A detector and codecs of images of 8 x 8, which are kept in the folder, and files that say other sizes."""
    images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    spec = RunSpec(
        stack=StackSpec.of("conv", 2, 3),
        budget=Budget((3.0,), 3.0, "updates"),
        optimisation=Optimisation(batch_size=16),
    )
    detector = Detector(spec, false_alarms=0.1).fit(images)
    assert detector.stack is not None
    codecs = {
        "codec": Codec(detector.stack, spec.stack, images, 0.01),
        "certain": Codec(detector.stack, spec.stack, images[:1], 15),
    }
    detector.save(folder / "detector")
    for name, codec in codecs.items():
        codec.save(folder / name)
    found = {}
    for name, shape in (
        ("detector", [1, 45_000, 45_000]),
        ("detector", [1, 32_000, 32_000]),
        ("codec", [1, 32_000, 32_000]),
    ):
        tensors, texts, _ = read(folder / name)
        found[f"{name} - of images of {shape[1]} pixels"] = to_bytes(
            tensors, texts | {"input_shape": json.dumps(shape)}
        )
    found["stk - large image"] = pack(codecs["codec"].identity, [(11_000, 8_000)], b"")
    found["stk - many images"] = pack(codecs["codec"].identity, [(8, 8)] * 2**18, b"")
    found["certain stk - larger image"] = pack(codecs["certain"].identity, [(30_000, 30_000)], b"")
    found["certain stk - large image"] = pack(codecs["certain"].identity, [(8_000, 8_000)], b"")
    found["certain stk - many images"] = pack(codecs["certain"].identity, [(1, 1)] * 2**18, b"")
    return found


def run_length(side: int) -> bytes:
    """A BMP with one pixel and an end of line for each row, which Pillow completes pixel by pixel."""
    rows, start = b"\1\1\0\0" * side, 54 + 4 * 256
    header = struct.pack(
        "<IHHIIiiHHIIiiII", start + len(rows), 0, 0, start, 40, side, side, 1, 8, 1, len(rows), 0, 0, 256, 0
    )
    return b"BM" + header + b"".join(bytes((k, k, k, 0)) for k in range(256)) + rows


def tiles(side: int) -> bytes:
    """A TIFF of JPEG tiles of one pixel, as many as its size asks for, with the place of one."""
    short = {322: 1, 323: 1, 256: side, 257: side, 258: 8, 259: 7, 262: 1, 277: 1}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(short.items()))
    entries += struct.pack("<HHII", 324, 4, 1, 8) + struct.pack("<HHII", 325, 4, 1, 4)
    parts = sorted(entries[k : k + 12] for k in range(0, len(entries), 12))
    return b"II*\0" + struct.pack("<I", 12) + bytes(4) + struct.pack("<H", len(parts)) + b"".join(parts) + bytes(4)


def pictures() -> dict[str, bytes]:
    row = b"\0" + bytes(9000 // 8)
    short = packed(9000, 9000, 1, 0, row)
    assert len(short) < 100
    deep = packed(4000, 4000, 16, 0, (b"\0" + bytes(8000)) * 4000)
    narrow = packed(1, 4_000_000, 8, 4, b"\0\7\7" * 4_000_000)
    return {
        "image - one row of 9,000": short,
        "to be compressed - one row of 9,000": short,
        "image - 16 bits": deep,
        "image - many scans": scans(2000),
        "image - run lengths": run_length(9000),
        "image - many tiles": tiles(9000),
        "image - narrow": narrow,
        "to be compressed - narrow": narrow,
        "to be compressed - grey": packed(3000, 3000, 8, 0, (b"\0" + bytes(3000)) * 3000),
    }


def uploads(work: Path, number: int, what: str, plain: dict[str, object], **arrays: NDArray[np.uint8]) -> None:
    """So many uploads of a run, each a file of little that holds much."""
    (work / "unsent").mkdir(parents=True)
    words = json.dumps({"what": what, "plain": plain, "once": ""}).encode()
    np.savez_compressed(work / "unsent" / "000001.npz", errand=np.frombuffer(words, np.uint8), **arrays)  # type: ignore[arg-type]
    content = (work / "unsent" / "000001.npz").read_bytes()
    assert len(content) < 50_000
    for other in range(2, number + 1):
        (work / "unsent" / f"{other:06d}.npz").write_bytes(content)


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Taken]:
    """What reading each bomb takes, in a process of its own."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("reads the memory of a process from /proc")
    folder = tmp_path_factory.mktemp("all")
    bombs = folder / "bombs"
    bombs.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "small.png")
    for name, content in {**models(), **trained(folder), **pictures()}.items():
        (bombs / name).write_bytes(content)
    for name in ("zeros", "a long array"):
        (bombs / f"samples - {name}" / samples.FOLDER).mkdir(parents=True)
    with (
        zipfile.ZipFile(bombs / "samples - zeros" / samples.FOLDER / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (300 * 2**20,)})
        for _ in range(300):
            file.write(bytes(2**20))
    with (
        zipfile.ZipFile(bombs / "samples - a long array" / samples.FOLDER / "x.npz", "w") as archive,
        archive.open("images.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2**36,)})
    picture, name = {"key": "k", "step": 0, "at": 0}, {"artifact_file": "t.txt"}
    uploads(bombs / "unsent - pictures", 40, "log_image", picture, image=np.zeros((4000, 4000), np.uint8))
    uploads(bombs / "unsent - texts", 40, "log_text", {"text": "t" * 16_000_000, **name})
    uploads(bombs / "unsent - large picture", 1, "log_image", picture, image=np.zeros((5000, 5000), np.uint8))
    uploads(bombs / "unsent - large text", 1, "log_text", {"text": "t" * 25_000_000, **name})
    with (bombs / "table - long").open("wb") as file:
        file.truncate(2**27)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: Taken(*each) for name, each in json.loads(done.stdout).items()}


def test_none_takes_much(taken: dict[str, Taken]) -> None:
    assert {name: each for name, each in taken.items() if each.mib > MOST_MIB} == {}
    assert {name: each for name, each in taken.items() if each.seconds > MOST_SECONDS} == {}


def test_all_but_whole_images_are_refused_in_a_line(taken: dict[str, Taken]) -> None:
    read = {"image - 16 bits", "to be compressed - grey", "certain stk - large image"}
    read |= {"unsent - pictures", "unsent - texts"}
    assert {name for name, each in taken.items() if not each.said} == read
    assert taken["certain stk - large image"].seconds < 2  # its tiles are all the same
    assert [name for name, each in taken.items() if "\n" in each.said] == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("encoder - 5,000 stages", "characters, more than"),
        ("encoder - 1,001 stages", "a stack of 1,001 stages is not allowed"),
        ("encoder - many blocks", "its stack has 100,000 blocks, and the file has only 1 tensors"),
        ("encoder - drawn weights", "Missing key"),
        ("encoder - odd patch", "patch 7 does not divide"),
        ("encoder - large images", "values, more than"),
        ("encoder - a name twice", "'4e1f' is given twice"),
        ("encoder - long header", "its header has"),
        ("detector - of images of 45000 pixels", "values, more than"),
        ("detector - of images of 32000 pixels", "its arrays do not fit its stack"),
        ("codec - of images of 32000 pixels", "its codes have"),
        ("stk - large image", "does not hold the images that its header declares"),
        ("stk - many images", "declares 262,144 images in 0 bytes, and at most 4,096 are read from so few"),
        ("certain stk - larger image", "give max_megapixels"),
        ("certain stk - many images", "declares 262,144 images in 0 bytes, and at most 4,096 are read from so few"),
        ("image - one row of 9,000", "truncated"),
        ("to be compressed - one row of 9,000", "truncated"),
        ("image - many scans", "scans, more than"),
        ("image - run lengths", "a run-length encoded BMP of 81,000,000 pixels, more than 4,194,304; save it as PNG"),
        ("image - many tiles", "it has 81,000,000 JPEG parts, more than 10,000; save it as PNG"),
        ("image - narrow", "it has 1 x 4,000,000 pixels, and a side may have 262,144; cut it into parts"),
        ("to be compressed - narrow", "it has 1 x 4,000,000 pixels, and a side may have 262,144; cut it into parts"),
        ("samples - zeros", "bytes, more than"),
        ("samples - a long array", "cannot be read"),
        ("table - long", "bytes, more than"),
        ("unsent - large picture", "000001.npz is not a pending upload of a run: move it away"),
        ("unsent - large text", "000001.npz is not a pending upload of a run: move it away"),
    ],
)
def test_the_line_says_why(name: str, says: str, taken: dict[str, Taken]) -> None:
    assert says in taken[name].said
