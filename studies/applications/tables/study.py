"""Are codes of a pretrained autoencoder worth having on tables and signals, compared with what one would use there anyway?

Claims: no claim of a paper is tested. On tables, gradient boosting is what most would reach for (Grinsztajn et al. 2022).

Commands: python -m studies.tables --out results/tables/breast-cancer
python -m studies.tables --data digits --out results/tables/digits
python -m studies.tables --data italy-power --seeds 5 --out results/tables/italy-power (needs the package aeon)
Expected and cost: results/tables/*/README.md, generated from the rows.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stacked.runtime.progress import each
from stacked.util.checks import need, wholes
from studies.applications.tables.figures import ACCURACY, USUAL, answer, draw_accuracy
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.measuring.study import MeasurementStudy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stacked.data import Splits
    from stacked.spec import RunSpec

#: growth policies that are compared; "random" is not pretrained
POLICIES = ("greedy", "greedy+finetune", "joint", "random")
BOOSTING, LOGISTIC, PCA = USUAL
#: numbers of labels beside all of them, and the width of the code
LABELS, CODE = (20, 50), 16
PROTOCOL = f"""\
- **Autoencoders**: dense stages of 64, 32 and {CODE} units for rows of a table (digits: the 64 pixels as columns), two
  convolutional stages of 16 and 32 channels and a dense one of {CODE} for signals; ReLU, the code linear; {{updates:,}} updates
  in each phase of `greedy+finetune` with Adam, learning rate 0.003 with a cosine schedule, batches of 32 and a tenth of the
  values masked. `greedy` and `joint` have the same number of training FLOPs. They are pretrained on all training rows, without
  labels. `random` is not pretrained. No setting was tuned, so that differences between policies do not show which is better.
- **Probe**: logistic regression on standardised codes of the labelled training rows. **Classifier**: a linear head and the
  encoder, fine-tuned with Adam for 200 updates or an epoch, whichever is more; learning rate (0.001 or 0.003) and number of
  updates are selected by accuracy on at most as many validation rows as there are labels, which no other arm uses.
- **Without an autoencoder**: `{BOOSTING}` is scikit-learn's HistGradientBoostingClassifier on the raw columns, with its
  defaults except for the smallest leaf, a tenth of the labelled rows, 2 to 20 (its default of 20 could not split 20 rows at
  all). `{LOGISTIC}` is on the standardised raw columns, `{PCA}` on {CODE} standardised principal components of all training
  rows. Every logistic regression has scikit-learn's defaults (L2, C = 1) with at most 1,000 iterations.
- **Labels**: with each seed, all arms get the same labelled training rows, balanced by class.
- **Splits**: a sixth of the rows is the test set, a twelfth of the others the validation set, the same for every seed, so that
  the intervals do not contain the variation between test sets. The test set is read once.
"""


def rows_of(splits: Splits) -> Splits:
    """Return images as rows of a table, floats in 0..1 [N, D]; other data as they are."""
    from stacked.data.scaling import Scaling

    if splits.scaling is not None or len(splits.input_shape) != 3:
        return splits
    train, valid, test = (
        dataclasses.replace(part, inputs=part.inputs.flatten(1).float() / 255)
        for part in (splits.train, splits.valid, splits.test)
    )
    return dataclasses.replace(splits, train=train, valid=valid, test=test, scaling=Scaling())


def budgets_of(context: Context) -> list[int | None]:
    """Return the numbers of labels to measure; None: all."""
    return [*wholes(context.given.labels, "labels"), None]


def named(budget: int | None) -> str:
    """Return the condition of a number of labels."""
    return "all" if budget is None else str(budget)


def spec_of(policy: str, splits: Splits, seed: int, updates: int, budgets: Sequence[int | None]) -> RunSpec:
    """Return the spec of a policy whose training costs as many FLOPs as greedy growth with fine-tuning."""
    from stacked.spec import Budget, Classification, Evaluation, Optimisation, RunSpec, StackSpec
    from studies.design.arms import Arm
    from studies.framework.compute_budget import budgets as equal_budgets

    is_vector = len(splits.input_shape) == 1
    first = StackSpec.of("dense", 64, 32) if is_vector else StackSpec.of("conv", 16, 32)
    stages = *first.stages, *StackSpec.of("dense", CODE, activation="linear").stages
    inputs = splits.train.inputs
    is_unit = splits.scaling is None or (inputs.min().item() >= 0 and inputs.max().item() <= 1)
    base = RunSpec(
        policy="greedy+finetune",
        seed=seed,
        stack=StackSpec(stages, "sigmoid" if is_unit else "linear"),
        budget=Budget((updates,), updates, "updates"),
        optimisation=Optimisation(
            lr=3e-3, schedule="cosine", batch_size=32, corruption="masking", corruption_level=(0.1,)
        ),
        evaluation=Evaluation(every=1_000_000, probes=()),
        classification=Classification(labels=tuple(budgets), updates=200),
    )
    arms = [Arm("greedy+finetune"), Arm(policy)]
    if policy == "random":
        return dataclasses.replace(base, policy=policy)
    found = equal_budgets(base, splits, arms, "flops", arms[0])[policy]
    return dataclasses.replace(base, policy=policy, budget=found)


def pretrained(policy: str) -> Callable[[Context, int], Iterator[Measurement]]:
    """Return the method that measures probes and classifiers of stacks of a policy."""

    def found(context: Context, seed: int) -> Iterator[Measurement]:
        from stacked.runs.run import run
        from studies.framework.compute_budget import cost_function

        splits, budgets = rows_of(context.splits), budgets_of(context)
        spec = spec_of(policy, splits, seed, context.given.updates, budgets)
        result = run(spec, splits, device=context.given.device)
        # codes of data as splits hold them, which are scaled already
        train, test = (coded(result.stack, part.inputs) for part in (splits.train, splits.test))
        for budget in budgets:
            accuracy = logistic_accuracy(train, test, splits, budget, seed)
            yield Measurement(f"{policy}, probe", named(budget), "accuracy", accuracy)
            fine_tuned = 100 * result.row[f"final/classifier_acc_{named(budget)}"]
            yield Measurement(f"{policy}, classifier", named(budget), "accuracy", fine_tuned)
        cost = cost_function(spec, splits, len(splits.train), "flops", "cpu")
        gflop = cost(spec.phases(spec.updates_per_epoch(len(splits.train)))) / 1e9
        for end in ("probe", "classifier"):
            yield Measurement(f"{policy}, {end}", "", "gflop", gflop)

    return found


def coded(stack: Any, inputs: Any) -> NDArray[np.float64]:
    """Return the bottleneck codes [N, CODE] of inputs as splits hold them."""
    from stacked.evaluation.evaluate import codes
    from stacked.training.codes import StoredInputs

    found = codes(stack, StoredInputs(inputs), depth=stack.depth)
    return found.flatten(1).double().numpy()


def labelled_rows(splits: Splits, budget: int | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the labelled training rows of a budget, the same for all arms with a seed, and their labels."""
    from stacked.data.labels import label_subset

    rows = label_subset(splits.train.labels, budget, seed).numpy()
    return rows, splits.train.labels.numpy()[rows]


def accuracy_of(predicted: NDArray[np.int64], splits: Splits) -> float:
    """Return the accuracy on labelled test rows in %."""
    labels = splits.test.labels.numpy()
    return 100 * float((predicted == labels)[labels >= 0].mean())


def logistic_accuracy(
    train: NDArray[np.float64], test: NDArray[np.float64], splits: Splits, budget: int | None, seed: int
) -> float:
    """Return the test accuracy in % of logistic regression on standardised features of the labelled rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = labelled_rows(splits, budget, seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train[rows], labels)
    return accuracy_of(model.predict(test), splits)


def columns_of(splits: Splits) -> list[NDArray[np.float64]]:
    """Return training and test rows as columns [N, D]."""
    return [part.inputs.flatten(1).double().numpy() for part in (splits.train, splits.test)]


def logistic(context: Context, seed: int) -> Iterator[Measurement]:
    """Measure logistic regression on the raw columns."""
    splits = rows_of(context.splits)
    train, test = columns_of(splits)
    for budget in budgets_of(context):
        yield Measurement(LOGISTIC, named(budget), "accuracy", logistic_accuracy(train, test, splits, budget, seed))


def components(context: Context, seed: int) -> Iterator[Measurement]:
    """Measure logistic regression on principal components."""
    from sklearn import decomposition

    splits = rows_of(context.splits)
    train, test = columns_of(splits)
    pca = decomposition.PCA(min(CODE, *train.shape), svd_solver="full").fit(train)
    train, test = pca.transform(train), pca.transform(test)
    for budget in budgets_of(context):
        yield Measurement(PCA, named(budget), "accuracy", logistic_accuracy(train, test, splits, budget, seed))


def boosting(context: Context, seed: int) -> Iterator[Measurement]:
    """Measure gradient boosting on the raw columns."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    splits = rows_of(context.splits)
    train, test = columns_of(splits)
    for budget in each(budgets_of(context), "label budgets"):
        rows, labels = labelled_rows(splits, budget, seed)
        least = max(2, min(20, len(rows) // 10))
        model = HistGradientBoostingClassifier(min_samples_leaf=least, random_state=seed).fit(train[rows], labels)
        yield Measurement(BOOSTING, named(budget), "accuracy", accuracy_of(model.predict(test), splits))


def check(context: Context, methods: Sequence[str]) -> None:
    """Raise InputError unless the data have classes and enough labels."""
    from stacked.data.labels import label_subset

    need(
        bool(context.splits.classes),
        f"{context.splits.name} has no classes, which this study compares by: give data with labels (of a table, --target)",
    )
    for budget in budgets_of(context):
        label_subset(context.splits.train.labels, budget, 0)


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.set_defaults(data="breast-cancer", seeds=10)
    command.add_argument("--updates", type=int, default=400, metavar="N", help="updates of each phase (400)")
    command.add_argument(
        "--labels", type=int, nargs="+", default=list(LABELS), metavar="N", help="label budgets beside all (20 50)"
    )


STUDY = MeasurementStudy(
    name="tables",
    title="Tables and signals: codes of an autoencoder, or gradient boosting",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={
        "boosting": boosting,
        "logistic": logistic,
        "pca": components,
        **{policy: pretrained(policy) for policy in POLICIES},
    },
    arms=(*USUAL, *(f"{policy}, {end}" for policy in POLICIES for end in ("probe", "classifier"))),
    measures={"accuracy": ACCURACY},
    conditions="labels",
    drawings={
        "accuracy": Drawing(
            "Accuracy on test rows by number of labelled training rows (higher is better), of linear probes of the codes and of "
            "fine-tuned classifiers, beside what needs no autoencoder. Small dots are single seeds; bars are 95 % t intervals of "
            "the mean over seeds (none for fewer than three).",
            draw_accuracy,
        ),
    },
    varies="the initial weights, the data order, the corruption and the labelled rows",
    answer=answer,
    options=add_options,
    smoke={"data": "breast-cancer", "updates": 5},
    check=check,
    reads_any=True,
)
