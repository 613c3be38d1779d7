"""The lesson of the study of depth: smaller networks, fewer images, and a figure that grows while they are trained.

Command: python -m studies.depth --lesson
Expected: as in the study; one seed, which allows no conclusion. The figure is rewritten after every run.
Cost: under five minutes on a laptop.
"""

from __future__ import annotations

from dataclasses import dataclass

from studies.design.drawing import Drawing
from studies.design.study import Session
from studies.framework.training_study import TrainingStudy
from studies.pretraining.depth import SMOKE, defaults, protocol
from studies.pretraining.depth_answer import answer
from studies.pretraining.depth_arms import PLAIN, PRETRAINED, arms, autoencoder, classifier
from studies.pretraining.depth_figure import CAPTION, FIGURE, draw_depth

OPTION = "--lesson"
DEPTHS = (1, 2, 4, 8)
UNITS = 64
EPOCHS = 20.0


@dataclass(frozen=True, kw_only=True)
class Lesson(TrainingStudy):
    """A study of training runs whose figure is drawn anew after every run."""

    @property
    def prog(self) -> str:
        return f"{super().prog} {OPTION}"

    def session(self, argv: list[str]) -> Session:
        given = self.given(argv)
        if given.tune:
            return super().session(argv)
        from studies.pretraining.depth_lesson_session import LessonSession  # which takes seconds to load

        return LessonSession(self, given)


LESSON = Lesson(
    name="depth-lesson",
    module="depth",
    title="A lesson on depth: why deep networks were pretrained",
    question="How do accuracy and reconstruction change with depth, with and without layer-wise pretraining, and why?",
    protocol=protocol(EPOCHS),
    arms=arms(UNITS, DEPTHS, EPOCHS),
    reference=classifier(PLAIN, 1),
    budget_arm=autoencoder(PRETRAINED, DEPTHS[-1]),
    search={},
    search_split={},
    defaults={**defaults(UNITS, DEPTHS[-1], EPOCHS), "limit": 2000, "seeds": 1},
    smoke=SMOKE,
    quote=answer,
    drawings={FIGURE: Drawing(CAPTION, draw_depth)},
    figures=(),
)
