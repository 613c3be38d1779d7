"""A trained encoder for other runtimes, as torch.export's pt2 or as ONNX.

    python -m stacked.export ENCODER FILE

Both take images [N, C, H, W], floats in 0..1, of the size that the encoder was trained on, any number at a time. ONNX needs the
extra "onnx".
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.cli.command import Command, called, carried_out
from stacked.cli.overwriting import FORCE, check_new, check_not_read
from stacked.runtime.progress import say_warnings
from stacked.util.errors import printable

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from stacked.model.stack import Half

#: version of ONNX's operators: the oldest that torch's exporter writes without conversion
OPSET = 18
#: what a file's name says of its format
FORMATS = (".pt2", ".onnx")


def exported(encoder: Half) -> ExportedProgram:
    """The encoder as torch.export's program, its batch of any size from 1."""
    import torch

    from stacked.runtime.settings import own_settings

    with own_settings(), quietly():
        example = torch.zeros(2, *encoder.input_shape)
        return torch.export.export(
            encoder.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), strict=False
        )


def export(encoder: Half, path: str | Path) -> None:
    """Write the encoder to `path`, as its suffix says: .pt2 (torch.export) or .onnx (opset 18, input "images", output "code").

    Raises InputError for another suffix, without the packages that ONNX needs, and when the file cannot be written.
    """
    import torch

    from stacked.runtime.settings import own_settings
    from stacked.util.atomic import write_atomically
    from stacked.util.checks import need

    path = Path(path)
    need(
        path.suffix in FORMATS,
        f"{path.name!r} is not the name of an export: let it end in {' or '.join(FORMATS)}",
    )
    if path.suffix == ".onnx":
        for package in ("onnx", "onnxscript"):
            need(
                importlib.util.find_spec(package) is not None,
                f"{path.name} needs the package {package}: pip install 'stacked[onnx]'",
            )
    program = exported(encoder)
    buffer = io.BytesIO()
    if path.suffix == ".pt2":
        with own_settings():
            torch.export.save(program, buffer)
    else:
        with own_settings(), quietly(), tempfile.TemporaryDirectory() as folder:
            written = torch.onnx.export(
                program, input_names=["images"], output_names=["code"], opset_version=OPSET, dynamo=True, verbose=False
            )
            assert written is not None
            written.save(Path(folder) / "encoder.onnx", external_data=False)
            buffer.write((Path(folder) / "encoder.onnx").read_bytes())
    write_atomically(path, buffer.getvalue())


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what torch's exporters say of their own insides."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def main(words: Sequence[str] | None = None) -> int:
    """Export a file to a file; returns 0, or 2 for bad input."""
    prog = called("stacked.export")
    say_warnings()
    command = Command(prog=prog, description="Write a trained encoder for another runtime.")
    command.add_argument("encoder", type=Path, metavar="ENCODER", help="encoder.safetensors of a run")
    command.add_argument("file", type=Path, metavar="FILE", help=f"to be written; it ends in {' or '.join(FORMATS)}")
    command.add_argument("--force", action="store_true", help=FORCE)

    def do() -> int:
        given = command.parse_args(words)
        check_not_read(given.file, [given.encoder], "FILE")
        check_new([given.file], "FILE", given.force)
        from stacked.model.encoder import load_encoder
        from stacked.util.atomic import sweep

        sweep(given.file.parent)
        encoder = load_encoder(given.encoder)
        export(encoder, given.file)
        shape = ", ".join(map(str, encoder.input_shape))
        print(printable(f"{given.file}: images [N, {shape}], floats in 0..1, to codes"))
        return 0

    return carried_out(prog, do)
