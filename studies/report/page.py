"""The pages of a study of training runs: its README.md with figures, and its section in results/README.md."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from stacked.util.atomic import write_atomically
from studies.design.claims import Claim
from studies.design.drawing import Drawing
from studies.figures.figures import CAPTIONS, Record, caption, draw, drawn, names
from studies.report.tables import (
    failures,
    main_metrics,
    margins,
    means,
    selection_note,
    spread_note,
    supervised,
    table,
    verdicts,
)
from studies.report.tuning import draw_tuning, tuning_note
from studies.report.verbatim import code_block
from studies.report.verdicts import claims_table, comparisons_table
from studies.statistics.rows import curves_of, load_reference, load_rows, load_samples, trained_arms

TUNING_CAPTION = (
    "Expected best validation result of k trials against k, one line for each arm. Where a line still improves at the right end, "
    "more trials may find better settings."
)
UNCORRECTED = (
    "Intervals and p-values are of differences paired by seed; the p-values are not corrected for the number of "
    + "comparisons. "
)
#: returns the answer of a study in a few sentences, from its rows and the name of its reference arm
Quote: TypeAlias = Callable[[pd.DataFrame, str], str]


def write_report(
    out: Path,
    *,
    title: str,
    question: str,
    command: str,
    protocol: str,
    reference: str = "joint",
    claims: Sequence[Claim] = (),
    comparisons: Sequence[Claim] = (),
    quote: Quote | None = None,
    drawings: Mapping[str, Drawing[[Record]]] | None = None,
    figures: Sequence[str] | None = None,
    chosen: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write `out`/README.md and `out`/figures/*.png from the rows in `out`, each file atomically.

    claims, comparisons: are compared with the rows, in a table each. quote: returns the answer (None: the answer has one line
    for each metric). drawings: figures of this study, shown first. figures: names of the general figures to draw (None: all).
    chosen: the values of each arm that were tuned for the committed record of the study, if this record uses them.

    The page names the figures that were not drawn because their data are missing; their old files are deleted. Raises
    InputError for missing or malformed rows.
    """
    rows = load_rows(out)
    curves = curves_of(out)
    study = Record(rows, curves, load_reference(out), load_samples(out), reference)
    own = dict(drawings or {})
    general = [name for name in names(study) if name not in own and (figures is None or name in figures)]
    captions = {name: drawing.caption for name, drawing in own.items()} | {
        name: caption(name, study) for name in general
    }
    captions = {name: study.words.said(text) for name, text in captions.items()}
    shown = []
    for name in {**captions, **CAPTIONS}:
        path = out / "figures" / f"{name}.png"
        draw_own = own[name].draw if name in own else None
        png = (drawn(draw_own, study) if draw_own else draw(name, study)) if name in captions else None
        if png:
            write_atomically(path, png)
            shown.append(name)
        else:
            path.unlink(missing_ok=True)
    tuning = drawn(lambda _: draw_tuning(out), study)
    if tuning:
        write_atomically(out / "figures" / "tuning.png", tuning)
    parts = [
        f"# {title}",
        question,
        "## Answer",
        _quoted(quote, rows, reference),
        claims_table(rows, study.reference, claims)
        or ("" if quote else verdicts(rows, _headline_metrics(rows), reference)),
        comparisons_table(rows, study.reference, comparisons),
        _figure("headline", shown, captions) if "headline" in general else "",
        *(_figure(name, shown, captions) for name in own),
        "## Results",
        table(rows, main_metrics(rows), reference),
        "## Figures" if set(general) - {"headline"} else "",
        *(_figure(name, shown, captions) for name in general if name != "headline"),
        _not_drawn(shown, captions),
        "## Tuning",
        tuning_note(out, chosen),
        f"![tuning](figures/tuning.png)\n\n{TUNING_CAPTION}" if tuning else "",
        "## How it was made",
        code_block(command),
        protocol,
        _origin(rows),
    ]
    write_atomically(out / "README.md", "\n\n".join(part for part in parts if part) + "\n")


def headline(
    out: Path,
    root: Path | None = None,
    reference: str = "joint",
    claims: Sequence[Claim] = (),
    comparisons: Sequence[Claim] = (),
    *,
    quote: Quote | None = None,
    figure: str = "headline",
) -> str:
    """Return the section for results/README.md, without its markers: answer, figure, a compact table and notes.

    Links are relative to `root` (None: the folder above `out`). figure: name of the figure to show. Without `claims` and
    `quote` the section ends with a verdict for each metric. Raises InputError for missing or malformed rows.
    """
    rows = load_rows(out)
    link = Path(os.path.relpath(out, out.parent if root is None else root)).as_posix()
    metrics = _headline_metrics(rows)
    costs = [name for name in ("updates", "gflop", "train_seconds", "peak_mb", "codes_mb") if name in rows]
    parts = [
        _quoted(quote, rows, reference),
        f"[![{link}: results by arm]({link}/figures/{figure}.png)]({link}/README.md)",
        claims_table(rows, load_reference(out), claims) or means(rows, metrics, costs),
        comparisons_table(rows, load_reference(out), comparisons),
        f"{spread_note(rows)} {'' if claims else UNCORRECTED}{margins(rows)} {selection_note(rows)}"
        f"All metrics, intervals, figures and the command are on the page [{link}]({link}/README.md). {_made(rows)}",
        "" if claims or quote else verdicts(rows, metrics, reference, trained_arms(rows)),
        failures(rows),
    ]
    return "\n\n".join(part for part in parts if part)


def _made(rows: pd.DataFrame) -> str:
    """Return the number of runs, their commits and their total time; "" if the rows hold no commits."""
    commits = sorted({str(commit)[:7] for commit in rows.get("commit", ()) if commit})
    hours = float(rows["seconds"].sum()) / 3600 if "seconds" in rows else 0.0
    return (
        f"{len(rows)} runs with commit {', '.join(commits)}; all runs together took {hours:.1f} h." if commits else ""
    )


def _headline_metrics(rows: pd.DataFrame) -> list[str]:
    wanted = ["final/recon_mse", "final/probe_acc", *supervised(rows)]
    return [metric for metric in main_metrics(rows) if metric in wanted]


def _quoted(quote: Quote | None, rows: pd.DataFrame, reference: str) -> str:
    return f"> {quote(rows, reference)}" if quote else ""


def _figure(name: str, shown: Sequence[str], captions: Mapping[str, str]) -> str:
    return f"![{name.replace('_', ' ')}](figures/{name}.png)\n\n{captions[name]}" if name in shown else ""


def _not_drawn(shown: Sequence[str], captions: Mapping[str, str]) -> str:
    missing = [name for name in captions if name not in shown]
    return f"Not drawn, because their data are missing: {', '.join(missing)}." if missing else ""


def _origin(rows: pd.DataFrame) -> str:
    commits = sorted({str(commit) for commit in rows.get("commit", ()) if commit})
    measured = f"The rows were measured with commit {', '.join(commits)}. " if commits else ""
    return measured + (
        "This page and its figures are generated from runs.csv (one row for each run), curves.csv, reference.json "
        "and samples/; blank cells were not measured."
    )
