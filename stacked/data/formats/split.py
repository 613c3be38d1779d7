"""Splits in memory: uint8 or floats, and int64 labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stacked.data.formats.division import division, move_to_end
from stacked.data.scaling import Scaling
from stacked.util.checks import need
from stacked.util.serialization import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from stacked.data.splitting import Division

#: what examples are called by their number of dimensions
KINDS = {1: "rows", 2: "signals", 3: "images", 4: "volumes"}


def kind_of(shape: Sequence[int]) -> str:
    """Return what examples of this shape are called: "rows", "signals", "images" or "volumes"."""
    return KINDS[len(shape)]


@dataclass(frozen=True, eq=False)
class Split:
    """Examples [N, ...] and their labels, int64 [N], -1 if unlabelled.

    inputs: contiguous, of 2 to 5 dimensions: images and other maps of bytes as uint8, 0..255, or finite float32 of any range,
    such as vectors [N, D], signals [N, C, L], images [N, C, H, W] or volumes [N, C, D, H, W]. targets: numbers to predict in the
    place of classes, float64 [N, K], NaN where there are none (None: there are none at all); all labels are then -1.
    """

    inputs: Tensor
    labels: Tensor
    targets: Tensor | None = None

    def __post_init__(self) -> None:
        import torch

        from stacked.data.pixels import stored

        inputs, labels = self.inputs, self.labels
        if inputs.dtype not in (torch.uint8, torch.float32) or not inputs.is_contiguous():
            raise TypeError(f"inputs must be contiguous uint8 or float32, not {inputs.dtype} {tuple(inputs.shape)}")
        stored(inputs, "cannot be a split")
        if labels.dtype != torch.int64 or labels.shape != inputs.shape[:1]:
            raise TypeError(f"labels must be int64 [{len(inputs)}], not {labels.dtype} {tuple(labels.shape)}")
        targets = self.targets
        if targets is not None and (targets.dtype != torch.float64 or targets.shape[:-1] != labels.shape):
            raise TypeError(f"targets must be float64 [{len(inputs)}, K], not {targets.dtype} {tuple(targets.shape)}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """Return the examples at `indices` (int64 [M]), in that order; a copy, unless these are all examples in their order."""
        import torch

        if torch.equal(indices, torch.arange(len(self))):
            return self
        targets = None if self.targets is None else self.targets[indices]
        return Split(self.inputs[indices], self.labels[indices], targets)

    @property
    def marks(self) -> Tensor:
        """The labels, or where there are targets 0 for an example with targets and -1 for one without; int64 [N]."""
        return self.labels if self.targets is None else -self.targets.isnan().any(1).long()


@dataclass(frozen=True, eq=False)
class Splits:
    """A dataset ready for use; `valid` is a held-out part of the official training set, for selection.

    classes: the names of the labels 0..K-1; empty if there are no labels. scaling: how floats were scaled from the units of the
    data (bytes: None; floats without one: they are in the units of the data). columns: names of the columns of a table (empty:
    none are known). `Splits.of` makes splits of arrays, tables and datasets.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    classes: tuple[str, ...]
    scaling: Scaling | None = None
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        import torch

        is_bytes = self.train.inputs.dtype == torch.uint8
        need(not is_bytes or self.scaling is None, "bytes (uint8) have no scaling, which is for floats: leave it out")
        if not is_bytes and self.scaling is None:
            object.__setattr__(self, "scaling", Scaling())
        if self.scaling is not None:
            self.scaling.check(self.input_shape)

    @property
    def outputs(self) -> int:
        """The number of outputs of a head that learns the labels: classes, or targets."""
        targets = self.train.targets
        return len(self.classes) if targets is None else targets.shape[1]

    @classmethod
    def of(
        cls,
        X: Any,  # noqa: N803
        y: Any = None,
        *,
        valid: Any = 1 / 12,
        test: Any = 1 / 6,
        target: str | None = None,
        classes: Sequence[str] | None = None,
        scale: str | None = None,
        missing: str | None = None,
        name: str = "arrays",
    ) -> Splits:
        """Return the splits of data in memory, copied, in the shape and the units that they have.

        X: vectors [N, D], signals [N, C, L], images [N, C, H, W] or volumes [N, C, D, H, W], uint8 or any real numbers, as a
        NumPy array, a tensor, nested lists, a pandas DataFrame (a row is an example; text, truth values and pandas categories
        become a column of 0 and 1 for each category), or a map-style torch Dataset with items x
        or (x, y); or a pair of any of them with its labels, (X, y).
        y: labels [N]: integers or text are classes; floats, [N] or [N, K], are numbers to predict. An integer of -1, None or NaN
        marks an example without a label. None: no labels.
        target: the column of a DataFrame that holds the labels.
        classes: names of the classes 0..K-1 (None: the distinct labels, sorted).
        valid, test: a fraction of X that is held out, stratified by class and always the same; or own data, given as X is. The
        test part is held out first.
        scale: for floats: "standard" (to a mean of 0 and a standard deviation of 1), "minmax" (to 0..1) or "none", by column or
        channel, fitted on the training rows; None: "none" for maps and volumes in [0, 1], "standard" for all others. Bytes
        (uint8) are read as 0..1.
        missing: how missing numbers of a DataFrame are filled in: by "mean", "median" or "most_frequent" of their column in the
        training rows, and categories by the most frequent one; None: missing values are refused.

        Raises InputError, in one sentence, for what cannot be trained on: text in arrays, NaN or infinite values, constant
        columns that are to be scaled, examples of different shapes, no examples, a wrong number of labels, a single class.
        """
        from stacked.data.splitting import divided

        return cls.from_division(name, divided(X, y, valid, test, target, classes, scale, missing))

    @classmethod
    def from_division(cls, name: str, found: Division) -> Splits:
        """Return the splits with this name that hold the parts of a division; InputError if they cannot be trained on."""
        import torch

        train, valid, test = (
            Split(
                part.values,
                torch.from_numpy(part.labels),
                None if part.targets is None else torch.from_numpy(part.targets),
            )
            for part in (found.train, found.valid, found.test)
        )
        splits = cls(name, train, valid, test, found.classes, found.scaling, found.columns)
        check_splits(splits)
        return splits

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of every example, such as (channels, height, width)."""
        return tuple(self.train.inputs.shape[1:])

    def limited(self, limit: int) -> Splits:
        """Return the data with `limit` of the training images, balanced by class; a smaller limit is a subset of a larger one."""
        from stacked.data.labels import image_subset

        return replace(self, train=self.train.take(image_subset(self.train.labels, limit)))

    def without_test(self) -> Splits:
        """Return the data with the validation images in place of the test images, so that selection cannot see a test image."""
        return replace(self, test=self.valid)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 (hex) of the shapes, inputs and labels of all three splits; of floats, of their scaling too."""
        digest = hashlib.sha256()
        if self.scaling is not None:
            numbers = replace(self.scaling, columns=())  # a table has the digest of its numbers in an array
            digest.update(f"{self.train.inputs.dtype} {to_json(numbers)}".encode())
        for split in (self.train, self.valid, self.test):
            digest.update(str(tuple(split.inputs.shape)).encode())
            digest.update(split.inputs.numpy().data)
            digest.update(split.labels.numpy().astype("<i8", copy=False).data)
            if split.targets is not None:
                digest.update(f"targets {tuple(split.targets.shape)}".encode())
                digest.update(split.targets.contiguous().numpy().astype("<f8", copy=False).data)
        return digest.hexdigest()


def check_splits(splits: Splits) -> None:
    """Raise InputError unless a run can be trained, selected and tested on these splits.

    Each split needs at least one example, all of one shape and type, and labels from 0 to K-1, or -1 if unlabelled. If there are
    classes, each split needs at least one labelled example. Floats must be finite.
    """
    shape, most, dtype = list(splits.input_shape), len(splits.classes) - 1, splits.train.inputs.dtype
    for name, part in (("training", splits.train), ("validation", splits.valid), ("test", splits.test)):
        need(len(part) > 0, f"{splits.name} has no {name} examples: give at least one")
        found = list(part.inputs.shape[1:])
        need(found == shape, f"{name} examples have the shape {found}, and training examples {shape}: give one shape")
        need(
            part.inputs.dtype == dtype,
            f"{name} examples are {part.inputs.dtype}, and training examples {dtype}: give one type",
        )
        need(
            not dtype.is_floating_point or bool(part.inputs.isfinite().all()),
            f"{name} examples have values that are not finite: leave them out or fill them in",
        )
        low, high = int(part.labels.min()), int(part.labels.max())
        need(low >= -1, f"{name} examples have a label {low}: give classes from 0, or -1 where there is no label")
        check_targets(splits, part, name)
        if splits.classes:
            allowed = f"from 0 to {most}, for {most + 1} classes"
            need(high <= most, f"{name} examples have a label {high}: give labels {allowed}")
            need(high >= 0, f"none of the {len(part):,} {name} examples has a label: give labels {allowed}")


def check_targets(splits: Splits, part: Split, name: str) -> None:
    """Raise InputError unless a part has targets as the training part has them, at least one example with targets."""
    targets, wanted = part.targets, splits.train.targets
    need(
        (targets is None) == (wanted is None),
        f"{name} examples have {'no targets' if targets is None else 'targets'}, unlike training examples: give targets in all",
    )
    if targets is None:
        return
    need(not splits.classes and bool((part.labels == -1).all()), "there are classes and targets: give one of them")
    need(
        targets.shape[1] == splits.outputs,
        f"{name} examples have {targets.shape[1]} targets each, and training examples {splits.outputs}: give the same number",
    )
    need(
        not bool(targets.isinf().any()),
        f"{name} examples have infinite targets: give numbers, or NaN where there is none",
    )
    need(
        bool((part.marks == 0).any()), f"none of the {len(part):,} {name} examples has targets: give some to each part"
    )


def hold_out(split: Split, fraction: float) -> tuple[Split, Split]:
    """Divide into (rest, held), where held is a fixed fraction of the labelled examples, stratified by class.

    The held-out part has at least as many examples as there are classes; without labels it is a plain random sample. Both parts
    keep the order of `split` and share its memory, in which the examples are rearranged to avoid a copy. Raises InputError if
    there are too few examples.
    """
    rest, held = division(split.labels.numpy(), fraction)
    move_to_end(split.inputs.numpy(), held)
    move_to_end(split.labels.numpy(), held)
    n = len(rest)
    return Split(split.inputs[:n], split.labels[:n]), Split(split.inputs[n:], split.labels[n:])
