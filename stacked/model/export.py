"""Export of trained encoders to torch.export (.pt2) or ONNX.

    python -m stacked.export ENCODER FILE

Exported encoders take float images [N, C, H, W] in 0..1 of the size that the encoder was trained on, for any N. ONNX needs the
optional dependencies "onnx".
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

    from stacked.model.halves import Half

#: version of the ONNX operator set: the oldest that torch's exporter writes without conversion
OPSET = 18
#: suffixes of the two formats
FORMATS = (".pt2", ".onnx")


def exported(encoder: Half) -> ExportedProgram:
    """Return the encoder as a program of torch.export, for batches of any size from 1."""
    import torch

    from stacked.runtime.settings import own_settings

    with own_settings(), quietly():
        example = torch.zeros(2, *encoder.input_shape)
        return torch.export.export(
            encoder.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), strict=False
        )


def export(encoder: Half, path: str | Path) -> None:
    """Write the encoder to `path`: .pt2 for torch.export, .onnx for ONNX (opset 18, input "images", output "code").

    Raises InputError for another suffix, if a package that ONNX needs is missing, and if the file cannot be written.
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
    """Context that suppresses log messages, warnings and output of torch's exporters."""
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
    """Run the command; returns 0, or 2 for invalid input."""
    prog = called("stacked.export")
    say_warnings()
    command = Command(prog=prog, description="Write a trained encoder for another runtime.")
    command.add_argument("encoder", type=Path, metavar="ENCODER", help="the encoder.safetensors of a run")
    command.add_argument("file", type=Path, metavar="FILE", help=f"output file, ending in {' or '.join(FORMATS)}")
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
