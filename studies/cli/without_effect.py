"""Refuses options that were typed and would change nothing."""

from __future__ import annotations

from collections.abc import Set

from stacked.data import takes_image_size
from stacked.util.checks import need

#: options of the server that --ui starts
OF_SERVER = ("--host", "--port")


def check_image_size(typed: Set[str], data: str) -> None:
    """Raise InputError if --image-size was typed for a dataset whose images have a fixed size, or that holds no images."""
    need(
        "--image-size" not in typed or takes_image_size(data),
        f"--image-size has no effect on {data!r}, because only image files are cropped to a size: leave it out, or give "
        "folder:PATH",
    )


def check_server(typed: Set[str], ui: bool) -> None:
    """Raise InputError if the host or the port of the server was typed without --ui, which starts it."""
    for option in OF_SERVER:
        need(ui or option not in typed, f"{option} has no effect without --ui, which starts the server: leave it out")
