"""Files of named tensors and texts: safetensors with a checksum of both.

Reading a file executes and unpickles nothing, and takes at most twice its size in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from stacked.util.checks import need
from stacked.util.reading import check_regular, opened

#: the most bytes of a header, about those of 100,000 tensors, and the most characters of one text
MOST_HEADER, MOST_TEXT = 2**24, 2**18
#: torch allocates memory at multiples of this number of bytes
ALIGNMENT = 64
#: name of the text that holds the checksum
SEAL = "sha256"


class Sealed(NamedTuple):
    """The content of a file; `sealed` is whether it has a checksum, which was then verified."""

    tensors: dict[str, Tensor]
    texts: dict[str, str]
    sealed: bool


def checksum(tensors: Mapping[str, Tensor], texts: Mapping[str, str | None]) -> str:
    """Return the SHA-256 of the texts, in their order, and of the names, dtypes, shapes and bytes of the tensors."""
    found = hashlib.sha256(json.dumps(texts).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def to_bytes(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """Return the bytes of a file, which are equal for equal tensors and texts."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(kept)
    sealed = dict(sorted(texts.items()))
    sealed |= {SEAL: checksum(kept, sealed)}
    start = 8 + int.from_bytes(content[:8], "little")
    # safetensors writes the texts in arbitrary order: sort them by name
    header = json.dumps({"__metadata__": sealed, **json.loads(content[8:start])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[start:]


def open_tensors(path: str | Path, framework: str = "pt") -> safe_open:
    """Open a safetensors file for a `with` statement; OSError or SafetensorError if it is no such file."""
    check_regular(path)
    return safe_open(path, framework)


def read(path: str | Path) -> Sealed:
    """Return the content of a file; OSError, SafetensorError or ValueError if it is no such file or is damaged."""
    with opened(path) as file:
        length = int.from_bytes(file.read(8), "little")
        is_header = file.read(1) == b"{"
    need(length <= MOST_HEADER or is_header, "it is not a safetensors file")
    need(length <= MOST_HEADER, f"its header has {length:,} bytes, more than {MOST_HEADER:,}")
    with open_tensors(path) as found:
        texts: dict[str, str] = dict(sorted((found.metadata() or {}).items()))
        tensors = {name: aligned(found.get_tensor(name)) for name in found.keys()}  # noqa: SIM118
    for name, text in texts.items():
        need(len(text) <= MOST_TEXT, f"its {name[:20]!r} has {len(text):,} characters, more than {MOST_TEXT:,}")
    seal = texts.pop(SEAL, None)
    need(seal in (None, checksum(tensors, texts)), "its content does not match its checksum")
    return Sealed(tensors, texts, seal is not None)


def aligned(tensor: Tensor) -> Tensor:
    """Return the tensor in memory as torch gives it: in a file it can begin anywhere, and kernels then can round differently."""
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor
