"""The values that the protocol text of a study of training runs can name in braces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studies.statistics.words import Words

#: how the items of a protocol begin that are about classes
OF_CLASSES = ("**Linear probe**", "**Classifier**", "**Fine-tuning**", "**Layers without fine-tuning**")
REGRESSOR = """\
**Regressor**: a linear head on the bottleneck, which learns the target standardised by its mean and standard deviation on the
  training labels. Head and encoder are trained on the squared error with {tuned_optimiser} for {updates} updates or {epochs},
  whichever is more. Learning rate ({lrs}) and number of updates are selected by R² on {checked}. The arm `random`, if there is
  one, is the same network with random initial weights. R² is 0 for the mean of the test labels, and at most 1."""
SCALED = """\
**Scaling**: values are scaled as fitted to the training images. Reconstruction errors are those of scaled values."""
OPTIMISERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "lbfgs": "L-BFGS"}

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec


def facts(base: RunSpec, splits: Splits) -> dict[str, Any]:
    """Return the values by name, as text, with the settings that the runs used."""
    from stacked.evaluation.evaluate import PROBED
    from stacked.model.stack import empty_stack

    labelled, recipe = int((splits.train.marks >= 0).sum()), base.classification
    wide = empty_stack(base.stack, splits.input_shape).widest(splits.input_shape) > PROBED
    return {
        "averaged": f" (codes of more than {PROBED:,} values are average-pooled first)" if wide else "",
        "valid": f"{len(splits.valid):,}",
        "probe_labels": f"{min(base.evaluation.probe_labels, labelled):,}",
        "probe_images": f"{min(base.evaluation.probe_images, labelled):,}",
        "updates": recipe.updates,
        "epochs": f"{recipe.epochs:g} epoch{'s' * (recipe.epochs != 1)}",
        "tuned_optimiser": OPTIMISERS[recipe.optimiser],
        "lrs": " or ".join(f"{lr:g}" for lr in recipe.lrs),
        "checked": selection(base, splits),
        "lr": listed(base.optimisation.lr, "g"),
        "end_lr": listed(base.optimisation.end_lr or base.optimisation.lr, "g"),
        "weight_decay": f"{base.optimisation.weight_decay:g}",
        "schedule": base.optimisation.schedule,
        "optimiser": OPTIMISERS[base.optimisation.optimiser],
        "batch": listed(base.optimisation.batch_size, ","),
        "train": f"{len(splits.train):,}",
        "stage_epochs": length(base.budget.stages or (), base.budget.unit),
        "finetune_epochs": length((base.budget.end_to_end,), base.budget.unit),
    }


def protocol(text: str, base: RunSpec, splits: Splits) -> str:
    """Return the protocol of a study for these runs: with the values of `facts`, and only about what these data have.

    text: list items in Markdown, written for images with classes. Data without classes have neither probes nor classifiers, and
    those with numbers to predict have regressors.
    """
    found = facts(base, splits)
    items = ("\n" + text.strip("\n")).split("\n- ")[1:]
    if not splits.classes:
        items = [item for item in items if not item.startswith(OF_CLASSES)]
        items = [item.replace(", stratified by class", "") for item in items]
    if splits.train.targets is not None:
        items.append(REGRESSOR)
    items += [SCALED] if Words.of_splits(splits).is_scaled else []
    return Words.of_splits(splits).said("".join(f"- {item}\n" for item in items).format(**found))


def length(values: Sequence[float | None], unit: str) -> str:
    """Return the length of a part of a budget, or of each stage, as text: "2 epochs"."""
    known = [value for value in values if value is not None]
    return f"{', '.join(f'{value:,g}' for value in known) or 'no'} {unit.rstrip('s') if known == [1.0] else unit}"


def listed(values: float | tuple[float, ...], form: str) -> str:
    """Return one value, or those of all stages, as text."""
    from stacked.spec.optimisation import as_tuple

    return ", ".join(f"{value:{form}}" for value in as_tuple(values))


def selection(base: RunSpec, splits: Splits) -> str:
    """Return the number of labelled validation images that select the classifiers' settings, as text."""
    how, labelled = base.classification, int((splits.valid.marks >= 0).sum())
    most = min(how.images, labelled)
    if how.selection == "images":
        return f"{most:,} labelled validation images, also for small label budgets"
    return f"as many labelled validation images as there are training labels, at most {most:,}"
