"""The final metrics of a run. Only this module and `pictures` read test images, and only after training."""

from __future__ import annotations

import math
from dataclasses import asdict

from torch import Tensor

from stacked.data import Split, Splits
from stacked.data.labels import label_subset
from stacked.evaluation import evaluate
from stacked.evaluation.classify import fine_tuned
from stacked.evaluation.evaluate import spread
from stacked.evaluation.probes import linear_probe
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.progress import each
from stacked.spec import RunSpec
from stacked.training.codes import Images
from stacked.util.errors import Diverged


def probe_labels(spec: RunSpec, splits: Splits) -> int:
    """Return the number of labels that the linear probe is fitted to: the requested number, or all labels if there are fewer."""
    return min(spec.evaluation.probe_labels, int((splits.train.labels >= 0).sum()))


def labelled(split: Split, most: int | None = None) -> tuple[Images, Tensor]:
    """Return the labelled images of a split and their labels; at most `most`, evenly spread."""
    rows = (split.labels >= 0).nonzero().flatten()
    rows = rows if most is None else rows[spread(len(rows), most)]
    return Images(split.images, rows=rows), split.labels[rows]


def check_finite(errors: evaluate.Reconstruction, depth: int, split: str) -> None:
    """Raise Diverged if an error is not finite, because it would spoil means over seeds and ranks of arms."""
    if not math.isfinite(errors.mse):
        raise Diverged(f"the {split} images' reconstruction from depth {depth} has an error of {errors.mse}")


def measured(stack: StackedAutoencoder, spec: RunSpec, splits: Splits) -> dict[str, float]:
    """Return the final metrics, which are not used for training or selection."""
    train, valid, test, depth = splits.train, splits.valid, splits.test, stack.depth
    selected = evaluate.reconstruction(stack, valid.images)
    check_finite(selected, depth, "validation")
    found: dict[str, float] = {"valid_recon_mse": selected.mse}
    for k in each(range(1, depth + 1), "test error", "depths"):
        errors = evaluate.reconstruction(stack, test.images, k)
        check_finite(errors, k, "test")
        found[f"recon_mse_depth{k}"] = errors.mse
        if k == depth:
            found |= {f"recon_{name}": value for name, value in asdict(errors).items()}
    if not splits.classes:
        return found

    tested, test_labels = labelled(test)
    index = label_subset(train.labels, probe_labels(spec, splits), spec.seed)
    fitted = Images(train.images, rows=index)
    for k in each(range(depth + 1), "linear probe", "depths"):
        train_codes, test_codes = (evaluate.Codes(stack, images, k, evaluate.PROBED) for images in (fitted, tested))
        found[f"probe_acc_depth{k}"] = linear_probe(train_codes.all(), train.labels[index], test_codes, test_labels)
    found["probe_acc"] = found[f"probe_acc_depth{depth}"]

    config = spec.classification
    # budgets smaller than the number of labels that the encoder was trained with would not be honest
    supervised = any(phase.target == "labels" for phase in spec.phases())
    seen = len(label_subset(train.labels, spec.optimisation.labels, spec.seed)) if supervised else 0
    for budget in config.labels:
        index = label_subset(train.labels, budget, spec.seed)
        if len(index) < seen:
            continue
        checked = selecting(spec, splits, budget)
        tuned = fine_tuned(
            stack,
            (Images(train.images, rows=index), train.labels[index]),
            (Images(valid.images, rows=checked), valid.labels[checked]),
            (tested, test_labels),
            len(splits.classes),
            config,
            spec.seed,
        )
        name = "all" if budget is None else str(budget)
        found |= {
            f"classifier_acc_{name}": tuned.accuracy,
            f"classifier_valid_acc_{name}": tuned.valid_accuracy,
            f"classifier_lr_{name}": tuned.lr,
            f"classifier_updates_{name}": tuned.updates,
            f"classifier_valid_labels_{name}": len(checked),
        }
    return found


def selecting(spec: RunSpec, splits: Splits, budget: int | None) -> Tensor:
    """Return the indices (int64) of the labelled validation images that select a classifier for this label budget."""
    config, labels = spec.classification, splits.valid.labels
    known = (labels >= 0).nonzero().flatten()
    if config.selection == "images" or config.checked(budget) >= len(known):
        return known[spread(len(known), config.checked(budget))]
    return label_subset(labels, config.checked(budget), spec.seed)
