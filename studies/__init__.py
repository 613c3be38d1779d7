"""Questions to the package, each a command: python -m studies.NAME, or stacked NAME."""

from __future__ import annotations

import os
import sys

from stacked.runtime.starting import begin

# read by torch when it first allocates: large tensors on huge pages are a tenth faster to train on
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if os.path.basename("".join(sys.argv[:1])) in ("-m", "stacked"):  # a study is being started
    begin()
