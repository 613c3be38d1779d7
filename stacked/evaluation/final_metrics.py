"""The final metrics of a run. In a run, only this module and `pictures` read test images, and only after training."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from stacked.data import Split, Splits
from stacked.evaluation import evaluate
from stacked.evaluation.deep_clustering import DEEP_CLUSTERINGS
from stacked.evaluation.evaluate import spread
from stacked.evaluation.fresh_decoder import fresh_decoder_errors
from stacked.evaluation.label_rows import LabelRows
from stacked.evaluation.probes import probe
from stacked.evaluation.scores import accuracy, outputs_of, r2
from stacked.model.classifier import Classifier
from stacked.model.regressor import Regressor
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.progress import each
from stacked.training.codes import StoredInputs
from stacked.util.errors import Diverged

#: what a probe of the inputs found, by digest of the data, rows that it was fitted to, name, number of threads and device: it
#: does not depend on the stack, so that all arms of a study share it
_of_inputs: dict[tuple[str, str, str, int, str], dict[str, float]] = {}


def labelled(split: Split, most: int | None = None) -> tuple[StoredInputs, Tensor]:
    """Return the labelled images of a split and their labels; at most `most`, evenly spread."""
    rows = (split.labels >= 0).nonzero().flatten()
    rows = rows if most is None else rows[spread(len(rows), most)]
    return StoredInputs(split.inputs, rows=rows), split.labels[rows]


def check_finite(errors: evaluate.Reconstruction, depth: int, split: str) -> None:
    """Raise Diverged if an error is not finite, because it would spoil means over seeds and ranks of arms."""
    if not math.isfinite(errors.mse):
        raise Diverged(f"the {split} examples' reconstruction from depth {depth} has an error of {errors.mse}")


def final_metrics(
    stack: StackedAutoencoder,
    splits: Splits,
    labels: LabelRows,
    probes: Sequence[str] = ("logistic",),
    depths: str = "code",
    fresh_decoder: bool = False,
) -> dict[str, float]:
    """Return the final metrics of a stack. The validation error may be used to select among runs, metrics of test images never.

    labels: the rows that probes use. probes: names of probes; depths: what they read, as `Evaluation.probe_depths`.
    fresh_decoder: whether the errors of fresh linear decoders of all codes are measured.
    """
    train, valid, test, depth = splits.train, splits.valid, splits.test, stack.depth
    selected = evaluate.reconstruction(stack, valid.inputs)
    check_finite(selected, depth, "validation")
    found: dict[str, float] = {"valid_recon_mse": selected.mse}
    for k in each(range(1, depth + 1), "test error", "depths"):
        errors = evaluate.reconstruction(stack, test.inputs, k)
        check_finite(errors, k, "test")
        found[f"recon_mse_depth{k}"] = errors.mse
        if k == depth:
            found |= {f"recon_{name}": value for name, value in asdict(errors).items() if value is not None}
    if fresh_decoder:
        restored = fresh_decoder_errors(
            stack, train.inputs, test.inputs, each(range(1, depth + 1), "fresh decoder", "depths")
        )
        found |= {f"fresh_decoder_mse_depth{k}": errors.mse for k, errors in enumerate(restored, start=1)}
        found["fresh_decoder_mse"] = restored[-1].mse
    if not splits.classes:
        return found

    tested, test_labels = labelled(test)
    fitted = StoredInputs(train.inputs, rows=labels.probed)

    def of_codes(name: str, k: int) -> dict[str, float]:
        train_codes, test_codes = (evaluate.Codes(stack, images, k, evaluate.PROBED) for images in (fitted, tested))
        return probe(name, train_codes.all(), train.labels[labels.probed], test_codes, test_labels)

    def probed(name: str, k: int) -> dict[str, float]:
        if k > 0:
            return of_codes(name, k)
        rows = hashlib.sha256(labels.probed.numpy().data).hexdigest()
        key = splits.digest, rows, name, torch.get_num_threads(), str(evaluate.device_of(stack))
        if key not in _of_inputs:
            _of_inputs[key] = of_codes(name, 0)
        return dict(_of_inputs[key])

    if "logistic" in probes:
        for k in each(range(depth + 1), "linear probe", "depths"):
            found[f"probe_acc_depth{k}"] = probed("logistic", k)["acc"]
        found["probe_acc"] = found[f"probe_acc_depth{depth}"]
    clusters = int(train.labels[labels.probed].unique().numel())
    for name in (name for name in probes if name in DEEP_CLUSTERINGS):
        agreement = DEEP_CLUSTERINGS[name](stack, fitted, clusters, tested, test_labels)
        found |= {f"{name}_{what}": value for what, value in asdict(agreement).items()}
    others = [name for name in probes if name != "logistic" and name not in DEEP_CLUSTERINGS]
    for name in each(others, "other probes", "probes") if others else ():
        of_code = probed(name, depth)
        found |= {f"{name}_{what}": value for what, value in of_code.items()}
        for k in {"code": (), "ends": (0, depth), "all": range(depth + 1)}[depths]:
            of_depth = probed(name, k) if k < depth else of_code
            found |= {f"{name}_{what}_depth{k}": value for what, value in of_depth.items()}

    return found


def tested_regressor(regressor: Regressor, splits: Splits) -> tuple[float, float]:
    """Return R² and the mean squared error, in squared units of the targets, of a regressor on test examples with targets."""
    rows, targets = (splits.test.marks == 0).nonzero().flatten(), splits.test.targets
    assert targets is not None
    data, wanted = StoredInputs(splits.test.inputs, rows=rows), targets[rows]
    squared = (regressor.in_units(outputs_of(regressor, data)) - wanted).square().mean().item()
    return r2(regressor, data, wanted), squared


def tested_accuracy(classifier: Classifier, splits: Splits) -> float:
    """Return the accuracy of a classifier on the labelled test images."""
    return accuracy(classifier, *labelled(splits.test))
