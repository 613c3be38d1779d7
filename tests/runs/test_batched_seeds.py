"""Seeds trained together: each as its run alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from stacked import InputError, RunSpec, StackedAutoencoder, data
from stacked.runs.batched_seeds import train_seeds
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.spec.architecture import StackSpec, StageSpec
from stacked.util.errors import Diverged

SEEDS = (0, 3, 4)


@pytest.fixture(scope="module")
def digits() -> data.Splits:
    return data.load("digits", limit=300)


def spec(policy: str = "greedy+finetune", stages: dict[str, Any] | None = None, **how: Any) -> RunSpec:
    return RunSpec(
        policy=policy,
        stack=StackSpec.of("dense", 16, 6, **(stages or {})),
        budget=Budget((9,), 11, "updates"),
        optimisation=Optimisation(**{"batch_size": 10, "corruption_level": (0.2,)} | how),
        evaluation=Evaluation(every=1000, images=20, probe_images=50, probe_labels=50),
        classification=Classification(labels=(), updates=5),
    )


def same(ours: StackedAutoencoder, theirs: StackedAutoencoder) -> None:
    assert not ours.training
    ours_too = ours.state_dict()
    assert ours_too.keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        # batched products may sum in another order; over these few updates that stays in the last digits
        torch.testing.assert_close(ours_too[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize(
    "given",
    [
        spec(),
        spec("joint", clip=0.05, lr=1e-2),
        spec("greedy-pixels", loss=("bce",)),
        spec("supervised+unfreeze", labels=100),
        spec("resampled+finetune"),
        # batch norm takes away what a bias adds: its gradient is rounding error, which Adam would blow up to full steps
        spec("progressive", {"norm": "batch"}, optimiser="sgd", lr=0.1),
        spec("greedy", {"tied": True, "activation": "sigmoid"}, penalties={"kl": 0.1, "contractive": 0.01}),
        spec("greedy", corruption="salt-and-pepper", emphasis=(1.0, 0.5), optimiser="sgd", lr=0.1),
        spec("joint", corruption="masking+gaussian", corruption_level=((0.1, 0.2),), winner_take_all="lifetime"),
        spec("greedy", corruption_level=(0.0,), schedule="cosine", warmup=3, weight_decay=0.01, optimiser="adamw"),
    ],
    ids=lambda given: given.policy,
)
def test_each_seed_ends_as_its_single_run(given: RunSpec, digits: data.Splits) -> None:
    stacks = train_seeds(given, SEEDS, digits)
    for seed, stack in zip(SEEDS, stacks, strict=True):
        same(stack, run(replace(given, seed=seed), digits).stack)
    one, other = (stack.stages[0].encoder[1].weight for stack in stacks[:2])
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("given", "seeds", "says"),
    [
        (spec(), (), "seeds"),
        (spec(), (1, 1), r"seeds \[1, 1\] are not allowed: give distinct seeds"),
        (spec(), (-1,), "seed"),
        (spec("converge", patience=2), SEEDS, "early stopping"),
        (spec(optimiser="lbfgs"), SEEDS, "a line search takes another number of evaluations for each seed: choose"),
        (spec(on_nonfinite="rollback"), SEEDS, "on_nonfinite 'rollback'"),
        (spec("simultaneous"), SEEDS, "policy 'simultaneous'"),
        (spec("joint-local"), SEEDS, "policy 'joint-local'"),
        (spec(dropout=(0.0, 0.2)), SEEDS, "dropout draws random numbers inside a forward pass: leave it out"),
        (spec(penalties={"contractive-estimate": 0.1}), SEEDS, "penalty 'contractive-estimate'"),
        (RunSpec(stack=StackSpec((StageSpec("conv", 4),))), SEEDS, "conv stage"),
    ],
)
def test_what_cannot_be_trained_together_is_refused(given: RunSpec, seeds: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        train_seeds(given, seeds)


def test_the_seed_that_diverged_is_named(digits: data.Splits) -> None:
    with pytest.raises(Diverged, match="the loss of seed 3 became"):
        train_seeds(spec("joint", {"activation": "linear"}, optimiser="sgd", lr=1e30), (3,), digits)
