"""The page of a study of measurements: means with intervals, paired differences, a table for each measure, and figures."""

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
    from studies.measuring.design import MeasurementDesign

#: Note for studies that compare ways of training with the same settings.
NOT_TUNED = (
    " `layer-wise` and `joint` use the same settings, which were not tuned for either: their difference does not show which way "
    "of training is better."
)


def undefined(study: MeasurementDesign, out: Path) -> str:
    """Return a sentence on the measures that are not defined for some arms; "" if all are defined."""
    blank = read(out / "rows.csv").query("value.isna()")
    names = [
        f"{study.measures[name].label if name in study.measures else name} ({', '.join(dict.fromkeys(part['arm']))})"
        for name, part in blank.groupby("measure", sort=False)
    ]
    return f"Values that are not defined are left out: {'; '.join(names)}." if names else ""


def draw(study: MeasurementDesign, rows: pd.DataFrame, out: Path) -> list[str]:
    """Write the figures of a study to the folder of its record; return each with its caption, as Markdown."""
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


def report(study: MeasurementDesign, out: Path, command: str, made_with: str, used: Mapping[str, Any]) -> str:
    """Write the figures and README.md from the rows in `out`; return the page.

    made_with: sentence on versions and machine. used: values that the protocol can name in braces.
    """
    rows = load(out)
    shown = draw(study, rows, out)
    for name, make in study.files.items():
        with fitting(out, name):
            content = make(rows, out)
        if content is not None:
            write_atomically(out / name, content)
            shown.append(f"Interactive version: [{name}]({name}), a single HTML file.")
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
        f"The rows were measured with commit {', '.join(sorted(set(rows['commit'])))}. {made_with} This page is generated from "
        "rows.csv.",
    ]
    page = "\n\n".join(part for part in parts if part) + "\n"
    write_atomically(out / "README.md", page)
    return page


def ending(study: MeasurementDesign, out: Path) -> str:
    """The table of arms, the answer, and where page and figures are, for a terminal."""
    rows = load(out)
    found = plain("\n\n".join(filter(None, [summary(study, rows), note(study, rows), answered(study, rows)])))
    return f"\n{found}\n\n{places(out)}"


def places(out: Path) -> str:
    """Where the page and the figures are, for a terminal."""
    return f"All tables and the protocol: {out / 'README.md'}; figures: {out / 'figures'}"


@contextmanager
def fitting(out: Path, what: str) -> Iterator[None]:
    """Context that raises InputError if valid rows and samples do not fit together, so that `what` cannot be generated."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{what} cannot be generated from the rows and samples in {out} ({type(error).__name__}: {error}): restore them, or "
            "measure again with another --out"
        ) from error


def section(study: MeasurementDesign, out: Path, root: Path) -> str:
    """Return the section of the record in `out` for results/README.md, as Markdown. root: the folder of that file."""
    rows, link = load(out), Path(os.path.relpath(out.resolve(), root.resolve())).as_posix()
    first = next(iter(study.drawings))
    parts = [
        answered(study, rows),
        f"[![{study.title}]({link}/figures/{first}.png)]({link}/README.md)",
        summary(study, rows),
        f"{means(study, rows)}{not_tuned(study)} Differences, conditions, protocol and command: [{link}]({link}/README.md).",
    ]
    return "\n\n".join(part for part in parts if part)


def answered(study: MeasurementDesign, rows: pd.DataFrame) -> str:
    """Return the answer of the study as a Markdown quotation; "" if it has none."""
    text = study.answer(rows)
    return f"> {text}" if text else ""


def shared(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of conditions under which every arm and seed of a measure was measured.

    Means over conditions are comparable between arms only if the conditions are the same for all arms.
    """
    counts = rows.groupby(["measure", "condition"])["value"].transform("size")
    complete = rows.drop_duplicates(["measure", "arm", "seed"]).groupby("measure").size()
    return rows[counts == rows["measure"].map(complete)]


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each arm and seed, with the mean of each measure over the conditions that all arms share."""
    keys = ["arm", "seed"]
    table = shared(rows).pivot_table(index=keys, columns="measure", values="value", aggfunc="mean")
    arms_and_seeds = pd.MultiIndex.from_frame(rows[keys].drop_duplicates().sort_values(keys))
    return table.reindex(arms_and_seeds).reset_index().assign(status=FINISHED)


def present(study: MeasurementDesign, rows: pd.DataFrame) -> list[str]:
    """Return the measured arms in the order of the study."""
    measured = set(rows["arm"])
    return [*(arm for arm in study.arms if arm in measured), *sorted(measured - set(study.arms))]


def interval(values: pd.Series, measure: Measure) -> str:
    """Return a mean with its 95 % interval over seeds as text; only the mean if seeds do not differ or are fewer than three."""
    mean, low, high = mean_interval(values.dropna())
    if not len(values.dropna()):
        return "–"
    decimals = measure.places(mean)
    shown, lower, upper = (f"{round(value, decimals) + 0.0:.{decimals}f}" for value in (mean, low, high))  # no "-0.0"
    return f"{shown} ({lower} to {upper})" if low < high and not shown == lower == upper else shown


def summary(study: MeasurementDesign, rows: pd.DataFrame) -> str:
    """Return a Markdown table with a line for each arm and a column for each measure."""
    table, lines = wide(rows), []
    for arm in present(study, rows):
        mine = table[table["arm"] == arm]
        cells = [interval(mine[name], m) if name in mine else "–" for name, m in study.measures.items()]
        flops = f"{mine['gflop'].mean():,.0f}" if "gflop" in mine and mine["gflop"].notna().any() else "–"
        lines.append([arm, str(len(mine)), *cells, flops, f"{mine['seconds'].mean():.0f}"])
    heads = [
        f"{m.label} ({'higher' if m.better == 'higher' else 'lower'} is better{within(study, rows, name)})"
        for name, m in study.measures.items()
    ]
    return markdown(["", "seeds", *heads, "training GFLOP", "seconds per seed"], lines)


def within(study: MeasurementDesign, rows: pd.DataFrame, name: str) -> str:
    """Return the conditions over which the means of a measure are taken, as text; "" if these are all conditions."""
    mine = rows[(rows["measure"] == name) & (rows["condition"] != "")]
    every, common = (list(dict.fromkeys(part["condition"])) for part in (mine, shared(mine)))
    if len(common) == len(every):
        return ""
    return f"; {study.conditions}: {', '.join(map(verbatim, common)) or 'none in common'}"


def note(study: MeasurementDesign, rows: pd.DataFrame) -> str:
    """Return the note that explains the numbers of the tables."""
    return (
        f"{means(study, rows)} A seed changes {study.varies}. Seconds and GFLOP are those of one seed with all its conditions; "
        "methods that use the same network report the same training. GFLOP are counted only for training with this package."
        f"{not_tuned(study)}"
    )


def not_tuned(study: MeasurementDesign) -> str:
    """Return a sentence for studies that compare ways of training with the same settings; "" for others."""
    return NOT_TUNED if {"layer-wise", "joint"} <= {arm.partition(",")[0] for arm in study.arms} else ""


def means(study: MeasurementDesign, rows: pd.DataFrame) -> str:
    """Return the sentence that says over what the means of the tables are."""
    mine = rows[(rows["condition"] != "") & rows["measure"].isin(list(study.measures))]
    conditions = mine["condition"].nunique()
    restricted = {bool(within(study, rows, name)) for name in set(mine["measure"])}
    over = ""
    if conditions > 1 and restricted == {True}:
        over = " and over the conditions in the heading of the column, which all arms have"
    elif conditions > 1:
        over = f" and over {conditions} conditions"
        if True in restricted:
            over += " (or those in the heading of the column, which all arms have)"
    return f"Means over seeds{over}, with 95 % t intervals over seeds in brackets where seeds differ."


def differences(study: MeasurementDesign, rows: pd.DataFrame) -> str:
    """Return a Markdown table of the paired differences of each arm from the first, for the first measure."""
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
    better = f" ({measure.better} is better)" if measure.better else ""
    head = ["", "pairs", f"{measure.label}: difference from {arms[0]}{better}", "95 % interval", "p"]
    return markdown(head, lines)


def by_condition(study: MeasurementDesign, rows: pd.DataFrame, name: str) -> str:
    """Return a Markdown table of a measure, with a line for each condition and a column for each arm."""
    mine = rows[(rows["measure"] == name) & (rows["condition"] != "")]
    if mine["condition"].nunique() < 2:
        return ""
    measure, arms = study.measures[name], present(study, mine)
    lines = [
        [verbatim(condition), *(interval(part[part["arm"] == arm]["value"], measure) for arm in arms)]
        for condition, part in ((c, mine[mine["condition"] == c]) for c in dict.fromkeys(mine["condition"]))
    ]
    better = f" ({measure.better} is better)" if measure.better else ""
    return f"## {measure.label}{better}\n\n{markdown([study.conditions, *arms], lines)}"
