"""Classifiers: an encoder with a head on its code, and their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stacked.data.pixels import Pixels
from stacked.model.head import EncoderWithHead
from stacked.model.stack import StackedAutoencoder
from stacked.model.supervised_file import reading_supervised, write_supervised
from stacked.runtime.settings import own_settings
from stacked.spec import StackSpec
from stacked.util.checks import need
from stacked.util.errors import Diverged

FORMAT = "stacked classifier 1"
#: the most classes of a classifier in a file
MOST_CLASSES = 2**20


class Classifier(EncoderWithHead):
    """A stack's encoder with a head on the flattened bottleneck: inputs [N, ...], scaled floats, to logits [N, classes].

    classes: names of the classes. The other arguments are those of `EncoderWithHead`.
    """

    cannot, method = "cannot be classified", "predict"

    def __init__(self, stack: StackedAutoencoder, classes: Sequence[str], head: str = "linear", width: int = 0) -> None:
        super().__init__(stack, len(classes), head, width)
        self.classes = tuple(classes)

    @own_settings()
    def predict_proba(self, images: Pixels) -> Tensor:
        """Return the probability of each class [N, classes] for data [N, ...], which are read as by `Encoder.encode`.

        Raises InputError for other data, and Diverged if the classifier's outputs are not finite.
        """
        logits = self.encoder.through(self, images, self.cannot).reshape(-1, len(self.classes))
        if not logits.isfinite().all():
            raise Diverged("the classifier's outputs are not finite")
        return logits.softmax(1)

    def predict(self, images: Pixels) -> Tensor:
        """Return the numbers [N] of the most probable classes, int64 indices of `classes`; arguments as `predict_proba`."""
        return self.predict_proba(images).argmax(1)


@own_settings()
def save_classifier(
    path: Path, classifier: Classifier, spec: StackSpec, training: Mapping[str, Any] | None = None
) -> None:
    """Write a classifier, whose stack was built from `spec`, to `path`; InputError if the file cannot be written.

    training: metadata of its training, plain values (in a run: the fields of `runs.classifiers.ClassifierMetadata`).
    """
    write_supervised(path, FORMAT, classifier, spec, training, {"classes": list(classifier.classes)}, {})


@own_settings()
def load_classifier(path: str | Path) -> Classifier:
    """Return the classifier in a run's classifier-*.safetensors, on the CPU and in eval mode.

    Called, it gives logits [N, classes] of floats [N, ...], scaled as in training (images: to 0..1). `predict` and
    `predict_proba` take data in their own units, tensors or NumPy arrays, any number of them. `classes` are the names of the
    classes.

    The file need not be trusted: it is read as safetensors and JSON, and takes at most twice its size in memory. Raises
    InputError if it is not such a file.
    """
    return load_with_training(path)[0]


def load_with_training(path: str | Path) -> tuple[Classifier, dict[str, Any]]:
    """Return the classifier in a file, as `load_classifier`, and the metadata of its training."""
    with reading_supervised(path, FORMAT, "classifier", ("classes",)) as (content, head, training):
        classes = content.header["classes"]
        need(isinstance(classes, list) and all(isinstance(name, str) for name in classes), "its classes are not names")
        need(2 <= len(classes) <= MOST_CLASSES, f"it has {len(classes):,} classes")
        stack = content.empty()
        with torch.device("meta"):
            classifier = Classifier(stack, classes, *head)
        content.fill(classifier)
    return classifier.eval(), training
