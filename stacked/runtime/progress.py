"""Progress of training: a bar for each phase on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
import warnings
from contextlib import suppress
from types import TracebackType

from tqdm import tqdm

#: Seconds between two plain lines of a phase.
LINE_EVERY = 20.0


def has_terminal() -> bool:
    """Whether stderr is a terminal of known width; tqdm draws nothing without columns."""
    return sys.stderr is not None and sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0


def say(line: str) -> None:
    """Print a line to stderr, over any progress bar; errors in writing are ignored."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"\r\033[K{line}" if has_terminal() else line, file=sys.stderr, flush=True)


def say_warnings() -> None:
    """Print each warning of this process as one line, without its place in the code."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"


class Bar:
    """Context manager that shows the progress of one phase: updates, loss and remaining time."""

    def __init__(self, label: str, total: int, position: int = 0, quiet: bool = False) -> None:
        self.label, self.total, self.quiet = label, total, quiet
        self.done, self.began, self.line_at = 0, time.perf_counter(), time.perf_counter()
        self.bar = None
        if not quiet and has_terminal():
            self.bar = tqdm(total=total, desc=label, position=position, leave=False, unit="update", dynamic_ncols=True)

    def __enter__(self) -> Bar:
        return self

    def to(self, done: int, loss: float) -> None:
        """Show that `done` updates are finished, with the latest loss."""
        step, self.done = done - self.done, done
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.5f}", refresh=False)
            self.bar.update(step)
        elif not self.quiet and (done == self.total or time.perf_counter() - self.line_at > LINE_EVERY):
            self.line_at = time.perf_counter()
            spent = self.line_at - self.began
            left = spent * (self.total - done) / done
            say(f"{self.label}: {done}/{self.total} updates, loss {loss:.5f}, {spent:.0f} s, {left:.0f} s left")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
