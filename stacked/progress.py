"""What a person sees while a run trains: a bar per phase on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

#: Seconds between two plain lines of the same phase.
LINE_EVERY = 20.0


class Bar:
    """One phase's progress in updates, with the loss and the time left; a context manager."""

    def __init__(self, label: str, total: int, position: int = 0, quiet: bool = False) -> None:
        self.label, self.total, self.quiet = label, total, quiet
        self.done, self.began, self.line_at = 0, time.perf_counter(), time.perf_counter()
        self.bar = None
        if not quiet and sys.stderr.isatty():
            self.bar = tqdm(total=total, desc=label, position=position, leave=False, unit="update", dynamic_ncols=True)

    def __enter__(self) -> Bar:
        return self

    def to(self, done: int, loss: float) -> None:
        """Show that `done` updates are made, with the latest loss."""
        step, self.done = done - self.done, done
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.5f}", refresh=False)
            self.bar.update(step)
        elif not self.quiet and (done == self.total or time.perf_counter() - self.line_at > LINE_EVERY):
            self.line_at = time.perf_counter()
            spent = self.line_at - self.began
            left = spent * (self.total - done) / done
            print(
                f"{self.label}: {done}/{self.total} updates, loss {loss:.5f}, {spent:.0f} s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
