"""The command line that studies share: what it offers, and what it means.

Importing this module and showing the help loads no torch.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from stacked.checks import choice, need, utf8, whole
from stacked.data.folder import apart
from stacked.errors import InputError
from stacked.plain import merged
from stacked.spec import (
    Budget,
    Classification,
    DataSpec,
    Evaluation,
    Optimisation,
    RunSpec,
    StackSpec,
)
from studies import yaml_text

EQUAL = ("flops", "updates", "seconds")
PARTS = {
    "optimisation": "how phases are trained",
    "evaluation": "the curves and the linear probe",
    "classification": "the fine-tuned classifier",
}
#: seeds of a study: each is a run of every arm
MOST_SEEDS = 10_000
#: options that are yes or no, which YAML could give as anything
FLAGS = ("dry_run", "grey", "download", "resume", "retry_failed", "deterministic", "smoke", "ui")
#: runs at a time
MOST_JOBS = 1000
#: options of several values
LISTS = ("channels", "level", "loss", "arms", "epochs", "labels")
#: options that are mappings of a spec's fields
MAPPINGS = ("stack", *PARTS)


class Parser(ArgumentParser):
    """A parser whose help fits one screen: the description first, no usage line for two dozen options."""

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        formatter = formatter or argparse.HelpFormatter(self.prog, max_help_position=34, width=118)
        formatter.add_text(self.description)
        for group in self._action_groups:
            actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
            if actions:
                formatter.start_section(group.title)
                formatter.add_arguments(actions)
                formatter.end_section()
        return formatter.format_help()


def parser(prog: str, question: str, arms: tuple[str, ...]) -> Parser:
    """The parser of a study that compares `arms`."""
    yaml_text.install()
    p = Parser(prog=prog, description=question, add_help=False, exit_on_error=False)
    what = p.add_argument_group("what is trained")
    what.add_argument(
        "--data",
        type=str,
        default="mnist",
        metavar="NAME",
        help="dataset: mnist digits fashion-mnist kmnist cifar10 stl10 photographs folder:PATH (mnist)",
    )
    what.add_argument(
        "--limit", type=int | None, default=None, metavar="N", help="train on a stratified subset of N images (all)"
    )
    what.add_argument(
        "--image-size", type=int, default=224, metavar="N", help="size that a folder's images are cropped to (224)"
    )
    what.add_argument("--grey", action="store_true", help="read a folder's images as grey levels")
    what.add_argument(
        "--data-dir",
        type=str | None,
        default=None,
        metavar="DIR",
        help="where datasets lie that are not bundled, and folder:PATH begins",
    )
    what.add_argument("--download", action="store_true", help="fetch a missing dataset into it")
    what.add_argument(
        "--kind",
        type=str,
        default="conv",
        metavar="NAME",
        help="stages: conv conv-pool residual transformer dense (conv)",
    )
    what.add_argument(
        "--channels",
        type=int,
        nargs="+",
        default=[16, 32, 64, 16],
        metavar="N",
        help="channels, or units, of each stage (16 32 64 16)",
    )
    what.add_argument("--activation", type=str, default="relu", metavar="NAME", help="of the codes (relu)")
    what.add_argument(
        "--stack",
        type=dict[str, Any],
        default={},
        metavar="{...}",
        help="more of the stack, as YAML: stages norm init output",
    )
    what.add_argument(
        "--corruption",
        type=str,
        default="masking",
        metavar="NAME",
        help="masking, salt-and-pepper ..., or A+B (masking)",
    )
    what.add_argument(
        "--level",
        nargs="+",
        default=[0.0],
        metavar="X",
        help="its level, one or one a stage; X+Y of A+B (0: none)",
    )
    what.add_argument(
        "--loss", type=str, nargs="+", default=["mse"], metavar="NAME", help="mse bce l1 ..., one or one a stage (mse)"
    )
    how = p.add_argument_group("how it is compared")
    how.add_argument(
        "--arms", type=str, nargs="+", default=list(arms), metavar="ARM", help=f"ways to train ({' '.join(arms)})"
    )
    how.add_argument("--seeds", type=int, default=3, metavar="N", help="number of seeds, paired between arms (3)")
    how.add_argument(
        "--epochs",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="X",
        help="epochs of each stage, one or one a stage (1)",
    )
    how.add_argument("--finetune", type=float, default=1.0, metavar="X", help="epochs of fine-tuning (1)")
    how.add_argument(
        "--unit", type=str, default="epochs", metavar="UNIT", help="what these two count: epochs or updates (epochs)"
    )
    how.add_argument(
        "--equal",
        type=str,
        default="flops",
        metavar="WHAT",
        help="what every trained arm gets as much of as greedy+finetune: flops, updates or seconds (flops)",
    )
    how.add_argument(
        "--labels",
        nargs="+",
        default=["100", "1000", "all"],
        metavar="N",
        help="label budgets of the classifier (100 1000 all)",
    )
    train = p.add_argument_group("optimisation")
    train.add_argument("--optimiser", type=str, default="adam", metavar="NAME", help="adam, adamw or sgd (adam)")
    train.add_argument("--lr", type=float, default=1e-2, metavar="X", help="peak learning rate (0.01)")
    train.add_argument(
        "--schedule",
        type=str,
        default="cosine",
        metavar="NAME",
        help="constant, cosine or onecycle, in each phase (cosine)",
    )
    train.add_argument("--warmup", type=int, default=0, metavar="N", help="updates of linear rise (0)")
    train.add_argument("--clip", type=float | None, default=None, metavar="X", help="largest gradient norm (none)")
    train.add_argument("--batch-size", type=int, default=128, metavar="N", help="images in an update (128)")
    train.add_argument(
        "--patience",
        type=int | None,
        default=None,
        metavar="N",
        help="epochs without a better validation loss that end a phase of growth (never)",
    )
    for part in ("optimisation", "evaluation", "classification"):
        train.add_argument(
            f"--{part}", type=dict[str, Any], default={}, metavar="{...}", help=f"more of {PARTS[part]}, as YAML"
        )
    run = p.add_argument_group("how it runs")
    run.add_argument("--device", type=str, default="cpu", metavar="NAME", help="cpu, cuda, cuda:1 ... (cpu)")
    run.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="runs at a time, as processes (one a core)"
    )
    run.add_argument(
        "--codes",
        type=str,
        default="auto",
        metavar="MODE",
        help="codes of frozen stages: auto, memory or recompute; the numbers are the same (auto)",
    )
    run.add_argument(
        "--out",
        type=str | None,
        default=None,
        metavar="DIR",
        help="folder for rows, tables and figures (results/STUDY/DATA-ID)",
    )
    run.add_argument("--store", type=str, default="mlruns", metavar="DIR", help="folder of the MLflow store (mlruns)")
    run.add_argument(
        "--resume",
        action=ActionYesNo,
        default=True,
        help="go on after what is finished; --no_resume trains it again (yes)",
    )
    run.add_argument(
        "--retry-failed", action="store_true", help="try again what failed; without it a failed run is left as it is"
    )
    run.add_argument(
        "--checkpoint-every",
        type=int | None,
        default=None,
        metavar="N",
        help="updates between checkpoints inside a phase (by time, so that they cost at most 2 %% of it)",
    )
    run.add_argument(
        "--deterministic",
        action="store_true",
        help="refuse an operation that may give other bits when repeated, instead of doing it",
    )
    run.add_argument("--smoke", action="store_true", help="tiny data, one seed, under half a minute: does it run?")
    run.add_argument(
        "--dry-run", action="store_true", help="do not train: predict FLOPs, time, memory and disk of each arm"
    )
    run.add_argument("--ui", action="store_true", help="do not train: show in the MLflow UI what there is")
    run.add_argument("--port", type=int, default=5000, metavar="N", help="of the UI (5000)")
    run.add_argument(
        "--host",
        type=str,
        default="127.0.0.1",
        metavar="NAME",
        help="where the UI listens; on another than this, whoever reaches it can delete all (127.0.0.1)",
    )
    run.add_argument(
        "--config", action="config", metavar="FILE", help="YAML file with any of these options; later ones override it"
    )
    run.add_argument("--help", "-h", action="help", help="show this page")
    return p


@dataclass(frozen=True)
class Options:
    """A command line, checked. `base` is the spec that all runs share but for policy, seed and budget."""

    base: RunSpec
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    equal: str
    data_dir: str | None
    download: bool
    device: str
    jobs: int
    codes: str
    out: Path
    store: Path
    resume: bool
    ui: bool
    port: int
    retry_failed: bool = False
    checkpoint_every: int | None = None
    deterministic: bool = False
    host: str = "127.0.0.1"
    dry_run: bool = False

    @property
    def configuration(self) -> str:
        """Names what all runs of this study share: rows of one configuration can be put together."""
        return configuration(self.base, self.equal)


def configuration(base: RunSpec, equal: str) -> str:
    """The first six hex digits of the SHA-256 of what runs share."""
    return hashlib.sha256(f"{base.id} {equal}".encode()).hexdigest()[:6]


def experiment_name(base: RunSpec) -> str:
    """The name of the family of runs that compare in MLflow: dataset and architecture."""
    stages = base.stack.stages
    kinds = "-".join(dict.fromkeys(stage.kind for stage in stages))
    return f"{slug(base.data.name)}-{kinds}-{'-'.join(str(stage.width) for stage in stages)}"


def slug(name: str) -> str:
    """A dataset's name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def label_budget(text: str) -> int | None:
    """A label budget: a number of labels, or None for "all"."""
    if text == "all":
        return None
    if not re.fullmatch("[0-9]{1,15}", text) or int(text) < 1:
        raise InputError(f"label budget {text!r} is not allowed: give a number of labels, or all")
    return int(text)


def level(text: float | str) -> float | tuple[float, ...]:
    """A corruption level: a number, or for a composed corruption several, joined by "+"."""
    try:
        numbers = tuple(float(part) for part in str(text).split("+"))
    except ValueError as error:
        raise InputError(
            f"level {text!r} is not allowed: give a number, or numbers joined by + as in 0.25+0.1"
        ) from error
    return numbers if len(numbers) > 1 else numbers[0]


def check_flags(given: Namespace) -> None:
    """Raise InputError for an option that is yes or no and has another value."""
    for name in FLAGS:
        need(isinstance(given[name], bool), f"{name} {given[name]!r} is not allowed: give true or false")


def plainly(value: Any) -> Any:
    """What the parser made of YAML, as plain dictionaries and lists."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {name: plainly(each) for name, each in value.items()}
    return [plainly(each) for each in value] if isinstance(value, (list, tuple)) else value


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


def options(study: str, given: Namespace) -> Options:
    """The options that a parsed command line means; InputError names what is wrong with it."""
    values = vars(given)
    choice(values["equal"], EQUAL, "equal")
    choice(values["codes"], ("auto", "memory", "recompute"), "codes")
    for name in ("seeds", "jobs", "checkpoint_every"):
        if values[name] is not None:
            whole(values[name], name)
    whole(values["jobs"], "jobs", most=MOST_JOBS)
    need(len(values["arms"]) > 0, "no arms to compare: give at least one")
    for name in values["arms"]:
        need(values["arms"].count(name) == 1, f"arm {name!r} is given twice: give it once")
    need(values["seeds"] <= MOST_SEEDS, f"seeds {values['seeds']} is not allowed: give at most {MOST_SEEDS:,}")
    need(0 < values["port"] < 65536, f"port {values['port']} does not exist: choose one from 1 to 65535")
    for name in ("out", "store", "data_dir"):
        utf8(values[name] or "", name)
    data, data_dir = apart(values["data"], values["data_dir"])
    stack = StackSpec.of(values["kind"], *values["channels"], activation=values["activation"])
    optimisation = Optimisation(
        optimiser=values["optimiser"],
        lr=values["lr"],
        schedule=values["schedule"],
        warmup=values["warmup"],
        clip=values["clip"],
        batch_size=values["batch_size"],
        corruption=values["corruption"],
        corruption_level=tuple(level(each) for each in values["level"]),
        loss=tuple(values["loss"]),
        patience=values["patience"],
    )
    classification = Classification(
        labels=tuple(label_budget(str(text)) for text in values["labels"]),
        updates=20 if given.smoke else Classification.updates,
    )
    base = RunSpec(
        policy="joint",  # of all policies the one that asks least of losses; each arm's own spec is checked before it runs
        data=DataSpec(data, limit=values["limit"], image_size=values["image_size"], grey=values["grey"]),
        stack=merged(stack, plainly(values["stack"])),
        budget=Budget(tuple(values["epochs"]), values["finetune"], values["unit"]),
        optimisation=merged(optimisation, plainly(values["optimisation"])),
        evaluation=merged(Evaluation(), plainly(values["evaluation"])),
        classification=merged(classification, plainly(values["classification"])),
    )
    out = values["out"] or str(
        Path("results") / study / f"{slug(base.data.name)}-{configuration(base, values['equal'])}"
    )
    return Options(
        base,
        tuple(values["arms"]),
        tuple(range(values["seeds"])),
        values["equal"],
        data_dir,
        values["download"],
        values["device"],
        values["jobs"],
        values["codes"],
        Path(out),
        Path(values["store"]),
        values["resume"],
        values["ui"],
        values["port"],
        values["retry_failed"],
        values["checkpoint_every"],
        values["deterministic"],
        values["host"],
        values["dry_run"],
    )
