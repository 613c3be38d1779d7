"""How long it takes to begin: imports, and the help of the main job."""

from __future__ import annotations

import subprocess
import sys
import time


def started(*words: str) -> dict[str, float]:
    """Seconds of a Python process with these words."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return {"seconds": time.perf_counter() - began}


def importing(names: str) -> dict[str, float]:
    """Seconds of a process that imports modules: "torch, stacked"."""
    return started("-c", f"import {names}")


def help_of(module: str) -> dict[str, float]:
    """Seconds of a command's --help."""
    return started("-m", module, "--help")
