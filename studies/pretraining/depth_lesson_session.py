"""A session whose figure of depth grows: it is drawn anew after every run."""

from __future__ import annotations

from collections.abc import Callable, Generator

from stacked.runtime.progress import say
from stacked.util.atomic import write_atomically
from studies.figures.figures import Record, drawn
from studies.framework.training_session import TrainingSession
from studies.pretraining.depth_figure import FIGURE, draw_depth
from studies.record.reference import write_reference
from studies.statistics.rows import curves_so_far, load_reference, rows_so_far


class LessonSession(TrainingSession):
    """Trains as a session of any study, and draws the figure of the rows so far after every run."""

    def prepare(self) -> None:
        """Write also reference.json, which a session of any study writes after its runs: the figure has a line of it."""
        super().prepare()
        write_reference(self.out, self.splits, self.given.base, self.study.references)

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        path, told = self.out / "figures" / f"{FIGURE}.png", False
        for _ in super().run(stop):
            if png := self.drawn():
                write_atomically(path, png)
                if not told:
                    say(f"the figure grows while networks are trained: {path}")
                told = True
            yield

    def drawn(self) -> bytes | None:
        """Return the figure of the rows so far as PNG; None before the first row."""
        if not (self.out / "runs.csv").exists():
            return None
        rows = rows_so_far(self.out)
        curves = curves_so_far(self.out) if (self.out / "curves.csv").exists() else None
        return drawn(draw_depth, Record(rows, curves, load_reference(self.out), {}, self.study.reference))
