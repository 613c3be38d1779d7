"""Options of studies: of a command line of the layer-wise study, and of one that is given in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacked.spec import RunSpec
from studies.cli.command_line import parser
from studies.cli.options import Options, options
from studies.framework.training_study import TrainingStudy
from studies.pretraining.layerwise import STUDY


def given(words: str = "") -> Options:
    """The options that these words mean."""
    return options("layerwise", parser("p", "q", STUDY.arm_names).parse_args(words.split()))


def options_of(study: TrainingStudy, base: RunSpec, home: Path, **changes: Any) -> Options:
    """The options of a study with this base and all of its arms, whose folders are in `home`; `changes` replace some."""
    values = {
        "arms": study.arm_names,
        "seeds": (0,),
        "equal": "flops",
        "data_dir": None,
        "download": False,
        "device": "cpu",
        "jobs": 1,
        "codes": "auto",
        "out": home / "out",
        "store": home / "store",
        "resume": True,
        "ui": False,
        "port": 5000,
    }
    return Options(base, **values | changes)
