"""A session that trains the networks of a figure of trajectories instead of the runs of a study: all seeds as one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stacked.evaluation.evaluate import spread
from stacked.model.classifier import Classifier
from stacked.runs.batched_classifiers import fine_tune_seeds
from stacked.runs.batched_seeds import train_seeds
from stacked.runtime.determinism import strict
from stacked.runtime.progress import say
from stacked.spec import RunSpec
from stacked.training.codes import StoredInputs
from stacked.util.atomic import write_atomically
from stacked.util.errors import Interrupted
from studies.execution.threads import thread_limit, threads_per_process
from studies.figures.figures import Record, drawn
from studies.figures.trajectories import SAMPLES, alike, embedded
from studies.framework.plan import plan
from studies.framework.training_session import TrainingSession
from studies.record.samples import write_arrays

if TYPE_CHECKING:
    from studies.cli.options import Options
    from studies.framework.training_design import TrainingDesign

#: test images that every network classifies
IMAGES = 500


class TrajectorySession(TrainingSession):
    """Trains all seeds of the given arms with the settings of the study's record, and writes their arrays and figure.

    option: the command-line option that asks for this session.
    """

    def __init__(self, study: TrainingDesign, given: Options, option: str) -> None:
        super().__init__(study, given)
        self.option = option

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Train each arm, then write the arrays; raise Interrupted if `stop` returns True, and the same command begins anew."""
        given, outputs = self.given, []
        specs = {job.arm: job.spec for job in plan(self.study, given, self.splits)}
        with thread_limit(threads_per_process(1)), strict(given.device, given.deterministic):
            for arm in given.arms:
                say(f"{arm}: {len(given.seeds)} seeds as one model")
                outputs.append(self.outputs(specs[arm], stop))
                yield
        found = np.stack(outputs)
        arrays = {"arms": np.array(given.arms), "places": embedded(found), "alike": np.array(alike(found[:, :, -1]))}
        write_arrays(self.out / "samples" / f"{SAMPLES}-s0.npz", arrays)
        yield

    def outputs(self, spec: RunSpec, stop: Callable[[], bool]) -> npt.NDArray[np.float32]:
        """Return the probabilities [seeds, checks + 1, images * classes] of test images, before and during fine-tuning."""
        splits, given = self.splits, self.given
        train, images = splits.train, splits.test.inputs[spread(len(splits.test), IMAGES)]
        rows = (train.marks >= 0).nonzero().flatten()
        recipe = dataclasses.replace(spec.classification, labels=(None,), patience=None)
        found: list[npt.NDArray[Any]] = []

        def after_check(update: int, classifiers: Sequence[Classifier]) -> None:
            found.append(np.stack([each.predict_proba(images).flatten().numpy() for each in classifiers]))
            if stop():
                raise Interrupted("stopped as asked")

        stacks = train_seeds(spec, given.seeds, splits, device=given.device)
        data = StoredInputs(train.inputs, rows=rows), train.labels[rows]
        fine_tune_seeds(stacks, data, splits.classes, recipe, given.seeds, after_check)
        return np.stack(found, axis=1)

    def report(self, command: str) -> bool:
        """Write the page anew if there are runs, else the figure alone; return whether there is a page."""
        if (self.out / "runs.csv").exists():
            return super().report(command.replace(f" {self.option}", ""))
        import pandas as pd

        from studies.statistics.rows import load_samples

        rows = pd.DataFrame({"arm": [], "status": []})
        png = drawn(self.study.drawings[SAMPLES].draw, Record(rows, samples=load_samples(self.out)))
        assert png is not None  # because the arrays were written
        write_atomically(self.out / "figures" / f"{SAMPLES}.png", png)
        return False

    def end(self) -> int:
        """Print where the figure is and return the exit code 0."""
        print(f"figure: {self.out / 'figures' / SAMPLES}.png")
        return 0
