"""Compression of images to a file with a trained codec, and decompression (`python -m stacked.compress`)."""

from __future__ import annotations

import sys

from stacked.apps.codec.compress import main

if __name__ == "__main__":
    sys.exit(main())
