"""The trained encoder as a file to be given away."""

from __future__ import annotations

from pathlib import Path

from stacked.model.model_file import reading, write
from stacked.model.stack import Half, StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.spec import StackSpec

FORMAT = "stacked encoder 1"


@own_settings()
def save_encoder(path: Path, stack: StackedAutoencoder, spec: StackSpec) -> None:
    """Write the encoder of `stack`, which was built as `spec` says; InputError when the place cannot be written."""
    write(path, FORMAT, stack.encoder.state_dict(), spec, stack.input_shape, {})


@own_settings()
def load_encoder(path: str | Path) -> Half:
    """The encoder that a run left as encoder.safetensors: images [N, C, H, W] in 0..1 to codes, on the CPU, in eval mode.

    The file may be anyone's: it is read as safetensors and JSON, and takes at most twice the memory that it is
    long. Raises InputError when it is not such a file.
    """
    with reading(path, FORMAT, "an encoder {reason}: give the encoder.safetensors of a run") as content:
        encoder = content.empty().encoder
        content.fill(encoder)
    return encoder.eval()
