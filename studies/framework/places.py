"""Where the project lies, and the index of its committed records."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Holds a generated block for every committed record.
INDEX = ROOT / "results" / "README.md"
