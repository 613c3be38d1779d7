"""Files of trained encoders."""

from __future__ import annotations

from pathlib import Path

from stacked.model.halves import Encoder
from stacked.model.model_file import ANY, reading, write
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.spec import StackSpec

FORMAT = "stacked encoder 1"


@own_settings()
def save_encoder(path: Path, stack: StackedAutoencoder, spec: StackSpec) -> None:
    """Write the encoder of `stack`, built from `spec`, to `path`; InputError if the file cannot be written."""
    write(path, FORMAT, stack.encoder.state_dict(), spec, stack.input_shape, {}, stack.scaling)


@own_settings()
def load_encoder(path: str | Path) -> Encoder:
    """Return the encoder in a run's encoder.safetensors, on the CPU and in eval mode.

    Called, it is an `nn.Sequential` from floats [N, ...], scaled as in training (images: to 0..1), to codes; its method `encode`
    takes data in their own units, tensors or NumPy arrays, any number of them.

    The file need not be trusted: it is read as safetensors and JSON, and takes at most twice its size in memory. Raises
    InputError if it is not such a file.
    """
    with reading(path, FORMAT, "an encoder {reason}: give the encoder.safetensors of a run", dimensions=ANY) as content:
        encoder = content.empty().encoder
        content.fill(encoder)
    return encoder.eval()
