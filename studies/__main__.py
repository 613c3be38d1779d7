"""The command `stacked NAME ...`, which runs every command of this project; a folder of the user cannot shadow it.

Importing this module and listing the commands does not load torch.
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
#: The end of every module that is a command.
STARTS = 'if __name__ == "__main__":\n    sys.exit(main('


def commands() -> dict[str, tuple[str, Path]]:
    """Return (module, file with its description) of every command, by its name."""
    found = {}
    for top in map(folder_of, PACKAGES):
        for path in command_files(top):
            whole = path.parent if path.name == "__main__.py" else path.with_suffix("")
            module = ".".join([top.name, *whole.relative_to(top).parts])
            found[whole.name] = module, whole / "__init__.py" if whole == path.parent else path
    return dict(sorted(found.items()))


def folder_of(package: str) -> Path:
    """Return the folder of a package without importing it."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def command_files(top: Path) -> Iterator[Path]:
    """Yield the files of a package that are commands, without this one."""
    for path in top.rglob("*.py"):
        if path != Path(__file__) and STARTS in path.read_text(encoding="utf-8"):
            yield path


def help_text() -> str:
    """Return the help: every command with the first line of its docstring."""
    known = commands()
    wide = max(map(len, known))
    lines = ["stacked NAME ... runs one of these commands; stacked NAME --help shows its options", ""]
    for name, (_, path) in known.items():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"  {name:{wide}}  {text.partition(chr(10))[0]}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command named by the first argument with the other arguments; return the exit code, 2 for an unknown name."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    open_streams()
    if name in ("-h", "--help"):
        print(help_text())
        return 0
    known = commands()
    if name not in known:
        print(f"stacked: there is no command {name!r}{meant(name, known)} (--help lists them)", file=sys.stderr)
        return 2
    module, _ = known[name]
    if module.startswith("stacked."):
        ready()  # a study calls this itself, once it handles interruptions
    stacked.cli.command.program = "stacked"
    sys.argv[1:] = rest
    runpy.run_module(module, run_name="__main__", alter_sys=True)  # as `python -m` does; the module calls sys.exit
    return 0


if __name__ == "__main__":
    sys.exit(main())
