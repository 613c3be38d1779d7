"""The page of a study of measurements: means with intervals, paired differences, a table a measure, and figures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from stacked.util.atomic import write_atomically
from stacked.util.errors import InputError
from studies.figures.style import png, style
from studies.report.tables import markdown
from studies.report.terminal import plain
from studies.report.verbatim import code_block, verbatim
from studies.statistics.measurement_rows import load, read
from studies.statistics.measures import Measure, p_text
from studies.statistics.pairing import mean_interval, paired
from studies.statistics.rows import FINISHED

if TYPE_CHECKING:
    from studies.measuring.study import MeasurementStudy

#: Of arms that differ in how they are trained, and share settings.
NOT_TUNED = (
    " `layer-wise` and `joint` share settings that were not tuned for each: their difference does not tell which way to train is "
    "better."
)


def undefined(study: MeasurementStudy, out: Path) -> str:
    """Which measures were not defined, for which arms; "" where all were."""
    blank = read(out / "rows.csv").query("value.isna()")
    told = [
        f"{study.measures[name].label if name in study.measures else name} ({', '.join(dict.fromkeys(part['arm']))})"
        for name, part in blank.groupby("measure", sort=False)
    ]
    return f"Not defined everywhere, and left out where it is not: {'; '.join(told)}." if told else ""


def draw(study: MeasurementStudy, rows: pd.DataFrame, out: Path) -> list[str]:
    """Write the figures of a study into the folder of its record; returns each with its caption, as Markdown."""
    shown = []
    with style():
        for name, drawing in study.drawings.items():
            with fitting(out, name):
                path, figure = out / "figures" / f"{name}.png", drawing.draw(rows, out)
            if figure is None:
                path.unlink(missing_ok=True)
                continue
            write_atomically(path, png(figure))
            shown.append(f"![{name}](figures/{name}.png)\n\n*{drawing.caption}*")
    return shown


def report(study: MeasurementStudy, out: Path, command: str, made_with: str, used: Mapping[str, Any]) -> str:
    """Write figures and README.md beside the rows in `out`; returns the page. The protocol may name the values `used`."""
    rows = load(out)
    shown = draw(study, rows, out)
    for name, make in study.files.items():
        with fitting(out, name):
            content = make(rows, out)
        if content is not None:
            write_atomically(out / name, content)
            shown.append(f"To look at more closely: [{name}]({name}), a page of one file.")
    with fitting(out, "an answer"):
        answer = answered(study, rows)
    parts = [
        f"# {study.title}",
        study.question,
        answer,
        *shown[:1],
        summary(study, rows),
        note(study, rows),
        undefined(study, out),
        differences(study, rows),
        *shown[1:],
        *(by_condition(study, rows, name) for name in study.measures),
        "## How it was made",
        code_block(command),
        study.protocol.format_map(
            {key: verbatim(value) if isinstance(value, str) else value for key, value in used.items()}
        ),
        f"Rows made by commit {', '.join(sorted(set(rows['commit'])))}. {made_with} Generated from rows.csv.",
    ]
    page = "\n\n".join(part for part in parts if part) + "\n"
    write_atomically(out / "README.md", page)
    return page


def ending(study: MeasurementStudy, out: Path) -> str:
    """The table of arms, the answer, and where page and figures are, for a terminal."""
    rows = load(out)
    found = plain("\n\n".join(filter(None, [summary(study, rows), note(study, rows), answered(study, rows)])))
    return f"\n{found}\n\n{places(out)}"


def places(out: Path) -> str:
    """Where the page and the figures are, for a terminal."""
    return f"All tables and the protocol: {out / 'README.md'}; figures: {out / 'figures'}"


@contextmanager
def fitting(out: Path, what: str) -> Iterator[None]:
    """Raise InputError where rows and pictures, each of which was read as it must be, do not fit together as `what` needs."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"the rows and samples in {out} do not make {what} ({type(error).__name__}: {error}): restore them, or measure anew "
            "with another --out"
        ) from error


def block(study: MeasurementStudy, out: Path, root: Path) -> str:
    """What the index of records says of the record in `out`."""
    rows, link = load(out), Path(os.path.relpath(out.resolve(), root.resolve())).as_posix()
    first = next(iter(study.drawings))
    parts = [
        answered(study, rows),
        f"[![{study.title}]({link}/figures/{first}.png)]({link}/README.md)",
        summary(study, rows),
        f"{note(study, rows)} Differences, conditions, protocol and command: [{link}]({link}/README.md).",
    ]
    return "\n\n".join(part for part in parts if part)


def answered(study: MeasurementStudy, rows: pd.DataFrame) -> str:
    """What the rows say, as a quotation."""
    text = study.answer(rows)
    return f"> {text}" if text else ""


def shared(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a measure under conditions in which every arm that has it was measured with each of its seeds.

    Means over conditions compare nothing but arms where these are the same for all.
    """
    there = rows.groupby(["measure", "condition"])["value"].transform("size")
    everyone = rows.drop_duplicates(["measure", "arm", "seed"]).groupby("measure").size()
    return rows[there == rows["measure"].map(everyone)]


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each arm and seed, with the mean of every measure over the conditions that arms share."""
    keys = ["arm", "seed"]
    table = shared(rows).pivot_table(index=keys, columns="measure", values="value", aggfunc="mean")
    everyone = pd.MultiIndex.from_frame(rows[keys].drop_duplicates().sort_values(keys))
    return table.reindex(everyone).reset_index().assign(status=FINISHED)


def present(study: MeasurementStudy, rows: pd.DataFrame) -> list[str]:
    """The arms that were measured, in the study's order."""
    there = set(rows["arm"])
    return [*(arm for arm in study.arms if arm in there), *sorted(there - set(study.arms))]


def interval(values: pd.Series, measure: Measure) -> str:
    """A mean with its 95 % interval over seeds; without one where seeds do not differ, or there is one only."""
    mean, low, high = mean_interval(values.dropna())
    if not len(values.dropna()):
        return "–"
    decimals = measure.places(mean)
    told, least, most = (f"{round(value, decimals) + 0.0:.{decimals}f}" for value in (mean, low, high))  # no "-0.0"
    return f"{told} ({least} to {most})" if low < high and not told == least == most else told


def summary(study: MeasurementStudy, rows: pd.DataFrame) -> str:
    """A line for each arm with all its measures."""
    table, lines = wide(rows), []
    for arm in present(study, rows):
        mine = table[table["arm"] == arm]
        cells = [interval(mine[name], m) if name in mine else "–" for name, m in study.measures.items()]
        flops = f"{mine['gflop'].mean():,.0f}" if "gflop" in mine and mine["gflop"].notna().any() else "–"
        lines.append([arm, str(len(mine)), *cells, flops, f"{mine['seconds'].mean():.0f}"])
    heads = [
        f"{m.label} ({'more' if m.better == 'higher' else 'less'} is better{within(study, rows, name)})"
        for name, m in study.measures.items()
    ]
    return markdown(["", "seeds", *heads, "training GFLOP", "seconds a seed"], lines)


def within(study: MeasurementStudy, rows: pd.DataFrame, name: str) -> str:
    """Under which conditions a measure's means are taken, where these are not all of them."""
    mine = rows[(rows["measure"] == name) & (rows["condition"] != "")]
    every, common = (list(dict.fromkeys(part["condition"])) for part in (mine, shared(mine)))
    return (
        ""
        if len(common) == len(every)
        else f"; {study.conditions}: {', '.join(map(verbatim, common)) or 'none in common'}"
    )


def note(study: MeasurementStudy, rows: pd.DataFrame) -> str:
    """What the tables' numbers are."""
    mine = rows[(rows["condition"] != "") & rows["measure"].isin(list(study.measures))]
    conditions = mine["condition"].nunique()
    restricted = {bool(within(study, rows, name)) for name in set(mine["measure"])}
    over = ""
    if conditions > 1 and restricted == {True}:
        over = " of the mean over the conditions that a column names, in which all its arms were measured"
    elif conditions > 1:
        over = f" of the mean over {conditions} conditions"
        if True in restricted:
            over += ", or where a column names some, over those in which all its arms were measured"
    return (
        f"Means over seeds{over}, in brackets their 95 % t intervals where seeds differ; a seed varies {study.varies}. FLOPs and "
        "seconds are of a seed with all its conditions; arms of one training share them. GFLOP are counted for our own training "
        f"alone.{NOT_TUNED if {'layer-wise', 'joint'} <= {arm.partition(',')[0] for arm in study.arms} else ''}"
    )


def differences(study: MeasurementStudy, rows: pd.DataFrame) -> str:
    """How every other arm differs from the first on the main measure, paired by seed."""
    arms, (name, measure) = present(study, rows), next(iter(study.measures.items()))
    table, lines = wide(rows), []
    for arm in arms[1:]:
        if name not in table:
            continue
        found = paired(table, name, arm, arms[0])
        if not found.n:
            continue
        d = measure.places(found.difference)
        between = f"{found.low:+.{d}f} to {found.high:+.{d}f}" if found.has_interval else "–"
        lines.append(
            [arm, str(found.n), f"{found.difference:+.{d}f}", between, p_text(found.p) if found.has_interval else "–"]
        )
    if not lines:
        return ""
    head = ["", "pairs", f"{measure.label}: difference from {arms[0]}", "95 % interval", "p"]
    return markdown(head, lines)


def by_condition(study: MeasurementStudy, rows: pd.DataFrame, name: str) -> str:
    """A measure under every condition, an arm a column."""
    mine = rows[(rows["measure"] == name) & (rows["condition"] != "")]
    if mine["condition"].nunique() < 2:
        return ""
    measure, arms = study.measures[name], present(study, mine)
    lines = [
        [verbatim(condition), *(interval(part[part["arm"] == arm]["value"], measure) for arm in arms)]
        for condition, part in ((c, mine[mine["condition"] == c]) for c in dict.fromkeys(mine["condition"]))
    ]
    return f"## {measure.label}\n\n{markdown([study.conditions, *arms], lines)}"
