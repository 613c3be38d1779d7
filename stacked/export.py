"""A trained encoder for other runtimes, as torch.export's pt2 or as ONNX."""

from __future__ import annotations

import sys

from stacked.model.export import export as export
from stacked.model.export import main

if __name__ == "__main__":
    sys.exit(main())
