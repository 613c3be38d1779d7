"""The table of all claims of all papers, from their committed records."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from pkgutil import iter_modules

import studies.papers
from stacked.util.checks import need
from studies.design.claims import Claim
from studies.framework.training_study import TrainingStudy
from studies.record.names import slug
from studies.report.tables import markdown
from studies.report.verdicts import (
    EXACT,
    RULES_OF_PAPER,
    Tested,
    corrected,
    datasets_of,
    rules,
    stated,
    tested,
    with_references,
)
from studies.statistics.measures import measure, p_cell
from studies.statistics.rows import load_reference, load_rows

TITLE = "# Papers\n\nWhat papers report, what was found here, and a verdict by a fixed rule."
FIGURE = (
    "![variations](figures/variations.png)\n\nTraining images of the generated sets of Larochelle et al. 2007, with their "
    "classes, and of Hinton & Salakhutdinov 2006 (curves), drawn by `python -m studies.papers.variations`."
)
HEADER = [
    *("paper", "claim", "data", "paper's value", "here (95 % interval)", "seeds"),
    *("p, Holm", "verdict", "what differs", "hours"),
]


def papers() -> list[TrainingStudy]:
    """Return the studies of papers, found in their modules, by the name of the paper and their own."""
    modules = (
        import_module(f"{studies.papers.__name__}.{info.name}") for info in iter_modules(studies.papers.__path__)
    )
    found = [study for module in modules if isinstance(study := getattr(module, "STUDY", None), TrainingStudy)]
    return sorted((study for study in found if study.claims), key=lambda study: (paper_of(study), study.name))


def paper_of(study: TrainingStudy) -> str:
    """Return the name of the paper that a study reproduces, which several studies may share."""
    return study.paper or study.name


def records(study: TrainingStudy, results: Path) -> list[Path]:
    """Return the folders of the records of a paper: results/NAME, or results/NAME/DATA for each dataset of its claims."""
    names = dict.fromkeys(slug(claim.data) for claim in study.claims)
    places = [results / study.name, *(results / study.name / name for name in names)]
    return [place for place in places if (place / "runs.csv").exists()]


def page(results: Path) -> str:
    """Return the page with the table, as Markdown; links are relative to results/papers."""
    lines, missing, shown = [], [], list[Claim]()
    for _, of_paper in groupby(papers(), key=paper_of):
        studies = list(of_paper)
        found = claims_of(studies, results)
        lines += lines_of(found, results)
        shown += [claim for *_, claim, _ in found]
        for study in studies:
            told = {claim for one, _, claim, _ in found if one is study}
            if left := [claim for claim in study.claims if claim not in told]:
                missing.append(f"- {study.title}: {len(left)} claims, `{study.prog}`")
    note = "Not run yet:\n\n" + "\n".join(missing) if missing else ""
    table = markdown(HEADER, lines) if lines else ""
    figure = FIGURE if (results / "papers" / "figures" / "variations.png").exists() else ""
    of_rules = rules(RULES_OF_PAPER, shown) if lines else ""
    return "\n\n".join(part for part in (TITLE, table, note, of_rules, figure) if part) + "\n"


def claims_of(studies: Sequence[TrainingStudy], results: Path) -> list[tuple[TrainingStudy, Path, Claim, Tested]]:
    """Return the claims on the data of each record of the studies of a paper, with its folder, and their results.

    All of them are one family of Holm's correction, whatever study and dataset they are of.
    """
    found: list[tuple[TrainingStudy, Path, Claim, Tested]] = []
    for study in studies:
        for folder in records(study, results):
            rows = load_rows(folder)
            claimed = [claim for claim in study.claims if claim.data in datasets_of(rows)]
            exact = {arm for claim in claimed for arm in (claim.arm, claim.against, claim.stays_at) if arm in EXACT}
            need(
                not exact or (folder / "reference.json").exists(),
                f"{folder / 'reference.json'} does not exist, and claims compare with {' and '.join(sorted(exact))}: restore it, "
                "or give the command of the study again, which writes it",
            )
            known = with_references(rows, load_reference(folder))
            found += [(study, folder, claim, tested(known, claim)) for claim in claimed]
    family = corrected([result for *_, result in found])
    return [(study, folder, claim, result) for (study, folder, claim, _), result in zip(found, family, strict=True)]


def lines_of(found: Sequence[tuple[TrainingStudy, Path, Claim, Tested]], results: Path) -> list[list[str]]:
    """Return a line of the table for each result that `claims_of` returns."""
    lines = []
    for study, folder, claim, result in found:
        hours = f"{float(load_rows(folder)['seconds'].sum()) / 3600:.1f}"
        link = f"[{study.name}](../{folder.relative_to(results).as_posix()}/README.md)"
        lines.append([link, *cells(claim, result), hours])
    return lines


def cells(claim: Claim, found: Tested) -> list[str]:
    """Return the cells of a claim, from its text to what differs."""
    result = [found.here, found.seeds, p_cell(found.corrected), f"**{found.verdict}**"]
    text = f"{claim.text} ({measure(claim.metric).label})"
    return [text, claim.data, stated(claim), *result, claim.differs or "–"]
