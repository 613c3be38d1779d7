"""The MLflow user interface of a study: a server to look at its saved views, and their addresses."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stacked.runtime.progress import say
from stacked.util.errors import InputError, printable
from studies.record.index import INDEX, ROOT, committed_as, has_section
from studies.viewing.mlflow_page import View

if TYPE_CHECKING:
    from stacked.tracking.backend.store import Store
    from studies.cli.options import Options


def print_addresses(views: Sequence[View], store: Store, port: int, host: str, running: bool = False) -> None:
    """Print the URLs of the views, and how to start the server if it is not running."""
    from stacked.util.paths import without_login
    from stacked.viewing.server import address, typed_command
    from stacked.viewing.views import view_url

    if views and not running and not store.is_server:
        print("In the MLflow UI, which --ui starts:")
    server = without_login(store.uri) if store.is_server else address(port, host)
    for name, key, experiment_id in views:
        print(printable(f"  {name}: {view_url(server, experiment_id, key)}"))
    if not running and not store.is_server:
        print(f"Without --ui it is started by: {typed_command(store, port, host)}")


def show(study: str, given: Options, command: str) -> int:
    """Save views of the committed records and of the one in `--out`, start the server, print the addresses, and wait.

    study, command: the name of the study and that of its command.
    """
    from stacked.tracking.tracker import open_store
    from stacked.viewing.server import address, serve, stop, warning
    from studies.viewing.replay import COMMITTED, replay

    say(
        "loading the committed record and that of --out into MLflow: the first time about a minute, or a few on a busy machine"
    )
    store = open_store(given.store)
    views: list[View] = []
    kept = ROOT / "results" / study
    committed = [out for out in (kept, *sorted(kept.glob("*/"))) if has_section(INDEX, committed_as(out, ROOT) or "")]
    for out in dict.fromkeys([*committed, given.out.resolve()]):
        if (out / "runs.csv").exists():
            source = COMMITTED if out in committed else f"record of {out.name}"
            views += replay(study, out, store, source, command)
    if not views:
        raise InputError(f"there is nothing to show in {given.out}: run the study first")
    if store.is_server:
        print_addresses(views, store, given.port, given.host)
        return 0
    server = serve(store, given.port, host=given.host)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the session's own handler would only set a flag
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the server too
    try:
        print(f"The MLflow UI of {store.root} runs at {address(given.port, given.host)} (Ctrl-C ends it):")
        print_addresses(views, store, given.port, given.host, running=True)
        print(warning(given.port, given.host), file=sys.stderr)
        sys.stdout.flush()
        try:
            while server.poll() is None:
                time.sleep(0.5)
        except KeyboardInterrupt:  # as users are told to end it
            print("\nstopped")
    finally:
        stop(server)
    return 0
