"""The command `stacked NAME ...`: every command of this project under one name, which no folder of a user's can hide.

Importing this module, and the list of commands, load no torch.
"""

from __future__ import annotations

import ast
import runpy
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import stacked.cli.command
from stacked.cli.command import open_streams
from stacked.runtime.starting import ready
from stacked.util.checks import meant

PACKAGES = ("studies", "stacked")
#: How a module ends that is a command.
STARTS = 'if __name__ == "__main__":\n    sys.exit(main('


def commands() -> dict[str, tuple[str, Path]]:
    """By its name, the module of every command, and the file that says what it is for."""
    found = {}
    for top in map(folder_of, PACKAGES):
        for path in commanding(top):
            whole = path.parent if path.name == "__main__.py" else path.with_suffix("")
            module = ".".join([top.name, *whole.relative_to(top).parts])
            found[whole.name] = module, whole / "__init__.py" if whole == path.parent else path
    return dict(sorted(found.items()))


def folder_of(package: str) -> Path:
    """Where a package is, which is not imported for that."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def commanding(top: Path) -> Iterator[Path]:
    """The files below a package that start a command; in a package that is a command itself its `__main__` alone."""
    for path in top.rglob("*.py"):
        inner = path.parent != top and (path.parent / "__main__.py").exists()
        if (path.name == "__main__.py") == inner and STARTS in path.read_text(encoding="utf-8"):
            yield path


def told() -> str:
    """The help: every command with the first line of its module's docstring."""
    lines = ["usage: stacked NAME ..., where NAME is one of these; stacked NAME --help tells its options", ""]
    for name, (_, path) in commands().items():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"  {name:12} {text.partition(chr(10))[0]}")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    """Do what the words say after the command's name; returns the exit code, 2 for a name that is none."""
    name, *rest = (sys.argv[1:] if words is None else words) or ["--help"]
    open_streams()
    if name in ("-h", "--help"):
        print(told())
        return 0
    known = commands()
    if name not in known:
        print(f"stacked: there is no command {name!r}{meant(name, known)} (--help lists them)", file=sys.stderr)
        return 2
    module, _ = known[name]
    if module.startswith("stacked."):
        ready()  # a study is ready by itself, when it can be interrupted
    stacked.cli.command.program = "stacked"
    sys.argv[1:] = rest
    runpy.run_module(module, run_name="__main__", alter_sys=True)  # as `python -m` does: it exits by itself
    return 0


if __name__ == "__main__":
    sys.exit(main())
