"""The time of imports and of the help of a command."""

from __future__ import annotations

import subprocess
import sys
import time


def run_python(*arguments: str) -> dict[str, float]:
    """Return the seconds of a Python process with these arguments."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return {"seconds": time.perf_counter() - started}


def importing(names: str) -> dict[str, float]:
    """Return the seconds of a process that imports modules, such as "torch, stacked"."""
    return run_python("-c", f"import {names}")


def help_of(module: str) -> dict[str, float]:
    """Return the seconds of the --help of a command."""
    return run_python("-m", module, "--help")
