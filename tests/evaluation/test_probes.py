"""Probes and clusterings beside scikit-learn's and SciPy's own functions."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor

from stacked import InputError, run
from stacked.components.probe_labels import CLASSIFIERS, PROBE_NAMES
from stacked.data import Splits
from stacked.evaluation import final_metrics
from stacked.evaluation.clustering import agreement
from stacked.evaluation.deep_clustering import DEEP_CLUSTERINGS
from stacked.evaluation.evaluate import codes
from stacked.evaluation.label_rows import label_rows
from stacked.evaluation.probes import NAMES, PROBES, Scale, probe, quick_probe
from stacked.spec import Evaluation, RunSpec, StackSpec, from_json
from stacked.util.errors import Diverged
from stacked.util.serialization import to_json
from studies.report.tables import main_metrics, means
from studies.statistics.measures import measure
from studies.statistics.run_columns import limits
from tests.helpers.runs import SPEC

Data = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def data() -> Data:
    """Codes of four overlapping classes, on scales that differ between values, with labels that skip a number."""
    rng = torch.Generator().manual_seed(0)
    labels, theirs = torch.randint(0, 4, (300,), generator=rng), torch.randint(0, 4, (201,), generator=rng)
    centres, scales = 2 * torch.randn(4, 7, generator=rng), torch.logspace(-1, 1, 7)
    train, test = ((centres[y] + torch.randn(len(y), 7, generator=rng)) * scales for y in (labels, theirs))
    return train, labels * 2, test, theirs * 2


THEIRS: dict[str, Any] = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200)),
    "svm": make_pipeline(StandardScaler(), LinearSVC(C=0.01, random_state=0)),
    "ridge": make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0)),
    "knn5": KNeighborsClassifier(5),
    "knn20": KNeighborsClassifier(20),
}


def test_a_spec_can_name_every_probe_and_no_other() -> None:
    assert tuple(PROBES) == tuple(CLASSIFIERS)
    assert (*NAMES, *DEEP_CLUSTERINGS) == PROBE_NAMES


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_is_the_model_of_scikit_learn(name: str, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    train, labels, test, theirs = data
    model = THEIRS[name].fit(train.numpy(), labels.numpy())
    expected = model.score(test.numpy(), theirs.numpy())
    assert probe(name, train, labels, test, theirs) == {"acc": expected}
    assert 0.4 < expected < 1
    monkeypatch.setattr("stacked.evaluation.probes.chunks", lambda n, *_, **__: torch.arange(n).split(10))
    assert probe(name, train, labels, test, theirs) == {"acc": expected}  # however many codes are read at a time


def test_codes_are_standardised_by_all_training_codes(data: Data) -> None:
    """The first ones are on other scales."""
    train, labels, test, theirs = data
    train = train.clone()
    train[:50] *= torch.logspace(2, -2, 7)
    expected = StandardScaler().fit(train.numpy()).transform(test.numpy())
    assert np.abs(Scale(train)(test) - expected).max() < 1e-5
    model = THEIRS["logistic"].fit(train.numpy(), labels.numpy())
    assert probe("logistic", train, labels, test, theirs) == {"acc": model.score(test.numpy(), theirs.numpy())}


def test_neighbours_are_at_most_the_training_codes() -> None:
    train, labels = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([0, 0, 1])
    assert probe("knn20", train, labels, torch.tensor([[5.0], [6.0]]), torch.tensor([0, 1])) == {"acc": 0.5}


def test_a_clustering_is_that_of_scikit_learn_with_the_best_assignment_of_all(data: Data) -> None:
    train, labels, test, theirs = data
    clusters = KMeans(4, n_init=10, random_state=0).fit(train.numpy()).predict(test.numpy())
    classes = theirs.unique().numpy()
    best = max((classes[list(order)][clusters] == theirs.numpy()).mean() for order in itertools.permutations(range(4)))
    assert probe("kmeans", train, labels, test, theirs) == {
        "acc": best,
        "nmi": normalized_mutual_info_score(theirs.numpy(), clusters),
        "ari": adjusted_rand_score(theirs.numpy(), clusters),
    }
    assert 0.4 < best < 1


def test_agreement_of_clusters_with_classes() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    same = agreement((labels + 1) % 3, labels)
    assert (same.acc, same.nmi, same.ari) == (1.0, pytest.approx(1.0), 1.0)
    one = agreement(np.zeros(9, dtype=int), labels)
    assert (one.acc, one.nmi, one.ari) == (pytest.approx(1 / 3), 0.0, 0.0)
    finer = agreement(np.arange(9), labels)  # more clusters than classes: each class gets one of them
    assert finer.acc == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["train", "test"])
def test_codes_that_are_not_finite_end_a_probe(name: str, part: str, data: Data) -> None:
    train, labels, test, theirs = data
    (train if part == "train" else test)[0, 0] = torch.inf
    with pytest.raises(Diverged, match="the codes for the probes are not finite"):
        probe(name, train, labels, test, theirs)


def test_the_probes_of_a_spec_are_columns_of_its_row(toy: Splits) -> None:
    spec = replace(SPEC, evaluation=replace(SPEC.evaluation, probes=NAMES))
    result, before = run(spec, toy), run(SPEC, toy)
    added = {f"final/{name}_acc" for name in NAMES if name != "logistic"} | {"final/kmeans_nmi", "final/kmeans_ari"}
    assert set(result.row) - set(before.row) == added
    shared = [name for name in before.row if name.startswith("final/")]
    assert {name: result.row[name] for name in shared} == {name: before.row[name] for name in shared}
    rows = label_rows(spec, toy).probed
    train, test = (codes(result.stack, images, 2) for images in (toy.train.inputs[rows], toy.test.inputs))
    for name in NAMES[1:]:
        for what, value in probe(name, train, toy.train.labels[rows], test, toy.test.labels).items():
            assert result.row[f"final/{name}_{what}"] == value
            known, (low, high) = measure(f"final/{name}_{what}"), limits(f"final/{name}_{what}")
            assert known.label != f"{name}_{what}"
            assert known.better == "higher"
            assert low <= value <= high == 1
    table = pd.DataFrame([result.row])
    assert added < set(main_metrics(table))
    assert "k-means NMI" in means(table, main_metrics(table))
    alone = run(replace(spec, evaluation=replace(SPEC.evaluation, probes="knn5")), toy).row  # type: ignore[arg-type]
    assert alone["final/knn5_acc"] == result.row["final/knn5_acc"]
    assert not [name for name in alone if name.startswith("final/probe_acc")]


def test_all_probes_read_every_depth_where_a_spec_says_so(toy: Splits) -> None:
    def measured(depths: str) -> dict[str, float]:
        row = run(replace(SPEC, evaluation=replace(SPEC.evaluation, probes=("svm",), probe_depths=depths)), toy)
        return {name: value for name, value in row.row.items() if name.startswith("final/svm")}

    found, rows = measured("all"), label_rows(SPEC, toy).probed
    assert set(found) == {"final/svm_acc", *(f"final/svm_acc_depth{k}" for k in range(3))}
    assert found["final/svm_acc_depth2"] == found["final/svm_acc"] == measured("code")["final/svm_acc"]
    ends = ("final/svm_acc", "final/svm_acc_depth0", "final/svm_acc_depth2")
    assert measured("ends") == {name: found[name] for name in ends}
    pixels = (toy.train.inputs[rows], toy.test.inputs)
    train, test = (images.flatten(1).float() / 255 for images in pixels)
    assert found["final/svm_acc_depth0"] == probe("svm", train, toy.train.labels[rows], test, toy.test.labels)["acc"]
    assert limits("final/svm_acc_depth0") == (0, 1)
    assert measure("final/svm_acc_depth0").label == "linear SVM accuracy on pixels"
    assert measure("final/svm_error_depth2").label == "linear SVM error at depth 2"
    assert measure("final/svm_error_depth2").better == "lower"


def test_runs_on_the_same_data_and_rows_share_the_probes_of_the_inputs(
    toy: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[tuple[str, int]] = []

    def counted(name: str, train: Tensor, *others: Any) -> dict[str, float]:
        counts.append((name, train.shape[1]))
        return probe(name, train, *others)

    monkeypatch.setattr(final_metrics, "probe", counted)
    monkeypatch.setattr(final_metrics, "_of_inputs", {})
    how = replace(SPEC.evaluation, probes=("logistic", "ridge"), probe_depths="ends")
    spec = replace(SPEC, policy="random", evaluation=how, stack=StackSpec.of("conv", 3, 5))
    pixels = toy.train.inputs[0].numel()  # more than any code has

    def fitted(one: RunSpec, splits: Splits) -> tuple[dict[str, Any], list[str]]:
        counts.clear()
        return run(one, splits).row, [name for name, values in counts if values == pixels]

    first, both = fitted(spec, toy)
    again, none = fitted(replace(spec, policy="joint"), toy)
    assert (both, none) == (["logistic", "ridge"], [])
    for name in ("final/probe_acc_depth0", "final/ridge_acc_depth0"):
        assert again[name] == first[name]
    # other rows, other data
    assert fitted(replace(spec, seed=1), toy)[1] == both
    fewer = replace(toy, test=replace(toy.test, inputs=toy.test.inputs[:50], labels=toy.test.labels[:50]))
    assert fitted(spec, fewer)[1] == both
    # another number of threads rounds otherwise
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert fitted(spec, toy)[1] == both
    finally:
        torch.set_num_threads(threads)


def test_specs_stay_as_they_are_without_other_probes() -> None:
    assert "probe" not in to_json(SPEC).replace("probe_every", "").replace("probe_images", "").replace(
        "probe_labels", ""
    )
    with pytest.raises(InputError, match="probe_depths 'every' is not known: choose from code, ends, all"):
        Evaluation(probe_depths="every")
    other = replace(SPEC, evaluation=Evaluation(probes=("logistic", "svm")))
    assert from_json(to_json(other)) == other
    assert other.id != SPEC.id
    with pytest.raises(
        InputError,
        match=r"probe 'svn' is not known; did you mean 'svm'\? Choose from logistic, svm, ridge, knn5, knn20, kmeans",
    ):
        Evaluation(probes=("svn",))
    with pytest.raises(InputError, match="probe 'svm' is not allowed twice: give it once"):
        Evaluation(probes=("svm", "svm"))


def test_the_quick_probe_scales_validation_codes_as_training_codes() -> None:
    """The validation codes are of one class, whose mean tells the class: a probe that subtracts it knows nothing more."""
    rng = torch.Generator().manual_seed(0)
    train, labels = torch.randn(200, 5, generator=rng), torch.arange(200) % 2
    train[labels == 1, 0] += 4
    valid, ones = torch.randn(100, 5, generator=rng), torch.ones(100, dtype=torch.int64)
    valid[:, 0] += 4
    theirs = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0)).fit(train.numpy(), labels.numpy())
    expected = theirs.score(valid.numpy(), ones.numpy())
    assert quick_probe(train, labels, valid, ones) == pytest.approx(expected, abs=0.011)
    assert expected > theirs.score((valid - valid.mean(0)).numpy(), ones.numpy()) + 0.5
