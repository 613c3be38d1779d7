"""For maintainers: executes the notebook of the lesson on pretraining and writes its outputs into it.

Command: python -m studies.lessons.execute_lesson (needs pip install -e '.[test]')
Cost: about a minute and a half of one processor core.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.cli.command import Command, called, carried_out
from stacked.util.atomic import write_atomically
from stacked.util.checks import need
from studies.record.index import ROOT

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOK = Path(__file__).with_name("pretraining.ipynb")
#: the most seconds of one cell
LIMIT = 600
#: where the notebook's metadata have the digest of the code that its outputs are of
DIGEST = "executed_code_sha256"
_UPDATES = re.compile(r"^UPDATES = \d+", re.MULTILINE)


def read(path: Path = NOTEBOOK) -> NotebookNode:
    """Return the notebook in a file."""
    import nbformat

    return nbformat.read(path, as_version=4)


def code_digest(notebook: NotebookNode) -> str:
    """Return the SHA-256 of the code of all cells, in their order, as hex digits."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def with_updates(notebook: NotebookNode, updates: int) -> NotebookNode:
    """Return a copy with another number of UPDATES in the cell with the tag "parameters"; InputError without such a cell."""
    from copy import deepcopy

    changed = deepcopy(notebook)
    cells = [cell for cell in changed.cells if "parameters" in cell.metadata.get("tags", [])]
    need(
        len(cells) == 1 and len(_UPDATES.findall(cells[0].source)) == 1,
        'the notebook needs one cell with the tag "parameters" and the line "UPDATES = NUMBER" in it: restore it',
    )
    cells[0].source = _UPDATES.sub(f"UPDATES = {updates}", cells[0].source)
    return changed


def executed(notebook: NotebookNode) -> NotebookNode:
    """Return a copy that was executed from top to bottom in a new kernel, with its outputs and the digest of its code.

    It holds no times and no versions of this machine. Raises nbclient's CellExecutionError if a cell fails, and
    CellTimeoutError if one takes more than 10 minutes.
    """
    from copy import deepcopy

    from nbclient import NotebookClient

    done = deepcopy(notebook)
    folder = {"metadata": {"path": str(ROOT)}}  # in which the kernel finds the package, installed or not
    NotebookClient(done, timeout=LIMIT, kernel_name="python3", record_timing=False, resources=folder).execute()
    done.metadata = {**deepcopy(notebook.metadata), DIGEST: code_digest(done)}
    return done


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for invalid input."""
    command = Command(prog=called("studies.lessons.execute_lesson"), description=(__doc__ or "").splitlines()[0])

    def run() -> int:
        command.parse_args(sys.argv[1:] if argv is None else argv)
        import nbformat

        write_atomically(NOTEBOOK, nbformat.writes(executed(read())) + "\n")
        print(f"executed: {NOTEBOOK}")
        return 0

    return carried_out(command.prog, run)


if __name__ == "__main__":
    sys.exit(main())
