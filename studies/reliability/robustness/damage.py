"""Files with one bit flipped, or cut off, and whether what reads them notices."""

from __future__ import annotations

import random
from collections.abc import Iterator

from stacked.runtime.progress import through
from stacked.util.atomic import write_atomically
from studies.reliability.robustness.attempts import Attempt, attempt
from studies.reliability.robustness.intact import Subject

FAMILY = "damaged files"
#: Of the damaged copies of a file, one in so many is cut off; in the others one bit is flipped.
CUT = 10


def damaged(content: bytes, count: int, dice: random.Random) -> Iterator[tuple[str, bytes]]:
    """`count` damaged copies of a file's bytes, each with what was done to it."""
    for number in range(count):
        at = dice.randrange(len(content))
        if number % CUT == CUT - 1:
            yield f"cut off after {at} bytes", content[:at]
            continue
        bit = dice.randrange(8)
        changed = bytes([content[at] ^ (1 << bit)])
        yield f"bit {bit} of byte {at} flipped", content[:at] + changed + content[at + 1 :]


def try_damage(subject: Subject, count: int, seed: int) -> Iterator[Attempt]:
    """Read `count` damaged copies of a subject's file in its place, then put the intact file back."""
    dice = random.Random(f"{seed} {subject.name}")
    content, intact = subject.path.read_bytes(), subject.read()
    try:
        for case, bytes_ in through(damaged(content, count, dice), count, subject.name, "damaged copies"):
            write_atomically(subject.path, bytes_)  # by renaming: whoever has the former file mapped keeps it
            yield attempt(FAMILY, subject.name, case, subject.read, intact)
    finally:
        write_atomically(subject.path, content)
