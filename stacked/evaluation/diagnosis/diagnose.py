"""All measurements of a diagnosis at once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from stacked.data import Splits
from stacked.evaluation.diagnosis.alignment import gradient_alignment
from stacked.evaluation.diagnosis.information import information_kept
from stacked.evaluation.diagnosis.similarity import similarities
from stacked.evaluation.evaluate import PROBED, Codes, Reconstruction, spread
from stacked.evaluation.final_metrics import labelled
from stacked.evaluation.probes import PROBES
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec
from stacked.training.codes import StoredInputs
from stacked.util.checks import choice


@dataclass(frozen=True)
class Diagnosis:
    """What was measured of a stack, on validation examples; depth 0 is the inputs.

    similarity: linear CKA [depths, depths of the other stack] (see `similarities`). is_other: whether the other stack is another
    one. kept: errors of a fresh linear decoder, by depth (see `information_kept`). probe: accuracy of a probe, by depth (None:
    the data have no classes), and its name. alignment: cosine of local and global gradients, by stage (see
    `gradient_alignment`), and the names of the two policies.
    """

    similarity: Tensor
    is_other: bool
    kept: list[Reconstruction]
    probe: list[float] | None
    probe_name: str
    alignment: list[float]
    policies: tuple[str, str]


@own_settings()
def probe_curve(
    stack: StackedAutoencoder, splits: Splits, name: str = "logistic", examples: int = 2000
) -> list[float] | None:
    """Return the accuracy on validation examples of a probe of the code at each depth; None if the data have no classes.

    name: a classifier of `PROBES`, whose protocol is there; it is fitted to at most so many labelled training `examples`.
    """
    choice(name, PROBES, "probe")
    if not splits.classes:
        return None
    (train, labels), (valid, valid_labels) = labelled(splits.train, examples), labelled(splits.valid)
    return [
        PROBES[name](Codes(stack, train, k, PROBED).all(), labels, Codes(stack, valid, k, PROBED), valid_labels)
        for k in range(stack.depth + 1)
    ]


def diagnose(
    stack: StackedAutoencoder,
    spec: RunSpec,
    splits: Splits,
    *,
    other: StackedAutoencoder | None = None,
    probe: str = "logistic",
    local: str = "local-simultaneous",
    against: str = "joint",
    examples: int = 2000,
    batches: int = 8,
) -> Diagnosis:
    """Return the diagnosis of a stack that was trained as `spec` says.

    other: a stack to compare the codes with, such as a jointly trained one (None: the stack with itself). examples: the most that
    CKA reads, and that decoders and probes are fitted to. Test examples are not read. Further arguments and errors are those of
    `similarities`, `information_kept`, `probe_curve` and `gradient_alignment`.
    """
    compared = StoredInputs(splits.valid.inputs, rows=spread(len(splits.valid), examples))
    return Diagnosis(
        similarities(stack, stack if other is None else other, compared),
        other is not None,
        information_kept(stack, splits, examples=examples),
        probe_curve(stack, splits, probe, examples),
        probe,
        gradient_alignment(stack, spec, splits, local=local, against=against, batches=batches),
        (local, against),
    )
