"""Label budgets and image limits: balanced, nested, fixed by their seed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from stacked.data.labels import image_subset, label_subset
from stacked.util.errors import InputError

LABELS = torch.from_numpy(np.random.default_rng(0).integers(-1, 10, 5_000))
COUNTS = LABELS[LABELS >= 0].bincount()
LABELLED = int(COUNTS.sum())


def counts(labels: torch.Tensor, chosen: torch.Tensor) -> list[int]:
    return labels[chosen].bincount(minlength=int(labels.max()) + 1).tolist()


@pytest.mark.parametrize("n", [10, 11, 99, 100, 1_000, 3_333])
def test_a_budget_is_balanced_labelled_ascending_and_without_repetition(n: int) -> None:
    chosen = label_subset(LABELS, n, seed=3)
    assert chosen.dtype == torch.int64
    assert len(chosen) == n
    assert (LABELS[chosen] >= 0).all()
    assert (chosen.diff() > 0).all()
    assert max(counts(LABELS, chosen)) - min(counts(LABELS, chosen)) <= 1


def test_budgets_nest_for_one_seed() -> None:
    sets = [set(label_subset(LABELS, n, seed=7).tolist()) for n in (10, 57, 100, 1_000, LABELLED)]
    assert all(small < large for small, large in pairwise(sets))


def test_the_seed_fixes_the_budget() -> None:
    assert torch.equal(label_subset(LABELS, 100, seed=1), label_subset(LABELS, 100, seed=1))
    assert not torch.equal(label_subset(LABELS, 100, seed=1), label_subset(LABELS, 100, seed=2))


def test_the_odd_labels_do_not_always_go_to_the_same_classes() -> None:
    extra = {tuple(np.flatnonzero(np.array(counts(LABELS, label_subset(LABELS, 15, s))) == 2)) for s in range(20)}
    assert len(extra) > 10


def test_every_example_of_a_class_is_chosen_about_equally_often() -> None:
    labels = torch.zeros(20, dtype=torch.int64)
    chosen = torch.cat([label_subset(labels, 5, seed) for seed in range(2_000)])
    assert (chosen.bincount(minlength=20) - 500).abs().max() < 100  # 5 standard deviations of 19.4


def test_no_budget_means_all_that_is_labelled() -> None:
    everything = label_subset(LABELS, None, seed=0)
    assert torch.equal(everything, torch.where(LABELS >= 0)[0])
    assert torch.equal(everything, label_subset(LABELS, LABELLED, seed=5))
    assert len(label_subset(torch.tensor([-1, -1]), None, seed=0)) == 0


def test_a_class_that_runs_out_is_made_up_for_by_the_others() -> None:
    labels = torch.tensor([0] * 50 + [1] * 3 + [2] * 50)
    assert counts(labels, label_subset(labels, 21, seed=0)) == [9, 3, 9]


@pytest.mark.parametrize("n", [0, -1, 9, LABELLED + 1])
def test_a_budget_outside_the_data_is_refused(n: int) -> None:
    with pytest.raises(InputError) as error:
        label_subset(LABELS, n, seed=0)
    assert str(error.value) == (
        f"a budget of {n} labels does not fit {LABELLED} labelled examples in 10 classes: choose a number from "
        f"10 to {LABELLED}"
    )


def test_a_budget_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match="a budget of 100 labels needs labelled examples, and there are none"):
        label_subset(torch.tensor([-1, -1]), 100, seed=0)


def test_a_limit_on_labelled_images_is_balanced_and_nested() -> None:
    labels = LABELS[LABELS >= 0]
    small, large = image_subset(labels, 25), image_subset(labels, 1_001)
    assert sorted(counts(labels, small)) == [2] * 5 + [3] * 5
    assert set(small.tolist()) < set(large.tolist())
    assert torch.equal(image_subset(labels, len(labels)), torch.arange(len(labels)))


def test_a_limit_on_unlabelled_images_is_a_plain_nested_subset() -> None:
    labels = torch.full((1_000,), -1)
    small, large = image_subset(labels, 1), image_subset(labels, 100)
    assert set(small.tolist()) < set(large.tolist())
    assert large.tolist() != list(range(100))


def test_a_limit_keeps_the_proportion_of_labelled_images() -> None:
    labels = torch.tensor([0, 1, 2, 3] * 50 + [-1] * 1_800)
    for n in (40, 100, 1_000):
        chosen = image_subset(labels, n)
        assert (labels[chosen] >= 0).sum() == n // 10
        labelled = labels[chosen][labels[chosen] >= 0].bincount(minlength=4)
        assert labelled.max() - labelled.min() <= 1


@pytest.mark.parametrize(
    ("labels", "n", "least"),
    [([0, 1, 2] * 4, 2, 3), ([0, 1, 2] * 4, 13, 3), ([-1] * 12, 13, 1), ([0, 1] + [-1] * 10, 8, 9)],
)
def test_a_limit_without_room_for_every_class_is_refused(labels: list[int], n: int, least: int) -> None:
    with pytest.raises(InputError, match=rf"^limit={n} does not fit 12 .*: choose a number from {least} to 12$"):
        image_subset(torch.tensor(labels), n)
    image_subset(torch.tensor(labels), least)
