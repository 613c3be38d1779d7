"""The final metrics of a run: with pictures, the only module that reads the test set, and both do so after training."""

from __future__ import annotations

import math
from dataclasses import asdict

from stacked import evaluate
from stacked.classify import fine_tuned, linear_probe
from stacked.data import Splits
from stacked.data.labels import label_subset
from stacked.errors import Diverged
from stacked.evaluate import spread
from stacked.spec import RunSpec
from stacked.stack import StackedAutoencoder


def probe_labels(spec: RunSpec, splits: Splits) -> int:
    """How many labels the linear probe is fitted on: those asked for, or all there are."""
    return min(spec.evaluation.probe_labels, int((splits.train.labels >= 0).sum()))


def check_finite(errors: evaluate.Reconstruction, depth: int, split: str) -> None:
    """Raise Diverged for an error that is not finite: a mean over seeds, or a rank of arms, must not take it in."""
    if not math.isfinite(errors.mse):
        raise Diverged(f"the {split} images' reconstruction from depth {depth} has an error of {errors.mse}")


def measured(stack: StackedAutoencoder, spec: RunSpec, splits: Splits) -> dict[str, float]:
    """The final metrics; nothing that they say is used to train or to select."""
    train, valid, test, depth = splits.train, splits.valid, splits.test, stack.depth
    test_images = test.images
    selected = evaluate.reconstruction(stack, valid.images)
    check_finite(selected, depth, "validation")
    found: dict[str, float] = {"valid_recon_mse": selected.mse}
    for k in range(1, depth + 1):
        errors = evaluate.reconstruction(stack, test_images, k)
        check_finite(errors, k, "test")
        found[f"recon_mse_depth{k}"] = errors.mse
        if k == depth:
            found |= {f"recon_{name}": value for name, value in asdict(errors).items()}
    if not splits.classes:
        return found

    labelled = test.labels >= 0
    test_images, test_labels = test.images[labelled], test.labels[labelled]
    index = label_subset(train.labels, probe_labels(spec, splits), spec.seed)
    probe_images = train.images[index]
    for k in range(depth + 1):
        found[f"probe_acc_depth{k}"] = linear_probe(
            evaluate.codes(stack, probe_images, k),
            train.labels[index],
            evaluate.codes(stack, test_images, k),
            test_labels,
        )
    found["probe_acc"] = found[f"probe_acc_depth{depth}"]

    how = spec.classification
    # an encoder that has learnt from more labels than the budget would make its classifier a cheat
    supervised = any(phase.target == "labels" for phase in spec.phases())
    seen = len(label_subset(train.labels, spec.optimisation.labels, spec.seed)) if supervised else 0
    checked = (valid.labels >= 0).nonzero().flatten()
    checked = checked[spread(len(checked), how.images)]
    for budget in how.labels:
        index = label_subset(train.labels, budget, spec.seed)
        if len(index) < seen:
            continue
        tuned = fine_tuned(
            stack,
            (train.images[index], train.labels[index]),
            (valid.images[checked], valid.labels[checked]),
            (test_images, test_labels),
            len(splits.classes),
            how,
            spec.seed,
        )
        name = "all" if budget is None else str(budget)
        found |= {
            f"classifier_acc_{name}": tuned.accuracy,
            f"classifier_valid_acc_{name}": tuned.valid_accuracy,
            f"classifier_lr_{name}": tuned.lr,
            f"classifier_updates_{name}": tuned.updates,
        }
    return found
