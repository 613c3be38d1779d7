"""Files of classifiers and regressors: what both kinds of encoders with heads have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from stacked.model.head import EncoderWithHead
from stacked.model.model_file import ANY, Content, reading, write
from stacked.spec import StackSpec
from stacked.spec.classification import MOST_UNITS
from stacked.util.checks import need, whole


def model_path(work: Path, kind: str, labels: str) -> Path:
    """Return the path, in a run's work folder, of the "classifier" or "regressor" of a label budget, a number or "all"."""
    return work / f"{kind}-{labels}.safetensors"


def write_supervised(
    path: Path,
    format: str,
    model: EncoderWithHead,
    spec: StackSpec,
    training: Mapping[str, Any] | None,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Write a model whose stack was built from `spec`; InputError if the file cannot be written.

    training: metadata of its training, plain values. header, tensors: what only models of its kind have.
    """
    head = {"kind": model.head_kind, "width": model.head_width}
    fields = {**header, "head": head, "training": dict(training or {})}
    write(path, format, {**model.state_dict(), **tensors}, spec, model.input_shape, fields, model.encoder.scaling)


@contextmanager
def reading_supervised(
    path: str | Path, format: str, kind: str, names: Sequence[str] = ()
) -> Iterator[tuple[Content, tuple[str, int], dict[str, Any]]]:
    """Context that yields the content of a file, kind and width of the head, and the metadata of the training.

    kind: "classifier" or "regressor". names: header fields that only models of this kind have. Raises InputError if the file,
    or its use in the context, is invalid.
    """
    what = f"a {kind} {{reason}}: give the {kind}-*.safetensors of a run"
    with reading(path, format, what, (*names, "head", "training"), ANY) as content:
        head, training = content.header["head"], content.header["training"]
        need(isinstance(head, dict) and head.keys() == {"kind", "width"}, "its head has no kind and width")
        need(isinstance(training, dict), "its training is not a JSON object")
        whole(head["width"], "width of its head", 0, MOST_UNITS)
        yield content, (head["kind"], head["width"]), training
