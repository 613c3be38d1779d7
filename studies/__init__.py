"""Studies with the package; each is a command: python -m studies.NAME, or stacked NAME."""

from __future__ import annotations

import os
import sys

from stacked.runtime.starting import begin

# torch reads it at its first allocation; huge pages make training with large tensors a tenth faster
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if os.path.basename("".join(sys.argv[:1])) in ("-m", "stacked"):  # the process was started to run a command
    begin()
