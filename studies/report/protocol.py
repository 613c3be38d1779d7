"""What the protocol of a study of training runs may name: the numbers of its runs, as they were used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec


def facts(base: RunSpec, splits: Splits) -> dict[str, Any]:
    """What a protocol may name: the numbers of this study, as they were used."""
    from stacked.evaluation.evaluate import PROBED
    from stacked.model.stack import empty_stack

    labelled, tuned = int((splits.train.labels >= 0).sum()), base.classification
    wide = empty_stack(base.stack, splits.image_shape).widest(splits.image_shape) > PROBED
    return {
        "averaged": f", codes of more than {PROBED:,} values averaged over neighbouring places" if wide else "",
        "valid": f"{len(splits.valid):,}",
        "probe_labels": f"{min(base.evaluation.probe_labels, labelled):,}",
        "probe_images": f"{min(base.evaluation.probe_images, labelled):,}",
        "updates": tuned.updates,
        "epochs": f"{tuned.epochs:g}",
        "lrs": " or ".join(f"{lr:g}" for lr in tuned.lrs),
        "checked": selection(base, splits),
        "lr": f"{base.optimisation.lr:g}",
        "end_lr": f"{base.optimisation.end_lr or base.optimisation.lr:g}",
        "weight_decay": f"{base.optimisation.weight_decay:g}",
        "schedule": base.optimisation.schedule,
        "optimiser": {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}[base.optimisation.optimiser],
        "batch": f"{base.optimisation.batch_size:,}",
        "train": f"{len(splits.train):,}",
    }


def selection(base: RunSpec, splits: Splits) -> str:
    """On how many labelled validation images classifiers are selected, for a protocol."""
    how, labelled = base.classification, int((splits.valid.labels >= 0).sum())
    most = min(how.images, labelled)
    if how.selection == "images":
        return f"{most:,} labelled validation images, also for small label budgets"
    return f"as many labelled validation images as there are training labels, at most {most:,}"
