"""A study of measurements: a question, methods that measure arms, measures, and figures."""

from __future__ import annotations

from dataclasses import dataclass

from stacked.util.checks import choice, utf8, whole
from studies.cli.listing import show_list
from studies.cli.typed import typed_options
from studies.cli.without_effect import check_image_size
from studies.design.study import Session
from studies.measuring.design import MeasurementDesign


@dataclass(frozen=True, kw_only=True)
class MeasurementStudy(MeasurementDesign):
    """A question, the methods that answer it, and the command that measures every method with every seed."""

    def session(self, argv: list[str]) -> Session:
        """Return the session of the command-line arguments `argv`; raise InputError for a value that is not allowed."""
        show_list(argv)
        command = self.parser()
        if "--smoke" in argv:
            command.set_defaults(**{"data": "digits", "seeds": 1, **self.smoke})
        given = command.parse_args(argv)
        whole(given.seeds, "seeds", 1)
        for name in given.methods:
            choice(name, self.methods, "method")
        for name in ("out", "store", "data_dir"):
            utf8(str(getattr(given, name) or ""), name)
        if not any(str(value).startswith("folder:") for value in vars(given).values()):  # --noisy reads image files too
            check_image_size(typed_options(argv), given.data)
        from studies.measuring.data_session import DataSession  # which takes seconds to load

        return DataSession(self, given, typed_options(argv))
