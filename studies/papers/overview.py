"""The table of all claims of all papers, from their committed records."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import studies.papers
from studies.design.claims import Claim
from studies.framework.training_study import TrainingStudy
from studies.record.names import slug
from studies.report.claims import RULES, Tested, check_claims, datasets_of, stated, with_references
from studies.report.tables import markdown
from studies.statistics.measures import measure, p_cell
from studies.statistics.rows import load_reference, load_rows

TITLE = "# Papers\n\nWhat papers report, what was found here, and a verdict by a fixed rule."
FIGURE = (
    "![variations](figures/variations.png)\n\nTraining images of the generated sets of Larochelle et al. 2007, with their "
    "classes, drawn by `python -m studies.papers.variations`."
)
HEADER = [
    *("paper", "claim", "data", "paper's value", "here (95 % interval)", "seeds"),
    *("p, Holm", "verdict", "what differs", "hours"),
]


def papers() -> list[TrainingStudy]:
    """Return the studies of papers, found in their modules, by name."""
    modules = (
        import_module(f"{studies.papers.__name__}.{info.name}") for info in iter_modules(studies.papers.__path__)
    )
    found = [study for module in modules if isinstance(study := getattr(module, "STUDY", None), TrainingStudy)]
    return sorted((study for study in found if study.claims), key=lambda study: study.name)


def records(study: TrainingStudy, results: Path) -> list[Path]:
    """Return the folders of the records of a paper: results/NAME, or results/NAME/DATA for each dataset of its claims."""
    names = dict.fromkeys(slug(claim.data) for claim in study.claims)
    places = [results / study.name, *(results / study.name / name for name in names)]
    return [place for place in places if (place / "runs.csv").exists()]


def page(results: Path) -> str:
    """Return the page with the table, as Markdown; links are relative to results/papers."""
    lines, missing = [], []
    for study in papers():
        folders = records(study, results)
        told = set[Claim]()
        for folder in folders:
            lines += lines_of(study, folder, results, told)
        if left := [claim for claim in study.claims if claim not in told]:
            missing.append(f"- {study.title}: {len(left)} claims, `{study.prog}`")
    note = "Not run yet:\n\n" + "\n".join(missing) if missing else ""
    table = markdown(HEADER, lines) if lines else ""
    figure = FIGURE if (results / "papers" / "figures" / "variations.png").exists() else ""
    return "\n\n".join(part for part in (TITLE, table, note, RULES if lines else "", figure) if part) + "\n"


def lines_of(study: TrainingStudy, folder: Path, results: Path, told: set[Claim]) -> list[list[str]]:
    """Return a line for each claim on the data of a record, and add these claims to `told`."""
    rows = load_rows(folder)
    known = with_references(rows, load_reference(folder))
    claims = [claim for claim in study.claims if claim.data in datasets_of(rows)]
    hours = f"{float(rows['seconds'].sum()) / 3600:.1f}"
    link = f"[{study.name}](../{folder.relative_to(results).as_posix()}/README.md)"
    told.update(claims)
    return [
        [link, *cells(claim, found), hours] for claim, found in zip(claims, check_claims(known, claims), strict=True)
    ]


def cells(claim: Claim, found: Tested) -> list[str]:
    """Return the cells of a claim, from its text to what differs."""
    tested = [found.here, found.seeds, p_cell(found.corrected), f"**{found.verdict}**"]
    text = f"{claim.text} ({measure(claim.metric).label})"
    return [text, claim.data, stated(claim), *tested, claim.differs or "–"]
