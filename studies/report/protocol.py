"""The values that the protocol text of a study of training runs can name in braces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec


def facts(base: RunSpec, splits: Splits) -> dict[str, Any]:
    """Return the values by name, as text, with the settings that the runs used."""
    from stacked.evaluation.evaluate import PROBED
    from stacked.model.stack import empty_stack

    labelled, tuned = int((splits.train.labels >= 0).sum()), base.classification
    wide = empty_stack(base.stack, splits.input_shape).widest(splits.input_shape) > PROBED
    return {
        "averaged": f" (codes of more than {PROBED:,} values are average-pooled first)" if wide else "",
        "valid": f"{len(splits.valid):,}",
        "probe_labels": f"{min(base.evaluation.probe_labels, labelled):,}",
        "probe_images": f"{min(base.evaluation.probe_images, labelled):,}",
        "updates": tuned.updates,
        "epochs": f"{tuned.epochs:g}",
        "lrs": " or ".join(f"{lr:g}" for lr in tuned.lrs),
        "checked": selection(base, splits),
        "lr": listed(base.optimisation.lr, "g"),
        "end_lr": listed(base.optimisation.end_lr or base.optimisation.lr, "g"),
        "weight_decay": f"{base.optimisation.weight_decay:g}",
        "schedule": base.optimisation.schedule,
        "optimiser": {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "lbfgs": "L-BFGS"}[base.optimisation.optimiser],
        "batch": listed(base.optimisation.batch_size, ","),
        "train": f"{len(splits.train):,}",
    }


def listed(values: float | tuple[float, ...], form: str) -> str:
    """Return one value, or those of all stages, as text."""
    from stacked.spec.optimisation import as_tuple

    return ", ".join(f"{value:{form}}" for value in as_tuple(values))


def selection(base: RunSpec, splits: Splits) -> str:
    """Return the number of labelled validation images that select the classifiers' settings, as text."""
    how, labelled = base.classification, int((splits.valid.labels >= 0).sum())
    most = min(how.images, labelled)
    if how.selection == "images":
        return f"{most:,} labelled validation images, also for small label budgets"
    return f"as many labelled validation images as there are training labels, at most {most:,}"
