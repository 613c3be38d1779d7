"""Progress messages of worker processes, in shared memory."""

from __future__ import annotations

import multiprocessing
from ctypes import Array, c_char
from multiprocessing.sharedctypes import RawArray

#: Bytes of a process's text; a longer one is cut.
SIZE = 160


class SharedText:
    """One text per process. There is no lock, because a killed process could leave it locked.

    A text that is read while it is written may be garbled; it is replaced soon.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.memory: Array[c_char] = RawArray(c_char, SIZE * processes)

    def write(self, text: str) -> None:
        """Replace the text of this process."""
        number = multiprocessing.current_process().name.rpartition("-")[2]
        slot = int(number) % self.processes if number.isdigit() else 0
        content = text.encode()[:SIZE].ljust(SIZE, b"\0")
        memoryview(self.memory).cast("B")[SIZE * slot : SIZE * (slot + 1)] = content

    def read(self) -> list[str]:
        """Return the texts that are not empty."""
        every = bytes(self.memory)
        texts = (every[start : start + SIZE].rstrip(b"\0") for start in range(0, len(every), SIZE))
        return [text.decode(errors="ignore") for text in texts if text]
