"""Classification of a folder of images with a trained classifier (`python -m stacked.predict`)."""

from __future__ import annotations

import sys

from stacked.apps.predict import main

if __name__ == "__main__":
    sys.exit(main())
