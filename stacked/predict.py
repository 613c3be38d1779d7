"""Predictions of a trained classifier or regressor for images or rows (`python -m stacked.predict`)."""

from __future__ import annotations

import sys

from stacked.apps.predict import main

if __name__ == "__main__":
    sys.exit(main())
