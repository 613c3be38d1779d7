"""The pages a study leaves behind: its own README with figures, and the block of the project's README."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from stacked.atomic import write_atomically
from stacked.errors import InputError
from studies.report.figures import CAPTIONS, Record, draw
from studies.report.measures import budgets
from studies.report.rows import load_curves, load_reference, load_rows, load_samples
from studies.report.tables import failures, main_metrics, means, spread_note, table, trained_arms, verdicts


def write_report(
    out: Path, *, title: str, question: str, command: str, protocol: str, reference: str = "joint"
) -> None:
    """Write `out`/README.md and `out`/figures/*.png from the rows in `out`, each file atomically.

    A figure whose data are missing is named as not drawn, and its picture from an earlier report removed.
    Raises InputError for missing or malformed rows.
    """
    rows = load_rows(out)
    curves = load_curves(out) if (out / "curves.csv").exists() else None
    study = Record(rows, curves, load_reference(out), load_samples(out), reference)
    drawn = []
    for name in CAPTIONS:
        path = out / "figures" / f"{name}.png"
        if picture := draw(name, study):
            write_atomically(path, picture)
            drawn.append(name)
        else:
            path.unlink(missing_ok=True)
    parts = [
        f"# {title}",
        question,
        "## Answer",
        verdicts(rows, _headline_metrics(rows), reference),
        _figure("headline", drawn),
        "## Results",
        table(rows, main_metrics(rows), reference),
        "## Figures",
        *(_figure(name, drawn) for name in CAPTIONS if name != "headline"),
        _not_drawn(drawn),
        "## How it was made",
        f"```\n{command}\n```",
        protocol,
        _origin(rows),
    ]
    write_atomically(out / "README.md", "\n\n".join(part for part in parts if part) + "\n")


def headline(out: Path, root: Path | None = None, reference: str = "joint") -> str:
    """The block for the project's README: headline figure, compact table, verdicts on trained arms.

    It comes without the markers. Links are relative to `root`, by default the folder two levels above `out`
    (results/<study>). Raises InputError for missing or malformed rows.
    """
    rows = load_rows(out)
    link = Path(os.path.relpath(out, out.parent.parent if root is None else root)).as_posix()
    metrics = _headline_metrics(rows)
    costs = [name for name in ("updates", "gflop", "train_seconds") if name in rows]
    parts = [
        f"[![{out.name}: results by arm]({link}/figures/headline.png)]({link}/README.md)",
        means(rows, metrics, costs),
        f"{spread_note(rows)} Intervals and p-values are of differences paired by seed; the p-values are not "
        "corrected for the number of comparisons. "
        f"Every metric, interval and figure, and the command: [{link}]({link}/README.md). {_made(rows)}",
        verdicts(rows, metrics, reference, trained_arms(rows)),
        failures(rows),
    ]
    return "\n\n".join(part for part in parts if part)


def update_readme(readme: Path, name: str, block: str) -> None:
    """Put `block` between the markers <!-- begin: name --> and <!-- end: name -->, all else as it was.

    Raises InputError when the file does not hold each marker exactly once, in order.
    """
    text = _read(readme)
    start, end = _between(text, readme, name)
    write_atomically(readme, f"{text[:start]}\n{block.strip()}\n{text[end:]}")


def readme_block(readme: Path, name: str) -> str:
    """What stands between the markers, as given to `update_readme`; errors as there."""
    text = _read(readme)
    start, end = _between(text, readme, name)
    return text[start:end].strip()


def _between(text: str, readme: Path, name: str) -> tuple[int, int]:
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    once = text.count(begin) == text.count(end) == 1
    if not once or text.index(begin) > text.index(end):
        raise InputError(f"{readme} must hold the lines {begin!r} and {end!r} once each, in this order: add them")
    return text.index(begin) + len(begin), text.index(end)


def _made(rows: pd.DataFrame) -> str:
    """Which code made the rows and what they cost, as far as the rows tell."""
    commits = sorted({str(commit)[:7] for commit in rows.get("commit", ()) if commit})
    hours = float(rows["seconds"].sum()) / 3600 if "seconds" in rows else 0.0
    return f"{len(rows)} runs by commit {', '.join(commits)}, {hours:.1f} h of runs in all." if commits else ""


def _headline_metrics(rows: pd.DataFrame) -> list[str]:
    known = budgets(rows.columns)
    wanted = ["final/recon_mse", "final/probe_acc", *(f"final/classifier_acc_{budget}" for budget in known)]
    return [metric for metric in main_metrics(rows) if metric in wanted]


def _figure(name: str, drawn: list[str]) -> str:
    return f"![{name.replace('_', ' ')}](figures/{name}.png)\n\n{CAPTIONS[name]}" if name in drawn else ""


def _not_drawn(drawn: list[str]) -> str:
    missing = [name for name in CAPTIONS if name not in drawn]
    return f"Not drawn, for want of data: {', '.join(missing)}." if missing else ""


def _origin(rows: pd.DataFrame) -> str:
    commits = sorted({str(commit) for commit in rows.get("commit", ()) if commit})
    made = f"Rows made by commit {', '.join(commits)}. " if commits else ""
    return made + (
        "This page and its figures are generated from runs.csv (one row a run), curves.csv, reference.json "
        "and samples/; blank cells were not measured."
    )


def _read(readme: Path) -> str:
    try:
        return readme.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{readme} does not exist: name the project's README") from error
