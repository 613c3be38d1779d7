"""A session of a study that measures its methods on a dataset, and logs the values to MLflow as well."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from stacked.cli.command import called
from stacked.data import apart
from stacked.runtime.progress import say
from stacked.util.checks import need
from studies.design.measurements import Context, Measurement
from studies.measuring import page
from studies.measuring.design import MeasurementDesign
from studies.measuring.session import MeasurementSession, means
from studies.record.names import slug
from studies.report.origin import origin


class DataSession(MeasurementSession):
    """Measures on the dataset of the command line; `context` holds its data, the options and the folder.

    typed: options that were typed, as "--limit". A limit that was not typed is lowered to the number of training images.
    """

    passing: ClassVar[frozenset[str]] = frozenset(
        {"methods", "seeds", "device", "out", "store", "data_dir", "download"}
    )

    def __init__(
        self, study: MeasurementDesign, given: argparse.Namespace, typed: frozenset[str] = frozenset()
    ) -> None:
        self.typed = typed
        name, _ = apart(given.data, given.data_dir)
        out = given.out or Path("results") / study.name / (slug(name) + ("-smoke" if given.smoke else ""))
        super().__init__(study, given, given.methods, given.seeds, out)

    def begin(self) -> int | None:
        """Load the data; return the exit code if the study runs an alternative task instead of measuring."""
        from stacked import data
        from stacked.tracking.tracker import open_store
        from studies.framework.small_data import at_most

        given = self.given
        is_default = given.limit is not None and "--limit" not in self.typed
        name, data_dir = apart(given.data, given.data_dir)
        splits = data.load(
            name,
            limit=None if is_default else given.limit,
            data_dir=data_dir,
            download=given.download,
            image_size=given.image_size,
            grey=given.grey,
            white_level=given.white_level,
            max_megapixels=given.max_megapixels,
            target=getattr(given, "target", None),
            missing=getattr(given, "missing", None),
        )
        are_images = splits.scaling is None and len(splits.input_shape) == 3
        need(
            are_images or self.study.reads_any,
            f"{self.study.prog} reads images of bytes, and {name} holds {'bytes' if splits.scaling is None else 'floats'} of "
            f"shape {list(splits.input_shape)}: give images, or use {called('studies.tables')}",
        )
        if is_default:
            splits = at_most(given.limit, splits)
            given.limit = len(splits.train)
        self.context = Context(splits, given, self.out)
        code = self.study.instead(self.context)
        if code is None:
            self.check_own()
            self.study.check(self.context, [method for method in self.methods if not self.lacking(method)])
            self.store = open_store(given.store)
        return code

    def facts(self) -> dict[str, str]:
        """Return the name and the digest of the data."""
        return {"data": self.context.splits.name, "digest": self.context.splits.digest}

    def measurements(self, method: str, seed: int) -> list[Measurement]:
        """Return the measurements of a method with a seed, and the seconds of the call as a measurement of each arm."""
        started = time.perf_counter()
        found = list(self.study.methods[method](self.context, seed))
        seconds = time.perf_counter() - started
        return found + [Measurement(arm, "", self.last, seconds) for arm in dict.fromkeys(one.arm for one in found)]

    @property
    def experiment(self) -> str:
        """The name of the study's experiment in MLflow."""
        return f"{self.study.name}-{slug(self.context.splits.name)}"

    def record(self, method: str, seed: int, found: Sequence[Measurement]) -> None:
        """Log an MLflow run for each arm, with the mean of each measure over the conditions."""
        from stacked.tracking.run_record import source_tags
        from stacked.tracking.tracker import Tracker, set_aside
        from studies.figures.style import arm_colours

        colours = arm_colours(self.study.arms)
        for arm in dict.fromkeys(one.arm for one in found):
            name = f"{arm}/s{seed}"
            work = self.store.root / "work" / slug(f"{self.experiment}-{self.out.name}-{name}")
            set_aside(self.store, work)
            tags = {"kind": "use", "arm": arm, "seed": seed, "study": self.study.name, "mlflow.runColor": colours[arm]}
            tags |= source_tags(self.study.prog)
            params = {"method": method, "data": self.context.splits.name, "limit": self.given.limit}
            with Tracker(self.store, self.experiment, name=name, work=work, tags=tags, params=params) as run:
                mine = [one for one in found if one.arm == arm]
                values = {one.measure: means(mine, one.measure) for one in mine}
                run.log(
                    {f"final/{slug(measure)}": each[arm] for measure, each in values.items() if arm in each}, step=0
                )

    def report(self, command: str) -> bool:
        """Write the figures and the page from the rows."""
        page.report(self.study, self.out, command, origin(), vars(self.given))
        return True

    def section(self, root: Path) -> str:
        """Return this record's section for results/README.md, as Markdown. root: the folder of that file."""
        return page.section(self.study, self.out, root)

    def end(self) -> int:
        """Save the report in MLflow, print the answer, the path of the page and the address of the runs."""
        from stacked.tracking.backend.client import StoreClient
        from stacked.tracking.backend.store import OUTAGES, reason_of
        from stacked.tracking.tracker import study_run
        from stacked.util.paths import without_login
        from stacked.viewing.server import address, typed_command

        print(page.ending(self.study, self.out))
        store, files = self.store, ((name, "report") for name in self.study.files)
        try:
            with study_run(store, self.experiment, f"{self.study.name}-{self.out.name}", self.study.prog) as run:
                for name, folder in (("README.md", "report"), ("figures", "report/figures"), *files):
                    if (self.out / name).exists():
                        run.artifact(self.out / name, folder)
            place = StoreClient(store, self.experiment).experiment_id
            needs = "" if store.is_server else f", whose UI `{typed_command(store)}` starts"
            url = f"{without_login(store.uri) if store.is_server else address()}/#/experiments/{place}"
            print(f"In MLflow{needs}: {url}")
        except OUTAGES as error:
            say(f"MLflow could not save the report ({reason_of(error)}): give the same command again when MLflow works")
        return 0
