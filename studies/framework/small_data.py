"""Settings that suit the data: a stack that reads them, label budgets that exist, enough updates and small enough batches."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from stacked.runtime.progress import say
from stacked.spec import Budget, StackSpec
from stacked.spec.classification import fitting_budgets
from stacked.spec.optimisation import as_tuple
from studies.statistics.words import Words

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import DataSpec, RunSpec
    from studies.cli.options import Options

#: A phase of fewer updates hardly trains.
FEWEST_UPDATES = 100
#: Updates of the shortest phase where the budget is raised.
ENOUGH_UPDATES = 200
#: The batch size is halved until an epoch has this many batches, but not below `SMALLEST_BATCH`.
BATCHES_OF_EPOCH = 4
SMALLEST_BATCH = 16
#: Options that set the length of training, and label budgets; if one of them is given, these are not changed.
BUDGET_OPTIONS = {"--epochs", "--finetune", "--unit", "--batch-size", "--optimisation", "--config"}
LABEL_OPTIONS = {"--labels", "--classification", "--config"}
#: Options that describe the kind of the stages; one that is given is not changed.
STACK_OPTIONS = {"--kind", "--stack", "--config"}
#: Units of the stages for vectors, unless --channels gives them.
VECTOR_WIDTHS = (64, 32, 16)


def load_data(given: Options, own: DataSpec) -> tuple[Options, Splits]:
    """Return the options and the data, of which a limit that was not typed keeps as many training images as there are, at most.

    The returned options have the number that was kept. own: the data of the study's defaults.
    """
    from stacked.runs.run import load

    limit = given.base.data.limit
    if limit is None or limit != own.limit or "--limit" in given.typed:
        return given, load(given.base, given.data_dir, given.download, given.disk_cache)
    splits = at_most(limit, load(with_limit(given.base, None), given.data_dir, given.download, given.disk_cache))
    return dataclasses.replace(given, base=with_limit(given.base, len(splits.train))), splits


def with_limit(base: RunSpec, limit: int | None) -> RunSpec:
    """Return `base` with another number of training images."""
    return dataclasses.replace(base, data=dataclasses.replace(base.data, limit=limit))


def at_most(limit: int, splits: Splits) -> Splits:
    """Return the data with `limit` training images, or with all of them if they are fewer, which is printed."""
    images = len(splits.train)
    if images < limit:
        used = f"all {images:,} training images are used, fewer than the {limit:,} that this study takes by default"
        say(Words.of_splits(splits).said(used))
    return splits.limited(min(limit, images))


def fit_to_data(given: Options, splits: Splits, own: DataSpec) -> Options:
    """Return the options with stack, budget, batch size and label budgets that suit the data, and print what changed.

    Values that the user gave are kept; if the shortest phase then has fewer than 100 updates, a warning is printed. Budgets and
    batches are not changed in smoke runs and with --scale, and nothing for `own`, the data for which the defaults of the study
    were made.
    """
    given, words = with_fitting_stack(given, splits), Words.of_splits(splits)
    if given.typed & {"--smoke", "--scale"} or given.base.data == own:
        return given
    base, images = given.base, len(splits.train)
    shortest = shortest_phase(base, images)
    if shortest < FEWEST_UPDATES:
        if given.typed & BUDGET_OPTIONS:
            say(
                f"the shortest part of the budget is {shortest} update{'s' * (shortest != 1)}, too few to train: give more with "
                f"--unit updates --epochs {ENOUGH_UPDATES} --finetune {ENOUGH_UPDATES}"
            )
        else:
            base = with_enough_updates(base, images)
            batches = " or ".join(map(str, as_tuple(base.optimisation.batch_size)))
            say(
                words.said(f"{images:,} training images are few: ")
                + f"each part of the budget has {shortest_phase(base, images)} updates or more, in batches of {batches} "
                "(--epochs, --finetune, --unit and --batch-size set them)"
            )
    if not given.typed & LABEL_OPTIONS:
        labelled = int((splits.train.marks >= 0).sum()) if splits.outputs else 0
        budgets, classes = base.classification.labels, len(splits.classes)
        possible = fitting_budgets(budgets, labelled, classes) if splits.outputs else budgets
        if possible != budgets:
            left_out = ", ".join(f"{budget:,}" for budget in budgets if budget not in possible)
            models = "classifiers" if splits.classes else "regressors"
            of_classes = f" of {classes:,} classes" if classes else ""
            labels = f"{labelled:,} training images{of_classes} have labels"
            say(words.said(f"{labels}: {models} with {left_out} labels are left out"))
            base = dataclasses.replace(base, classification=dataclasses.replace(base.classification, labels=possible))
    return dataclasses.replace(given, base=base)


def with_fitting_stack(given: Options, splits: Splits) -> Options:
    """Return the options with dense stages for vectors and linear outputs for values outside 0..1, and print what changed."""
    stack, inputs = given.base.stack, splits.train.inputs
    if inputs.dim() == 2 and not given.typed & STACK_OPTIONS:
        widths = [stage.width for stage in stack.stages] if "--channels" in given.typed else VECTOR_WIDTHS
        stack = StackSpec.of("dense", *widths, activation=stack.stages[0].activation, output=stack.output)
    is_unit = splits.scaling is None or (inputs.min().item() >= 0 and inputs.max().item() <= 1)
    if not is_unit and not given.typed & {"--stack", "--config"}:
        stack = dataclasses.replace(stack, output="linear")
    if stack == given.base.stack:
        return given
    named = " ".join(str(stage.width) for stage in stack.stages)
    say(
        f"the stack for these data: {stack.stages[0].kind} stages of {named} with output {stack.output!r} (--kind, --channels "
        "and --stack set it)"
    )
    return dataclasses.replace(given, base=dataclasses.replace(given.base, stack=stack))


def shortest_phase(base: RunSpec, images: int) -> int:
    """Return the number of updates of the shortest part of the budget, on so many training images."""
    updates = base.updates(base.updates_per_epoch(images))
    return min([*(updates.stages or ()), *([] if updates.end_to_end is None else [updates.end_to_end])])


def smaller(batch: int, images: int) -> int:
    """Return the batch size, halved until an epoch of so many images has enough batches."""
    while batch >= 2 * SMALLEST_BATCH and images < BATCHES_OF_EPOCH * batch:
        batch //= 2
    return batch


def with_enough_updates(base: RunSpec, images: int) -> RunSpec:
    """Return `base` with smaller batches and a longer budget, whose parts keep their proportions."""
    sizes = tuple(smaller(size, images) for size in as_tuple(base.optimisation.batch_size))
    base = dataclasses.replace(base, optimisation=dataclasses.replace(base.optimisation, batch_size=sizes))
    stages, end_to_end = base.budget.stages, base.budget.end_to_end
    factor = ENOUGH_UPDATES / min([*(stages or ()), *([] if end_to_end is None else [end_to_end])])
    longer = Budget(
        None if stages is None else tuple(float(round(factor * value)) for value in stages),
        None if end_to_end is None else float(round(factor * end_to_end)),
        "updates",
    )
    if shortest_phase(base, images) >= ENOUGH_UPDATES:
        return base
    return dataclasses.replace(base, budget=longer)
