"""The checked options of a study of training runs, and their conversion to the spec that all its runs share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from stacked.cli.store_option import store_folder
from stacked.data import apart, check_name
from stacked.spec import Budget, Classification, DataSpec, Evaluation, Optimisation, RunSpec, StackSpec
from stacked.spec.blocks import Blocks
from stacked.util.checks import choice, need, utf8, whole
from stacked.util.errors import InputError
from stacked.util.serialization import merged
from studies.cli.command_line import OF_DATA, to_plain
from studies.record.names import configuration, slug

if TYPE_CHECKING:
    from jsonargparse import Namespace

EQUAL = ("flops", "updates", "seconds", "span")
#: what labels are used for after training
CLASSIFY = ("none", "probe", "full")
#: largest number of seeds; each arm has one run for each seed
MOST_SEEDS = 10_000
#: largest number of runs at a time
MOST_JOBS = 1000
#: largest number of trials for each arm
MOST_TRIALS = 1000
#: most characters of the name of a registered model: MLflow allows 256, and the name of its classifier is longer
LONGEST_REGISTERED = 200


@dataclass(frozen=True)
class Options:
    """Checked options of the command line; `base` is the spec of all runs, which differ in policy, seed and budget."""

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
    tune: int | None = None
    refine: int = 0
    register: str | None = None
    disk_cache: Path | None = None
    #: Options that were typed, as "--epochs"; the same values by default or typed are the same options.
    typed: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def configuration(self) -> str:
        """The id of what all runs share; only rows of the same configuration can be combined."""
        return configuration(self.base, self.equal)


def parse_label_budget(text: str) -> int | None:
    """Return a label budget: a number of labels, or None for "all"."""
    if text == "all":
        return None
    if not re.fullmatch("[0-9]{1,15}", text) or int(text) < 1:
        raise InputError(f"label budget {text!r} is not allowed: give a number of labels, or all")
    return int(text)


def parse_level(text: float | str) -> float | tuple[float, ...]:
    """Return a corruption level: a number, or a tuple for the levels of a composed corruption, joined by "+"."""
    try:
        numbers = tuple(float(part) for part in str(text).split("+"))
    except ValueError as error:
        raise InputError(
            f"level {text!r} is not allowed: give a number, or numbers joined by + as in 0.25+0.1"
        ) from error
    return numbers if len(numbers) > 1 else numbers[0]


def one_or_several(numbers: list[int]) -> Blocks:
    """Return the value of `blocks` for the numbers that were given: None without any, one number, or a tuple of several."""
    return tuple(numbers) if len(numbers) > 1 else next(iter(numbers), None)


def options(study: str, given: Namespace, valid: Mapping[str, float] = MappingProxyType({})) -> Options:
    """Return the checked options of parsed arguments; raise InputError for a value that is not allowed.

    valid: fraction of the training set that is held out for validation, by name of the dataset (others: the default).
    """
    values = vars(given)
    choice(values["equal"], EQUAL, "equal")
    choice(values["codes"], ("auto", "memory", "recompute"), "codes")
    choice(values["classify"], CLASSIFY, "classify")
    for name in ("seeds", "jobs", "checkpoint_every", "tune"):
        if values[name] is not None:
            whole(values[name], name)
    whole(values["jobs"], "jobs", most=MOST_JOBS)
    whole(values["refine"], "refine", least=0)
    for name in ("tune", "refine"):
        need(
            values[name] is None or values[name] <= MOST_TRIALS,
            f"{name} {values[name]} is not allowed: give at most {MOST_TRIALS:,} trials",
        )
    need(values["tune"] or not values["refine"], "--refine continues --tune: give both")
    need(len(values["arms"]) > 0, "no arms to compare: give at least one")
    for name in values["arms"]:
        need(values["arms"].count(name) == 1, f"arm {name!r} is given twice: give it once")
    need(values["seeds"] <= MOST_SEEDS, f"seeds {values['seeds']} is not allowed: give at most {MOST_SEEDS:,}")
    need(0 < values["port"] < 65536, f"port {values['port']} does not exist: choose one from 1 to 65535")
    for name in ("out", "store", "data_dir", "disk_cache"):
        utf8(values[name] or "", name)
    if values["register"] is not None:
        check_registered(values["register"], [name for name in ("tune", "dry_run", "ui") if values[name]])
    data, data_dir = apart(values["data"], values["data_dir"])
    check_name(data, data_dir)
    stack = StackSpec.of(values["kind"], *values["channels"], activation=values["activation"])
    optimisation = Optimisation(
        optimiser=values["optimiser"],
        lr=values["lr"],
        schedule=values["schedule"],
        warmup=values["warmup"],
        clip=values["clip"],
        batch_size=values["batch_size"],
        corruption=values["corruption"],
        corruption_level=tuple(parse_level(each) for each in values["level"]),
        loss=tuple(values["loss"]),
        patience=values["patience"],
    )
    classification = Classification(
        labels=tuple(parse_label_budget(str(text)) for text in values["labels"]),
        updates=20 if given.smoke else Classification.updates,
    )
    base = RunSpec(
        policy="joint",  # the policy that allows most losses; the spec of each arm is checked before it runs
        data=DataSpec(data, valid=valid.get(data, DataSpec.valid), **{name: values[name] for name in OF_DATA}),
        stack=merged(stack, to_plain(values["stack"])),
        budget=Budget(tuple(values["epochs"]), values["finetune"], values["unit"]),
        optimisation=merged(optimisation, to_plain(values["optimisation"])),
        evaluation=merged(Evaluation(), to_plain(values["evaluation"])),
        classification=merged(classification, to_plain(values["classification"])),
        blocks=one_or_several(values["blocks"]),
    )
    if values["classify"] != "full":
        base = replace(base, classification=replace(base.classification, labels=()))
    if values["classify"] == "none":
        base = replace(base, evaluation=replace(base.evaluation, probes=()))
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
        store_folder(values["store"]),
        values["resume"],
        values["ui"],
        values["port"],
        values["retry_failed"],
        values["checkpoint_every"],
        values["deterministic"],
        values["host"],
        values["dry_run"],
        values["tune"],
        values["refine"],
        values["register"],
        None if values["disk_cache"] is None else Path(values["disk_cache"]),
    )


def check_registered(name: str, others: list[str]) -> None:
    """Raise InputError if a registered model cannot have this name, or one of the `others` that train no run is given too."""
    need(
        len(name) <= LONGEST_REGISTERED and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", name) is not None,
        f"register {name!r} is not allowed: give a name of letters, digits, spaces, '.', '_' and '-' that begins with a letter "
        f"or digit and has at most {LONGEST_REGISTERED} characters",
    )
    for other in others:
        option = f"--{other.replace('_', '-')}"
        raise InputError(f"--register registers a trained run, and {option} trains none: leave out one of them")
