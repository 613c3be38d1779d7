"""Export of trained encoders, decoders, whole stacks and classifiers to torch.export (.pt2) or ONNX.

    python -m stacked.export MODEL FILE
    python -m stacked.export MODEL FILE --part encoder|decoder|autoencoder|classifier

Exported encoders, autoencoders and classifiers take floats [N, ...] of the shape that they were trained on, scaled as in training
(images [N, C, H, W] to 0..1), exported decoders take codes, for any N. ONNX needs the optional dependencies "onnx".
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
from typing import TYPE_CHECKING, TypeAlias

from stacked.cli.command import Command, called, carried_out
from stacked.cli.overwriting import FORCE, check_new, check_not_read
from stacked.runtime.progress import say_warnings
from stacked.util.errors import printable

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from stacked.data.scaling import Scaling
    from stacked.model.classifier import Classifier
    from stacked.model.halves import Half
    from stacked.model.stack import StackedAutoencoder
    from stacked.stages.stage import Shape

    Model: TypeAlias = Half | StackedAutoencoder | Classifier

#: version of the ONNX operator set: the oldest that torch's exporter writes without conversion
OPSET = 18
#: suffixes of the two formats
FORMATS = (".pt2", ".onnx")
#: kind of model -> names of its input and its output in ONNX
PARTS = {
    "encoder": ("images", "code"),
    "decoder": ("code", "images"),
    "autoencoder": ("images", "reconstruction"),
    "classifier": ("images", "logits"),
}

#: kind of scaling -> what is said of the floats that a model reads
SCALED = {
    "none": "",
    "standard": " less the mean and divided by the standard deviation of the training rows (the run's scaling.json)",
    "minmax": " scaled to 0..1 by the training rows (the run's scaling.json)",
}


def part_of(model: Model) -> str:
    """Return which of `PARTS` a model is; InputError if it is none of them."""
    from stacked.model.classifier import Classifier
    from stacked.model.halves import Decoder, Encoder
    from stacked.model.stack import StackedAutoencoder
    from stacked.util.errors import InputError

    kinds = {"encoder": Encoder, "decoder": Decoder, "autoencoder": StackedAutoencoder, "classifier": Classifier}
    for part, kind in kinds.items():
        if isinstance(model, kind):
            return part
    raise InputError(
        f"a {type(model).__name__} cannot be exported: give a StackedAutoencoder, its encoder or decoder, or a Classifier"
    )


def exported(model: Model) -> ExportedProgram:
    """Return a model as a program of torch.export, for batches of any size from 1.

    Raises InputError for a module of another kind, and for a decoder that cannot decode a code alone.
    """
    import torch

    from stacked.runtime.settings import own_settings

    part_of(model)  # which refuses other modules
    with own_settings(), quietly():
        example = torch.zeros(2, *model.input_shape)
        return torch.export.export(
            model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), strict=False
        )


def export(model: Model, path: str | Path) -> None:
    """Write an encoder, a decoder, a whole stack or a classifier to `path`: .pt2 for torch.export, .onnx for ONNX (opset 18).

    In ONNX an encoder reads "images" and returns "code", a decoder reads "code" and returns "images", a stack reads "images" and
    returns "reconstruction", and a classifier reads "images" and returns "logits" [N, classes]. Raises InputError for another
    suffix, for a module of another kind, for a decoder that cannot decode a code alone, if a package that ONNX needs is missing,
    and if the file cannot be written.
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
    program, (given, returned) = exported(model), PARTS[part_of(model)]
    buffer = io.BytesIO()
    if path.suffix == ".pt2":
        with own_settings(), quietly():  # torch warns of the layout of convolutions
            torch.export.save(program, buffer)
    else:
        with own_settings(), quietly(), tempfile.TemporaryDirectory() as folder:
            written = torch.onnx.export(
                program, input_names=[given], output_names=[returned], opset_version=OPSET, dynamo=True, verbose=False
            )
            assert written is not None
            written.save(Path(folder) / "model.onnx", external_data=False)
            buffer.write((Path(folder) / "model.onnx").read_bytes())
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


def loaded(path: Path, part: str | None) -> Model:
    """Return a part of the model in a file of an encoder, a stack or a classifier; InputError if it does not hold that part.

    part: one of `PARTS` (None: the classifier in a file of one, else the encoder).
    """
    from stacked.model.classifier import FORMAT as CLASSIFIER
    from stacked.model.classifier import load_classifier
    from stacked.model.encoder import FORMAT, load_encoder
    from stacked.model.model_file import kind_of
    from stacked.model.stack_file import FORMAT as WHOLE
    from stacked.model.stack_file import load_stack
    from stacked.util.checks import need

    kind = kind_of(path)
    part = part or ("classifier" if kind == CLASSIFIER else "encoder")
    if part == "classifier":
        return load_classifier(path)
    if part == "encoder" and kind == CLASSIFIER:
        return load_classifier(path).encoder
    need(
        kind != CLASSIFIER,
        f"{path} holds a classifier and no {part}: give a file that save_stack wrote, or --part classifier",
    )
    if part == "encoder" and kind != WHOLE:
        return load_encoder(path)
    need(kind != FORMAT, f"{path} holds an encoder and no {part}: give a file that save_stack wrote, or --part encoder")
    stack = load_stack(path)
    return {"encoder": stack.encoder, "decoder": stack.decoder}.get(part, stack)


def described(model: Model) -> str:
    """Return what a model reads and returns, in words."""
    part, shape = part_of(model), ", ".join(map(str, model.input_shape))
    scaling, example = scaling_of(model)
    is_image = scaling is None and len(example) == 3
    examples = "images" if is_image else "examples"
    scaled = "" if scaling is None else SCALED[scaling.kind]
    if part == "decoder":
        return f"codes [N, {shape}], floats, to {examples}{scaled}"
    to = {
        "encoder": "to codes",
        "autoencoder": "to their reconstructions",
        "classifier": f"to logits of the classes {', '.join(getattr(model, 'classes', ()))}",
    }[part]
    return f"{examples} [N, {shape}], floats{' in 0..1' if is_image else scaled}, {to}"


def scaling_of(model: Model) -> tuple[Scaling | None, Shape]:
    """Return how the examples of a model are scaled (None: they are not), and the shape of one."""
    from stacked.model.classifier import Classifier
    from stacked.model.halves import Decoder

    if isinstance(model, Classifier):
        return model.encoder.scaling, model.input_shape
    return model.scaling, model.output_shape if isinstance(model, Decoder) else model.input_shape


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 for invalid input."""
    prog = called("stacked.export")
    say_warnings()
    command = Command(prog=prog, description="Write a trained model for another runtime.")
    command.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="the encoder.safetensors or a classifier-*.safetensors of a run, or a file written by save_stack",
    )
    command.add_argument("file", type=Path, metavar="FILE", help=f"output file, ending in {' or '.join(FORMATS)}")
    command.add_argument(
        "--part",
        choices=PARTS,
        help="what to export: decoder and autoencoder need a whole stack (the classifier in a file of one, else the encoder)",
    )
    command.add_argument("--force", action="store_true", help=FORCE)

    def do() -> int:
        given = command.parse_args(words)
        check_not_read(given.file, [given.model], "FILE")
        check_new([given.file], "FILE", given.force)
        from stacked.util.atomic import sweep

        sweep(given.file.parent)
        model = loaded(given.model, given.part)
        export(model, given.file)
        print(printable(f"{given.file}: {described(model)}"))
        return 0

    return carried_out(prog, do)
