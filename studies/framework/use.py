"""What the studies of uses share: methods x seeds, measured one after the other, each recorded as it comes, and a report."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pandas import DataFrame, concat

from stacked.cli.command import Command
from stacked.cli.overwriting import below, check_own
from stacked.runtime.interruption import Interruption
from stacked.runtime.progress import say, say_warnings
from stacked.util.atomic import write_atomically
from stacked.util.checks import choice, need, utf8, whole
from stacked.util.errors import Interrupted
from stacked.util.paths import command_without_folders
from studies.design.use import Found, Setting, Use
from studies.framework.exit_codes import ended
from studies.framework.names import slug
from studies.framework.places import INDEX, ROOT
from studies.framework.samples import kept
from studies.report.origin import origin
from studies.statistics.reading import json_object
from studies.statistics.use_rows import FIELDS, LAST, read, text

if TYPE_CHECKING:
    from stacked.tracking.backend.store import Store

#: Patterns of the files that a study of a use writes beside its configuration.
FILES = ("README.md", "rows.csv", "figures/*.png", "samples/*.npz", "codec.safetensors")


def parser(use: Use) -> argparse.ArgumentParser:
    """The command line of a study of a use."""
    command = Command(prog=use.prog, description=use.question)
    command.add_argument(
        "--data",
        default="mnist",
        metavar="NAME",
        help="dataset, as digits or folder:PATH; an unknown name lists all (mnist)",
    )
    command.add_argument("--data-dir", default=None, metavar="DIR", help="where datasets lie that are not bundled")
    command.add_argument("--download", action="store_true", help="fetch a missing dataset into it")
    command.add_argument("--limit", type=int, default=None, metavar="N", help="training images (all)")
    command.add_argument("--image-size", type=int, default=64, metavar="N", help="of a folder's images (64)")
    command.add_argument("--grey", action="store_true", help="read a folder's images as grey levels")
    command.add_argument(
        "--white-level", type=int, default=None, metavar="N", help="value that is white in 16-bit files (65535)"
    )
    command.add_argument(
        "--max-megapixels", type=float, default=None, metavar="X", help="of a folder's largest image (89)"
    )
    command.add_argument("--methods", nargs="+", default=list(use.methods), metavar="NAME", help=", ".join(use.methods))
    command.add_argument("--seeds", type=int, default=3, metavar="N", help="number of seeds (3)")
    command.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda ... (cpu)")
    command.add_argument("--out", type=Path, default=None, metavar="DIR", help="of the record (results/STUDY/DATA)")
    command.add_argument("--store", type=Path, default=Path("mlruns"), metavar="DIR", help="of MLflow (mlruns)")
    command.add_argument("--smoke", action="store_true", help="tiny data and one seed: does it run?")
    use.options(command)
    return command


def main(use: Use, words: list[str] | None = None) -> int:
    """The command line; returns 0, 2 for bad input, 130 when interrupted. What is recorded already is not measured again."""
    say_warnings()
    words, stop = sys.argv[1:] if words is None else words, Interruption()

    def do() -> int:
        command = parser(use)
        if "--smoke" in words:
            command.set_defaults(**{"data": "digits", "seeds": 1, **use.smoke})
        given = command.parse_args(words)
        whole(given.seeds, "seeds", 1)
        for name in given.methods:
            choice(name, use.methods, "method")
        for name in ("out", "store", "data_dir"):
            utf8(str(getattr(given, name) or ""), name)
        with stop:
            return conduct(use, given, command_without_folders([*use.prog.split(), *words]), stop)

    return ended(use.prog, stop, do)


def conduct(use: Use, given: argparse.Namespace, command: str, stop: Callable[[], bool]) -> int:
    """Measure what is missing and write the report; raises Interrupted when `stop` says so."""
    from stacked import data
    from stacked.data.sources.folder import apart
    from stacked.tracking.tracker import open_store
    from studies.framework.record import alone, committed_as
    from studies.report import has_block, update_readme
    from studies.report.uses import block, report

    name, data_dir = apart(given.data, given.data_dir)
    splits = data.load(
        name,
        limit=given.limit,
        data_dir=data_dir,
        download=given.download,
        image_size=given.image_size,
        grey=given.grey,
        white_level=given.white_level,
        max_megapixels=given.max_megapixels,
    )
    out = given.out or Path("results") / use.name / (slug(name) + ("-smoke" if given.smoke else ""))
    setting = Setting(splits, given, out)
    code = use.own(setting)
    if code is not None:
        return code
    use.check(setting, [method for method in given.methods if not lacking(use, method)])
    store = open_store(given.store)
    with alone(out) as files:
        prepare(use, setting)
        warn_of_mixing(use, setting)
        kept(out)  # what is damaged is said before anything is measured
        files.look()
        for seed in range(given.seeds):
            for method in given.methods:
                if stop():
                    raise Interrupted("stopped as asked")
                package = lacking(use, method)
                if package:
                    say(
                        f"{method} needs {package}, which is not installed, and is left out (pip install '.[{use.name}]')"
                    )
                    continue
                measure(use, setting, method, seed, store)
                files.look()
        page = report(use, out, command, origin(), vars(given))
    committed = committed_as(out, ROOT)
    if committed and has_block(INDEX, committed):
        update_readme(INDEX, committed, block(use, out, INDEX.parent))
    tell(use, setting, store)
    print(page)
    return 0


def prepare(use: Use, setting: Setting) -> None:
    """Note what all rows of a folder share; InputError where it holds those of something else, or files that are none of ours."""
    given = vars(setting.given)
    passing = {"methods", "seeds", "device", "out", "store", "data_dir", "download"}
    mine = {name: value for name, value in given.items() if name not in passing}
    mine = json.loads(json.dumps(mine | {"data": setting.splits.name, "digest": setting.splits.digest}, default=str))
    path = setting.out / "configuration.json"
    if not path.exists():
        check_own(False, below(setting.out, *FILES, *use.files))
        write_atomically(path, json.dumps(mine, indent=1) + "\n")
    theirs = json_object(path)
    later = {name: value for name, value in vars(parser(use).parse_args([])).items() if name not in {*passing, *theirs}}
    theirs = later | theirs  # what was no option yet had the default
    differ = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    told = ", ".join(f"{name} is {theirs.get(name)!r} there and {mine.get(name)!r} here" for name in differ)
    need(not differ, f"{setting.out} holds rows of another configuration ({told}): choose another --out")


def lacking(use: Use, method: str) -> str:
    """The package that a method needs and that is not installed; "" where there is none."""
    package = use.extras.get(method, "")
    return package if package and importlib.util.find_spec(package) is None else ""


def this_commit() -> str:
    """The commit that rows are made by, and whether code differs from it."""
    from stacked.runtime.environment import code_identity

    commit, changed = code_identity()
    return commit[:7] + "+changes" * changed


def warn_of_mixing(use: Use, setting: Setting) -> None:
    """Say that rows of another commit will stand beside new ones, where something is to be measured."""
    old = rows(use, setting.out)
    done = set(zip(old["method"], old["seed"], strict=True))
    methods = [method for method in setting.given.methods if not lacking(use, method)]
    wanted = {(method, seed) for seed in range(setting.given.seeds) for method in methods}
    mine = this_commit()
    others = sorted(set(old["commit"]) - {mine})
    if others and wanted - done:
        say(
            f"{setting.out} holds rows by commit {', '.join(others)}, which stay beside new ones by {mine}: for rows of one "
            "commit, choose another --out"
        )


def measure(use: Use, setting: Setting, method: str, seed: int, store: Store) -> None:
    """Measure a method with a seed, where that is not done, and add its rows, all at once."""
    old = rows(use, setting.out)
    if ((old["method"] == method) & (old["seed"] == seed)).any():
        return
    began, mine = time.perf_counter(), this_commit()
    found = list(use.methods[method](setting, seed))
    seconds = time.perf_counter() - began
    found += [Found(arm, "", LAST, seconds) for arm in dict.fromkeys(one.arm for one in found)]
    # before the row: a run that is made anew supersedes the old one, and one without a row would be missed
    record(use, setting, method, seed, found, store)
    new = DataFrame([(method, seed, *one, mine) for one in found], columns=FIELDS)
    ranks = {name: rank for rank, name in enumerate(use.methods)}
    lines = concat([old, new]) if len(old) else new
    lines = lines.sort_values(
        ["seed", "method"], key=lambda values: values.map(ranks) if values.name == "method" else values, kind="stable"
    )
    write_atomically(setting.out / "rows.csv", text(lines))
    main_measure = next(iter(use.measures))
    told = ", ".join(f"{arm} {value:.4g}" for arm, value in means(found, main_measure).items())
    say(f"{method}/s{seed}: {f'{main_measure} of {told}; ' * bool(told)}{seconds:.0f} s")
    undefined = dict.fromkeys(one.measure for one in found if not math.isfinite(one.value))
    if undefined:
        say(f"{method}/s{seed}: {', '.join(undefined)} is not defined everywhere; its cells are left blank")


def means(found: Sequence[Found], name: str) -> dict[str, float]:
    """The mean over conditions of a measure, by arm, where it is defined in all of them."""
    values: dict[str, list[float]] = {}
    undefined = {one.arm for one in found if one.measure == name and not math.isfinite(one.value)}
    for one in found:
        if one.measure == name and one.arm not in undefined:
            values.setdefault(one.arm, []).append(one.value)
    return {arm: sum(each) / len(each) for arm, each in values.items()}


def rows(use: Use, out: Path) -> DataFrame:
    """What is measured already, perhaps nothing; errors as of `read`."""
    return read(out / "rows.csv", use.methods) if (out / "rows.csv").exists() else DataFrame(columns=list(FIELDS))


def experiment(use: Use, setting: Setting) -> str:
    """The name of the study's experiment in MLflow."""
    return f"{use.name}-{slug(setting.splits.name)}"


def record(use: Use, setting: Setting, method: str, seed: int, found: Sequence[Found], store: Store) -> None:
    """A run of MLflow for each arm, with the mean over conditions of all that was measured."""
    from stacked.tracking.tracker import Tracker, set_aside
    from studies.figures.style import arm_colours

    colours = arm_colours(use.arms)
    for arm in dict.fromkeys(one.arm for one in found):
        name = f"{arm}/s{seed}"
        work = store.root / "work" / slug(f"{experiment(use, setting)}-{setting.out.name}-{name}")
        set_aside(store, work)
        tags = {"kind": "use", "arm": arm, "seed": seed, "study": use.name, "mlflow.runColor": colours[arm]}
        params = {"method": method, "data": setting.splits.name, "limit": setting.given.limit}
        with Tracker(store, experiment(use, setting), name=name, work=work, tags=tags, params=params) as run:
            mine = [one for one in found if one.arm == arm]
            values = {one.measure: means(mine, one.measure) for one in mine}
            run.log({f"final/{slug(measure)}": each[arm] for measure, each in values.items() if arm in each}, step=0)


def tell(use: Use, setting: Setting, store: Store) -> None:
    """Keep the report in MLflow, and say where it and the runs are."""
    from stacked.tracking.backend.client import StoreClient
    from stacked.tracking.backend.store import OUTAGES, reason_of
    from stacked.tracking.tracker import study_run
    from stacked.util.paths import without_login
    from stacked.viewing.server import address, typed_command

    try:
        with study_run(store, experiment(use, setting), f"{use.name}-{setting.out.name}") as run:
            shown = [("README.md", "report"), ("figures", "report/figures"), *((name, "report") for name in use.files)]
            for path, folder in ((setting.out / name, folder) for name, folder in shown):
                if path.exists():
                    run.artifact(path, folder)
        place = StoreClient(store, experiment(use, setting)).experiment_id
        print(
            f"In MLflow: {without_login(store.uri) if store.is_server else address()}/#/experiments/{place}",
            file=sys.stderr,
        )
        if not store.is_server:
            print(f"Start its UI with: {typed_command(store)}", file=sys.stderr)
    except OUTAGES as error:
        say(f"MLflow has no report of this ({reason_of(error)}): run the same again")
