"""What a study found, for a terminal: a table of arms, the answer, and where the best encoder lies."""

from __future__ import annotations

import re
import shlex
import shutil
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.util.errors import printable
from studies.report.tables import failures, main_metrics, means, spread_note, verdicts
from studies.report.verdicts import check_claims, on_same_data, with_references
from studies.statistics import best
from studies.statistics.rows import load_reference, load_rows, trained_arms

if TYPE_CHECKING:
    import pandas as pd

    from studies.design.claims import Claim
    from studies.report.page import Quote

MSE = "final/recon_mse"
#: The columns of a terminal where they are not known, and the most that a paragraph takes.
UNKNOWN, WIDEST = 120, 100
#: The least columns of a table's cell, below which the words of its title are not wrapped.
NARROW = 10
#: The spread or the interval of a mean, left out of tables that are too wide.
_SPREAD = re.compile(r" (?:± [\d.,e−-]+|\([^()]* to [^()]*\))")


def ending(out: Path, work: Path, reference: str, quote: Quote | None = None, claims: Sequence[Claim] = ()) -> str:
    """What the record in `out` says: table and answer, and the paths of the best encoder and classifier in `work`."""
    rows = load_rows(out)
    models = (best_supervised(rows, work, kind) for kind in ("classifier", "regressor"))
    paths = "\n".join(filter(None, [best_encoder(rows, work), *models]))
    return "\n\n".join(filter(None, [outcome(rows, reference, quote, claims, load_reference(out)), paths]))


def outcome(
    rows: pd.DataFrame,
    reference: str,
    quote: Quote | None = None,
    claims: Sequence[Claim] = (),
    levels: Mapping[str, float] | None = None,
) -> str:
    """The table of arms (error, probe, classifiers, cost) and the answer of a study of training runs."""
    metrics = [name for name in main_metrics(rows) if "recon" not in name or name == MSE]
    costs = [name for name in ("gflop", "seconds") if name in rows]
    if claims:
        found = check_claims(with_references(rows, levels or {}), on_same_data(rows, claims))
        counts = Counter(one.verdict for one in found)
        answer = f"Claims of the paper: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}."
    else:
        answer = quote(rows, reference) if quote else verdicts(rows, metrics[:2], reference, trained_arms(rows))
    table = plain(means(rows, metrics, costs))
    note = plain(spread_note(rows)) if "±" in table else ""
    return "\n\n".join(filter(None, [table, note, plain(answer), plain(failures(rows))]))


def best_encoder(rows: pd.DataFrame, work: Path) -> str:
    """Where the trained encoder with the lowest error on validation images lies below `work`; "" without one."""
    row = best.best_run(rows)
    if row is None:
        return ""
    which = f"Best encoder by validation error ({row['arm']}, seed {row['seed']})"
    return f"{which}: {_place(work / str(row['run']) / 'encoder.safetensors', work)}"


def best_supervised(rows: pd.DataFrame, work: Path, kind: str) -> str:
    """Where the model of most labels with the highest validation score lies, as `best_encoder`; "" without one.

    kind: "classifier", scored by accuracy, or "regressor", by R².
    """
    found = best.best_supervised(rows, kind)
    if found is None:
        return ""
    row, labels = found
    score = {"classifier": "accuracy", "regressor": "R²"}[kind]
    which = f"Best {kind} by validation {score} ({row['arm']}, seed {row['seed']}, {labels} labels)"
    return f"{which}: {_place(work / str(row['run']) / f'{kind}-{labels}.safetensors', work)}"


def _place(path: Path, work: Path) -> str:
    """A path to paste into a shell, or that there is no such file."""
    if not path.exists():
        return f"not in {work}, trained elsewhere"
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def plain(text: str, width: int | None = None) -> str:
    """Markdown as a terminal shows it best: tables with columns of equal width, paragraphs wrapped, no figures and no marks.

    width: of the terminal (None: asked for). A table that is wider goes without spreads and intervals.
    """
    width = width or shutil.get_terminal_size((UNKNOWN, 24)).columns
    parts = []
    shown = (printable(line) for line in text.split("\n"))  # records of others may hold control characters
    for is_table, lines in groupby(shown, lambda line: line.startswith("|")):
        if is_table:
            cells = [[_unmarked(cell) for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])] for line in lines]
            parts.append(_aligned(cells[0], cells[2:], width))
            continue
        for line in lines:
            if line and not line.startswith(("!", "[!")):
                indent = "  " * line.startswith("- ")
                parts.append(textwrap.fill(_unmarked(line), min(width, WIDEST), subsequent_indent=indent))
            elif not line and parts and parts[-1]:
                parts.append("")
    return "\n".join(parts).strip("\n")


def _unmarked(text: str) -> str:
    """A line without the marks of Markdown."""
    text = re.sub(r"\*\*|^(?:>|#+) ", "", text.strip())
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\\([\\`*_\[\]<>|$~&#])", r"\1", text)


def _aligned(header: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> str:
    """A table with columns of equal width, numbers flush right and titles wrapped."""
    wide = [max([NARROW, *(len(line[column]) for line in lines)]) for column in range(len(header))]
    if sum(wide) + 2 * len(wide) > width and any(_SPREAD.search(cell) for line in lines for cell in line):
        return _aligned(header, [[_SPREAD.sub("", cell) for cell in line] for line in lines], width)
    words = [any(line[column][:1].isalpha() for line in lines) for column in range(len(header))]
    titles = [textwrap.wrap(title, most, break_long_words=False) for title, most in zip(header, wide, strict=True)]
    wide = [max([0, *map(len, title), *(len(line[column]) for line in lines)]) for column, title in enumerate(titles)]
    heads = [[part or "" for part in row][: len(wide)] for row in zip_longest(*titles)]

    def joined(cells: Sequence[str]) -> str:
        both = zip(cells, wide, words, strict=True)
        return "  ".join(cell.ljust(most) if word else cell.rjust(most) for cell, most, word in both).rstrip()

    rule = "  ".join("-" * most for most in wide)
    return "\n".join([*map(joined, heads), rule, *map(joined, lines)])
