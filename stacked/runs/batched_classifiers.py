"""Fine-tuning of the classifiers of several seeds as one batched model (see `batched_seeds`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from stacked.evaluation.fine_tuning import FineTuning
from stacked.evaluation.scores import Data
from stacked.model.classifier import Classifier
from stacked.model.stack import StackedAutoencoder
from stacked.runs.batched_seeds import Member, check_seeds, train_phase
from stacked.runtime.settings import own_settings
from stacked.spec import Classification
from stacked.stages.dense import Dense
from stacked.util.checks import need


@own_settings()
def fine_tune_seeds(
    stacks: Sequence[StackedAutoencoder],
    train: tuple[Data, Tensor],
    classes: Sequence[str],
    config: Classification,
    seeds: Sequence[int],
    after_check: Callable[[int, Sequence[Classifier]], None] = lambda update, classifiers: None,
) -> list[Classifier]:
    """Fine-tune a classifier from each stack at once and return them, in eval mode, as after their last update.

    Each is the classifier, up to rounding errors, that `fine_tuned` gives for its stack and seed without validation data; the
    stacks are not changed. train: examples with their classes, int64 [N]. classes: their names. config: the recipe, with one
    learning rate. after_check: called with the number of updates, 0 and those of the `checks` of the recipe, and with the
    classifiers as they are then.

    Raises InputError for a recipe or stacks that cannot be batched (see `check_batchable_recipe`), and Diverged if the loss of a
    seed is not finite.
    """
    check_seeds(seeds)
    need(len(stacks) == len(seeds), f"{len(stacks)} stacks do not fit {len(seeds)} seeds: give a seed for each stack")
    check_batchable_recipe(stacks, config)
    need(not train[1].is_floating_point(), "labels of floats are numbers to predict: give classes, int64")
    fine_tunings = [
        FineTuning(stack, train, None, classes, config, seed) for stack, seed in zip(stacks, seeds, strict=True)
    ]
    first = fine_tunings[0]
    models: list[Any] = [each.model for each in fine_tunings]  # classifiers, because the labels are classes
    members = [
        Member(each.objective, each.order, each.inputs, each.targets) for each in (one.training for one in fine_tunings)
    ]
    checks = {round(first.updates * (k + 1) / config.checks) for k in range(config.checks)}
    after_check(0, models)
    for member in members:
        member.train()
    train_phase(members, config.optimisation(first.lr), first.phase, checks, lambda update: after_check(update, models))
    return [model.eval() for model in models]


def check_batchable_recipe(stacks: Sequence[StackedAutoencoder], config: Classification) -> None:
    """Raise InputError for a recipe or stacks whose seeds cannot be fine-tuned as one model.

    Such recipes stop early, or use L-BFGS or dropout, as in `check_batchable`; such stacks have other than dense stages.
    """
    alone = "fine-tune one seed at a time, with run"
    need(
        config.patience is None,
        f"early stopping ends each seed at a different update: leave patience out, or {alone}",
    )
    need(
        config.optimiser != "lbfgs",
        f"a line search takes another number of evaluations for each seed: choose another optimiser than 'lbfgs', or {alone}",
    )
    need(config.dropout == 0, f"dropout draws random numbers inside a forward pass: leave it out, or {alone}")
    for stage in (stage for stack in stacks for stage in stack.stages):
        need(
            isinstance(stage, Dense),
            f"a stack with a {stage.kind} stage cannot be trained as one model of several seeds: use dense stages, or {alone}",
        )
