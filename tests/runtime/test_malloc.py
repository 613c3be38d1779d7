"""Freed memory is kept, where the C library can be told."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

#: maps of 3 MB, made and dropped like those of an update; prints how often the system had to hand out a page for it
UPDATES = """
import resource, sys, torch
from stacked.runtime.malloc import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def update():
    maps = [torch.zeros(800_000) for _ in range(8)]
for _ in range(3):
    update()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_an_update_gets_the_memory_of_the_last_one() -> None:
    def faults(what: str) -> int:
        command = [sys.executable, "-c", UPDATES, what]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") < 0.1 * 20 * 8 * 800_000 * 4 / 4096


#: blocks of 1 MB, freed while one in use lies behind them; prints the resident bytes before and after they are returned
FREED = """
import ctypes, resource
from stacked.runtime.malloc import return_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.mallopt(-3, 32 * 2**20)
blocks = [libc.malloc(2**20) for _ in range(201)]
for block in blocks:
    ctypes.memset(ctypes.c_void_p(block), 1, 2**20)
for block in blocks[:-1]:
    libc.free(ctypes.c_void_p(block))
before = resident()
return_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_returned() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], check=True, capture_output=True, text=True)
    assert int(done.stdout) > 0.9 * 200 * 2**20
