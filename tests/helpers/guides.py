"""The README, and what it says one adds to a file of the package."""

from __future__ import annotations

import re

from studies.record.index import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Examples inside of lists: a stage, and a growth policy.
STAGE, POLICY = (
    re.sub(r"^  ", "", code, flags=re.MULTILINE)
    for code in re.findall(r"^  ```python\n(.*?)^  ```", README, re.DOTALL | re.MULTILINE)
)
