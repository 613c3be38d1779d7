"""Tensors by name and texts about them as one safetensors file, sealed by a checksum of both.

Nothing in such a file is run or unpickled, and reading one takes at most twice the memory that it is long.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from stacked.util.checks import need

#: bytes of a header at most, about those of 100,000 tensors, and characters of one of its texts
MOST_HEADER, MOST_TEXT = 2**24, 2**18
#: the text that holds the checksum
SEAL = "sha256"


class Sealed(NamedTuple):
    """What a file holds; `sealed` says whether it has a checksum, which then is the right one."""

    tensors: dict[str, Tensor]
    texts: dict[str, str]
    sealed: bool


def checksum(tensors: Mapping[str, Tensor], texts: Mapping[str, str | None]) -> str:
    """SHA-256 of the texts in their order, and of names, types, shapes and bytes of tensors."""
    found = hashlib.sha256(json.dumps(texts).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def to_bytes(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """The file's bytes, the same for the same tensors and texts."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(kept)
    told = dict(sorted(texts.items()))
    told |= {SEAL: checksum(kept, told)}
    start = 8 + int.from_bytes(content[:8], "little")
    # safetensors writes the texts in any order: here they are in that of their names
    header = json.dumps({"__metadata__": told, **json.loads(content[8:start])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[start:]


def read(path: str | Path) -> Sealed:
    """What is in a file; OSError, SafetensorError or ValueError where it is none, or not what was written."""
    need(stat.S_ISREG(Path(path).stat().st_mode), "it is not a file")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    need(length <= MOST_HEADER, f"its header has {length:,} bytes, and may have {MOST_HEADER:,}")
    with safe_open(path, "pt") as opened:
        texts: dict[str, str] = dict(sorted((opened.metadata() or {}).items()))
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    for name, text in texts.items():
        need(len(text) <= MOST_TEXT, f"its {name[:20]!r} has {len(text):,} characters, and may have {MOST_TEXT:,}")
    seal = texts.pop(SEAL, None)
    need(seal in (None, checksum(tensors, texts)), "it is not what was written: its checksum differs")
    return Sealed(tensors, texts, seal is not None)
