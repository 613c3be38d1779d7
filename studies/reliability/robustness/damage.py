"""Robustness tests by damaged files, in which a bit is flipped or the end is cut off."""

from __future__ import annotations

import random
from collections.abc import Iterator

from stacked.runtime.progress import through
from stacked.util.atomic import write_atomically
from studies.reliability.robustness.attempts import Attempt, attempt
from studies.reliability.robustness.intact import Subject

FAMILY = "damaged files"
#: One of this many damaged copies of a file is cut off; in the others one bit is flipped.
CUT = 10


def damaged(content: bytes, count: int, dice: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield `count` damaged copies of the bytes of a file, each with a description of the damage."""
    for number in range(count):
        at = dice.randrange(len(content))
        if number % CUT == CUT - 1:
            yield f"cut off after {at} bytes", content[:at]
            continue
        bit = dice.randrange(8)
        changed = bytes([content[at] ^ (1 << bit)])
        yield f"bit {bit} of byte {at} flipped", content[:at] + changed + content[at + 1 :]


def try_damage(subject: Subject, count: int, seed: int) -> Iterator[Attempt]:
    """Replace a file by `count` damaged copies and read each, then restore the file."""
    dice = random.Random(f"{seed} {subject.name}")
    content, intact = subject.path.read_bytes(), subject.read()
    try:
        for case, bytes_ in through(damaged(content, count, dice), count, subject.name, "damaged copies"):
            write_atomically(subject.path, bytes_)  # by renaming, so that memory maps of the former file stay valid
            yield attempt(FAMILY, subject.name, case, subject.read, intact)
    finally:
        write_atomically(subject.path, content)
