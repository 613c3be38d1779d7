"""Pages of studies, generated from their rows: tables, figures and text. Importing it loads neither torch nor MLflow."""

from studies.report.page import headline, write_report
from studies.report.tables import table, verdict
from studies.statistics.pairing import Paired, paired
from studies.statistics.rows import load_curves, load_rows

__all__ = [
    "Paired",
    "headline",
    "load_curves",
    "load_rows",
    "paired",
    "table",
    "verdict",
    "write_report",
]
