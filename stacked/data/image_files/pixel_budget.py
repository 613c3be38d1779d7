"""How many pixels threads may decode at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class PixelBudget:
    """Lets threads hold images of at most `most` pixels in all at a time; a larger image waits until it is alone."""

    def __init__(self, most: int) -> None:
        self._most, self._held, self._changed = most, 0, Condition()

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """A thread's turn, which holds nothing yet, since the size of an image is known only when it was opened."""
        turn = Turn(self)
        try:
            yield turn
        finally:
            self.change(-turn.held)

    def change(self, pixels: int) -> None:
        """Change the number of pixels that are held; waits until an increase fits in the budget."""
        with self._changed:
            if pixels > 0:
                self._changed.wait_for(lambda: not self._held or self._held + pixels <= self._most)
            self._held += pixels
            self._changed.notify_all()


class Turn:
    """The pixels that one thread holds of a budget."""

    def __init__(self, budget: PixelBudget) -> None:
        self._budget, self.held = budget, 0

    def hold(self, pixels: int) -> None:
        """Wait until this number of pixels fits in the budget, and hold them until the turn ends; called once in a turn."""
        self._budget.change(pixels)
        self.held = pixels
