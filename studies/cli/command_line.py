"""The argument parser of studies of training runs.

Importing this module and printing the help does not load torch.
"""

from __future__ import annotations

import argparse
import os
from typing import Any, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from stacked.cli.help_text import help_text
from stacked.cli.store_option import STORE_FOLDER, STORE_HELP
from stacked.spec import DataSpec
from stacked.util.checks import need
from studies.cli import yaml_validation

PARTS = {
    "optimisation": "the optimisation",
    "evaluation": "the curves and the linear probe",
    "classification": "the fine-tuned classifier",
}
#: the help text of options that few need: studies/README.md describes them, because the help has to fit one screen
UNLISTED = argparse.SUPPRESS
#: options that are fields of `DataSpec`, with the same names, types and defaults -> what stands for a value, and the help text
OF_DATA = {
    "limit": ("N", "train on a stratified subset of N images (all)"),
    "image_size": ("N", "side in pixels to which images of a folder are cropped (224)"),
    "grey": ("", "read images of a folder as greyscale"),
    "white_level": ("N", "value of white in 16-bit files (65535)"),
    "max_megapixels": ("X", "largest allowed image of a folder, in megapixels (89)"),
    "most_unreadable": ("X", UNLISTED),
    "target": ("COLUMN", "column of a table with the classes or the numbers to predict (none)"),
    "missing": ("HOW", "fill in missing values of a table: mean, median or most_frequent (refused)"),
}
#: options that are true or false; a YAML file could give another value
FLAGS = ("dry_run", "grey", "download", "resume", "retry_failed", "deterministic", "smoke", "ui")
#: options that take several values
LISTS = ("channels", "blocks", "level", "loss", "arms", "epochs", "labels")
#: options that are mappings of a spec's fields
MAPPINGS = ("stack", *PARTS)
#: Defaults of a smoke run.
SMOKE: dict[str, Any] = {
    "data": "digits",
    "channels": [4, 8],
    "epochs": [1.0],
    "finetune": 1.0,
    "batch_size": 64,
    "labels": ["100", "all"],
    "seeds": 1,
}


class Parser(ArgumentParser):
    """An argument parser whose help has the style of all commands, and fits one screen."""

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        return help_text(self)


def parser(prog: str, question: str, arms: tuple[str, ...], scales: tuple[str, ...] = ()) -> Parser:
    """Return the parser of a study: `prog` is the name of the command, `question` its description, `arms` the default arms.

    scales: names of the scales at which it can be run; empty: it has no --scale.
    """
    yaml_validation.install()
    p = Parser(prog=prog, description=question, add_help=False, exit_on_error=False, allow_abbrev=False)
    what = p.add_argument_group("what is trained")
    what.add_argument(
        "--data",
        type=str,
        default="mnist",
        metavar="NAME",
        help="dataset, such as digits, folder:PATH or csv:PATH; 'list' lists all (mnist)",
    )
    types = get_type_hints(DataSpec)
    for name, (metavar, text) in OF_DATA.items():
        option, default = f"--{name.replace('_', '-')}", getattr(DataSpec, name)
        if types[name] is bool:
            what.add_argument(option, action="store_true", help=text)
        else:
            what.add_argument(option, type=types[name], default=default, metavar=metavar, help=text)
    what.add_argument(
        "--data-dir",
        type=str | None,
        default=None,
        metavar="DIR",
        help="folder of datasets that are not bundled, and base of a relative PATH",
    )
    what.add_argument("--download", action="store_true", help="download a missing dataset to --data-dir")
    what.add_argument(
        "--kind",
        type=str,
        default="conv",
        metavar="NAME",
        help="kind of the stages, such as dense; 'list' lists all (conv)",
    )
    what.add_argument(
        "--channels",
        type=int,
        nargs="+",
        default=[16, 32, 64, 16],
        metavar="N",
        help="channels or units of each stage (16 32 64 16)",
    )
    what.add_argument(
        "--blocks",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="train blocks of N stages, or of these numbers of stages each (single stages)",
    )
    what.add_argument("--activation", type=str, default="relu", metavar="NAME", help="activation of the codes (relu)")
    what.add_argument(
        "--stack",
        type=dict[str, Any],
        default={},
        metavar="{...}",
        help="more fields of the stack, as YAML: stages norm init output",
    )
    what.add_argument(
        "--corruption",
        type=str,
        default="masking",
        metavar="NAME",
        help="corruption, such as gaussian, or several as A+B; 'list' lists all (masking)",
    )
    what.add_argument(
        "--level",
        nargs="+",
        default=[0.0],
        metavar="X",
        help="level of the corruption, one for all stages or one for each; X+Y for A+B (0: none)",
    )
    what.add_argument(
        "--loss",
        type=str,
        nargs="+",
        default=["mse"],
        metavar="NAME",
        help="mse bce l1 ..., one for all stages or one for each (mse)",
    )
    how = p.add_argument_group("how it is compared")
    how.add_argument(
        "--arms", type=str, nargs="+", default=list(arms), metavar="ARM", help=f"arms to compare ({' '.join(arms)})"
    )
    if scales:
        how.add_argument(
            "--scale",
            type=str,
            default=scales[0],
            metavar="NAME",
            help=f"how much is trained: {', '.join(scales)}; options that are given override it ({scales[0]})",
        )
    how.add_argument("--seeds", type=int, default=3, metavar="N", help="number of seeds, paired between arms (3)")
    how.add_argument(
        "--epochs",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="X",
        help="epochs of each stage or block, one for all or one for each (1)",
    )
    how.add_argument("--finetune", type=float, default=1.0, metavar="X", help="epochs of fine-tuning (1)")
    how.add_argument(
        "--unit",
        type=str,
        default="epochs",
        metavar="UNIT",
        help="unit of --epochs and --finetune: epochs or updates (epochs)",
    )
    how.add_argument(
        "--equal",
        type=str,
        default="flops",
        metavar="WHAT",
        help="cost that is equal for all trained arms: flops, updates, seconds or span (flops)",
    )
    how.add_argument(
        "--labels",
        nargs="+",
        default=["100", "1000", "all"],
        metavar="N",
        help="label budgets of the classifier (100 1000 all)",
    )
    how.add_argument(
        "--classify",
        type=str,
        default="full",
        metavar="WHAT",
        help="use of labels after training: none, probe (no classifiers, whatever --labels) or full (full)",
    )
    how.add_argument(
        "--tune",
        type=int | None,
        default=None,
        metavar="N",
        help="try N settings for each arm on validation images; later runs with this --out use the best",
    )
    how.add_argument(
        "--refine",
        type=int,
        default=0,
        metavar="N",
        help="with --tune: N further trials for each arm, in narrower ranges around its best (0)",
    )
    train = p.add_argument_group(
        "optimisation (an arm that was tuned for the study has values of its own, until options change stack, budget or these)"
    )
    train.add_argument("--optimiser", type=str, default="adam", metavar="NAME", help="adam, adamw, sgd or lbfgs (adam)")
    train.add_argument("--lr", type=float, default=1e-2, metavar="X", help="peak learning rate (0.01)")
    train.add_argument(
        "--schedule",
        type=str,
        default="cosine",
        metavar="NAME",
        help="learning rate schedule of each phase: constant, cosine, onecycle, inverse or step (cosine)",
    )
    train.add_argument("--warmup", type=int, default=0, metavar="N", help="updates of linear warmup (0)")
    train.add_argument(
        "--clip", type=float | None, default=None, metavar="X", help="norm to which gradients are clipped (none)"
    )
    train.add_argument("--batch-size", type=int, default=128, metavar="N", help="images in an update (128)")
    train.add_argument(
        "--patience",
        type=int | None,
        default=None,
        metavar="N",
        help="epochs without a lower validation loss after which a phase of growth ends (never)",
    )
    for part in ("optimisation", "evaluation", "classification"):
        train.add_argument(
            f"--{part}", type=dict[str, Any], default={}, metavar="{...}", help=f"more fields of {PARTS[part]}, as YAML"
        )
    run = p.add_argument_group("how it runs")
    run.add_argument("--device", type=str, default="cpu", metavar="NAME", help="cpu, cuda, cuda:1 ... (cpu)")
    run.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of runs at a time, in processes that share torch's threads (number of cores)",
    )
    run.add_argument(
        "--codes",
        type=str,
        default="auto",
        metavar="MODE",
        help="codes of frozen stages: auto, memory or recompute; results are identical (auto)",
    )
    run.add_argument("--disk-cache", type=str | None, default=None, metavar="DIR", help=UNLISTED)
    run.add_argument(
        "--out",
        type=str | None,
        default=None,
        metavar="DIR",
        help="folder for rows, tables and figures (results/STUDY/DATA-ID)",
    )
    run.add_argument("--store", type=str, default=STORE_FOLDER, metavar="DIR", help=STORE_HELP)
    run.add_argument(
        "--register",
        type=str | None,
        default=None,
        metavar="NAME",
        help="register the best models in MLflow as NAME and NAME-classifier (none)",
    )
    run.add_argument(
        "--resume",
        action=ActionYesNo(no_prefix="no-"),
        default=True,
        help="keep finished runs and continue unfinished ones; --no-resume trains all again (yes)",
    )
    run.add_argument(
        "--retry-failed", action="store_true", help="repeat failed runs (by default they are not repeated)"
    )
    run.add_argument(
        "--checkpoint-every",
        type=int | None,
        default=None,
        metavar="N",
        help="updates between checkpoints inside a phase (such that they take at most 2 %% of the time)",
    )
    run.add_argument(
        "--deterministic", action="store_true", help="raise an error at an operation that is not deterministic"
    )
    run.add_argument(
        "--smoke", action="store_true", help="test that the study runs: tiny data, one seed, about half a minute"
    )
    run.add_argument(
        "--dry-run", action="store_true", help="do not train: predict FLOPs, time, memory and disk space of each arm"
    )
    run.add_argument("--ui", action="store_true", help="do not train: show the recorded runs in the MLflow UI")
    run.add_argument("--port", type=int, default=5000, metavar="N", help="port of the UI (5000)")
    run.add_argument(
        "--host",
        type=str,
        default="127.0.0.1",
        metavar="NAME",
        help="address of the UI; anybody who can reach it can delete all runs (127.0.0.1)",
    )
    run.add_argument(
        "--config",
        action="config",
        metavar="FILE",
        help="YAML file with any of these options; later options override it",
    )
    run.add_argument("--help", "-h", action="help", help=argparse.SUPPRESS)  # whoever reads the page knows it
    return p


def check_flags(given: Namespace) -> None:
    """Raise InputError if a flag has another value than true or false."""
    for name in FLAGS:
        need(isinstance(given[name], bool), f"{name} {given[name]!r} is not allowed: give true or false")


def to_plain(value: Any) -> Any:
    """Return a parsed value with its namespaces and tuples converted to dictionaries and lists."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {name: to_plain(each) for name, each in value.items()}
    return [to_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
