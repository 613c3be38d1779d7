"""Progress of a command, on stderr: one line that is rewritten on a terminal, whole lines now and then elsewhere.

Work that takes long is a `Bar`, wherever it is done; a command shows the bars made inside `shown`, a program that calls this
package as a library shows none.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Protocol, TypeVar

from stacked.util.errors import printable

T = TypeVar("T")

#: Seconds between two plain lines, and between two drawings of the line on a terminal.
LINE_EVERY, DRAW_EVERY = 20.0, 0.2
#: The first step also loads and compiles: with at least this number of steps after it, it does not count for the time left.
WARMED_UP = 10
#: Columns of a bar.
WIDE = 10
#: Moves to the start of a terminal's line and clears it.
CLEAR = "\r\033[K"


def has_terminal() -> bool:
    """Whether stderr is a terminal of known width."""
    return sys.stderr is not None and sys.stderr.isatty() and columns() > 0


def columns() -> int:
    """Return the width of the terminal on stderr."""
    return os.get_terminal_size(sys.stderr.fileno()).columns


def say(line: str) -> None:
    """Print a line to stderr, over the line of progress; errors in writing are ignored."""
    write(f"{CLEAR if has_terminal() else ''}{line}\n")


def write(text: str) -> None:
    """Write to stderr; errors are ignored."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def say_warnings() -> None:
    """Print each warning of this process as one line, without its place in the code."""

    def line(message: Warning | str, *_: object, **__: object) -> str:
        text = printable(str(message).replace("\n", " "))
        return f"{CLEAR if has_terminal() else ''}warning: {text}\n"

    warnings.formatwarning = line


def duration(seconds: float) -> str:
    """Return seconds, minutes or hours, as a person would say it."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


class Bar:
    """Context manager of a part of the work, which has `total` steps of a `unit` (None: their number is not known).

    Its progress is shown inside the context `shown`, and nowhere else. ends: whether its end is told by a line where there is no
    terminal.
    """

    def __init__(self, label: str, total: int | None, unit: str = "", *, ends: bool = False) -> None:
        self.label, self.total, self.unit, self.ends = label, total, unit, ends
        self.done, self.resumed, self.began = 0, 0, time.perf_counter()
        self.first, self.first_at = 0, self.began  # the steps and the time from which the time left is estimated
        self.loss: float | None = None
        self.told_loss: float | None = None  # the one that the last plain line has
        self.screen: Screen | None = None

    def __enter__(self) -> Bar:
        self.screen = SCREENS[-1] if SCREENS else None
        if self.screen is not None:
            self.screen.bars.append(self)
            if self.screen.terminal:
                self.screen.refresh()
        return self

    def resume(self, done: int) -> None:
        """Note that `done` steps were made before, at another time."""
        self.done = self.resumed = self.first = done

    def to(self, done: int, loss: float | None = None) -> None:
        """Show that `done` steps are finished; loss: the latest one (None: that shown before)."""
        if self.done == self.resumed and done == self.resumed + 1 and self.total and self.total - done >= WARMED_UP:
            self.first, self.first_at = done, time.perf_counter()
        self.done = done
        self.loss = self.loss if loss is None else loss
        if self.screen is not None:
            self.screen.refresh()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.screen is not None:
            self.screen.end(self, kind is None)

    def share(self) -> str:
        """Return how much is done, in short: "stage 1 40 %"."""
        return f"{self.label} {100 * self.done / self.total:.0f} %" if self.total else self.label

    def count(self) -> str:
        """Return how much is done: "40/100 updates"; "" if nothing is done yet and the total is not known."""
        if self.total is None:
            return f"{self.done} {self.unit}".rstrip() if self.done else ""
        return f"{self.done}/{self.total} {self.unit}".rstrip()

    def told(self, drawn: bool) -> str:
        """Return how much is done, with the loss and the time. drawn: whether with a bar, for a line that is rewritten.

        Lines that stay have a loss once: it is measured now and then, and the line after it would repeat it.
        """
        full = min(WIDE, WIDE * self.done // self.total) if self.total else 0
        drawing = f"[{'#' * full}{'.' * (WIDE - full)}]" if drawn and self.total else ""
        parts = " ".join(filter(None, [drawing, self.count()]))
        shown = self.label + (f"{' ' if drawn else ': '}{parts}" if parts else "")
        is_new = drawn or self.loss != self.told_loss
        shown += f", loss {self.loss:.5f}" if self.loss is not None and is_new else ""
        self.told_loss = self.told_loss if drawn else self.loss
        now, made = time.perf_counter(), self.done - self.first
        shown += "" if drawn or now - self.began < 1 else f", {now - self.began:.0f} s"
        left = (now - self.first_at) * (self.total - self.done) / made if self.total and made > 0 else 0.0
        return shown + (f", {duration(left)} left" if left >= 1 else "")


def each(items: Collection[T], label: str, unit: str = "") -> Iterator[T]:
    """Yield the items, with a bar that shows how many are done."""
    yield from through(items, len(items), label, unit)


def through(items: Iterable[T], total: int | None, label: str, unit: str = "") -> Iterator[T]:
    """Yield items of which there are `total`, with a bar that shows how many are done."""
    with Bar(label, total, unit) as bar:
        for done, item in enumerate(items, start=1):
            yield item
            bar.to(done)


class Whole(Protocol):
    """The work that all bars are parts of, as `stacked.runtime.time_left.RunProgress` is."""

    def told(self) -> str:
        """Return how far it is, and the time left."""

    def names(self) -> Sequence[str]:
        """Return what is being made in this process."""

    def elsewhere(self) -> Sequence[str]:
        """Return how far other processes are."""


class Screen:
    """Where progress is shown: on a terminal a line that is rewritten, elsewhere lines.

    name: begins each line (""): of the run that a worker process makes. send: what takes the text instead of a terminal: the
    line there belongs to another process.
    """

    def __init__(self, name: str = "", send: Callable[[str], None] | None = None) -> None:
        self.name, self.send, self.terminal = name, send, has_terminal()
        self.bars: list[Bar] = []
        self.whole: Whole | None = None
        self.drawn_at = -DRAW_EVERY
        self.line_at = time.perf_counter()
        self.is_drawn = False

    def refresh(self) -> None:
        """Show how far everything is, unless this was done a moment ago."""
        now = time.perf_counter()
        if self.terminal and now - self.drawn_at >= DRAW_EVERY:
            self.drawn_at = now
            if self.send is not None:
                self.send(", ".join([self.name, *(bar.share() for bar in self.bars)]))
            else:
                self.draw()
        elif not self.terminal and self.bars and now - self.line_at > LINE_EVERY:
            last = self.bars[-1]
            if not (last.ends and last.done == last.total):  # which is told when it ends
                self.line(self.told())

    def told(self) -> str:
        """Return how far the innermost bar is, and what it is a part of, as a line that stays."""
        *outer, last = self.bars
        names = [self.name, *(self.whole.names() if self.whole else ())]
        return ", ".join(
            [*filter(None, names), *(f"{bar.label} {bar.count()}".rstrip() for bar in outer), last.told(False)]
        )

    def draw(self) -> None:
        """Rewrite the line of the terminal, cut to its width."""
        whole, others = (self.whole.told(), self.whole.elsewhere()) if self.whole else ("", ())
        bars = [f"{bar.label} {bar.count()}".rstrip() for bar in self.bars[:-1]]
        bars += [bar.told(True) for bar in self.bars[-1:]]
        parts = filter(None, [whole, "; ".join(others) or ", ".join(bars)])
        text = ": ".join(parts)
        if text or self.is_drawn:
            with suppress(OSError):  # the terminal is gone
                write(CLEAR + text[: columns() - 1])
        self.is_drawn = bool(text)

    def line(self, text: str) -> None:
        """Print a line where there is no terminal; on a terminal, rewrite its line."""
        if self.terminal:
            self.drawn_at = -DRAW_EVERY
            self.refresh()
        else:
            self.line_at = time.perf_counter()
            say(text)

    def end(self, bar: Bar, is_whole: bool) -> None:
        """Take a bar away."""
        if not self.terminal and bar.ends and is_whole:
            self.line(self.told())
        self.bars.remove(bar)
        if not self.bars and self.whole is None:
            self.clear()

    def clear(self) -> None:
        """Clear the line of the terminal."""
        if self.send is not None:
            self.send("")
        elif self.is_drawn:
            write(CLEAR)
            self.is_drawn = False


#: Where the bars of this process are shown; the last one is in use.
SCREENS: list[Screen] = []


@contextmanager
def shown(screen: Screen | None = None) -> Iterator[Screen]:
    """Context in which bars are shown on a screen (None: that of the enclosing context, or else a new one on stderr)."""
    if screen is None and SCREENS:
        yield SCREENS[-1]
        return
    SCREENS.append(screen or Screen())
    try:
        yield SCREENS[-1]
    finally:
        SCREENS.pop().clear()
