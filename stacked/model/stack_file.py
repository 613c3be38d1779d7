"""Files of whole stacks: all encoders and decoders, with the spec that they were made from."""

from __future__ import annotations

from pathlib import Path

from stacked.model.model_file import ANY, Content, kind_of, reading, write
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.spec import StackSpec
from stacked.util.checks import need
from stacked.util.errors import InputError

FORMAT = "stacked autoencoder 1"
#: name of the file in the work folder of a run
NAME = "stack.safetensors"


@own_settings()
def save_stack(stack: StackedAutoencoder, path: str | Path, spec: StackSpec | None = None) -> None:
    """Write a whole stack, encoders and decoders, to a file for `load_stack`.

    spec: the spec of its stages (None: the one that they were made from, which stages made by hand do not have). A stack that
    was saved before is replaced, another file never. Raises InputError if the stack has no spec or does not fit it, if its
    weights are not finite float32, if `path` is a file of another kind, and if it cannot be written.
    """
    path = Path(path)
    known = spec or stack.spec
    if known is None:
        raise InputError(
            "the stages of this stack were not made from one spec, which its file has to hold: give the StackSpec that describes "
            "them, save_stack(stack, path, spec)"
        )
    there = path.exists() or path.is_symlink()
    need(
        not there or kind_of(path) == FORMAT,
        f"{path} exists already and is not a stack: give another path, or move the file away",
    )
    tensors = {name: tensor.cpu() for name, tensor in stack.state_dict().items()}
    content = Content(tensors, known, stack.input_shape, {}, stack.scaling)
    try:
        again = content.empty()
        content.fill(again)  # what could not be loaded is refused now
        need(str(again) == str(stack), "its modules or activations differ")
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"this stack cannot be saved with this spec ({reason}): give the spec of its stages"
        ) from error
    write_stack(path, stack, known)


@own_settings()
def write_stack(path: Path, stack: StackedAutoencoder, spec: StackSpec) -> None:
    """Write a stack that was made from `spec` to `path`, replacing any file; InputError if it cannot be written."""
    write(path, FORMAT, stack.state_dict(), spec, stack.input_shape, {}, stack.scaling)


@own_settings()
def load_stack(path: str | Path) -> StackedAutoencoder:
    """Return the stack in a file that `save_stack` wrote, or in a run's stack.safetensors, on the CPU, in eval mode, not frozen.

    Its weights are those that were saved, to the bit. They lie in memory channels-last, as training lays them out: a stack that
    was laid out otherwise can round differently.

    The file need not be trusted: it is read as safetensors and JSON, nothing in it is run or unpickled, and it takes at most
    twice its size in memory. Raises InputError if it is not such a file or is damaged.
    """
    with reading(
        path, FORMAT, "a stack {reason}: give a file that save_stack or a run wrote", dimensions=ANY
    ) as content:
        stack = content.empty()
        content.fill(stack)
    return stack.eval()
