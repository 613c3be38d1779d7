"""What a command line of the layer-wise study means."""

from __future__ import annotations

from studies.cli.command_line import parser
from studies.cli.options import Options, options
from studies.pretraining.layerwise import STUDY


def given(words: str = "") -> Options:
    """The options that these words mean."""
    return options("layerwise", parser("p", "q", STUDY.arm_names).parse_args(words.split()))
