"""Images to a file by a trained codec, and back."""

from __future__ import annotations

import sys

from stacked.apps.compress import main

if __name__ == "__main__":
    sys.exit(main())
