"""Export of trained encoders, decoders, stacks and classifiers to torch.export (.pt2) or ONNX (`python -m stacked.export`)."""

from __future__ import annotations

import sys

from stacked.model.export import export as export
from stacked.model.export import main

if __name__ == "__main__":
    sys.exit(main())
