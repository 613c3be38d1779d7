"""Runs on vectors, signals, maps and volumes of floats: everything that a run on images has, for data in their own units."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from torch.utils.data import TensorDataset

from stacked import InputError, RunSpec, StackSpec, load_classifier, load_encoder, train_seeds
from stacked.data import Splits
from stacked.runs.run import Result, run
from stacked.spec import Classification, Optimisation
from stacked.util.errors import Interrupted
from tests.helpers.floats import KINDS, LABELS, SPEC, examples, spec_of
from tests.helpers.runs import numbers, same_weights

SPLITS = {kind: Splits.of(examples(*shape), LABELS) for kind, (shape, _) in KINDS.items()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the runs that are done."""
    return {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def done(folders: dict[str, Path]) -> dict[str, Result]:
    return {kind: run(spec_of(kind), SPLITS[kind], work=folders[kind]) for kind in KINDS}


def in_units(kind: str) -> np.ndarray:
    """The test examples as the user has them."""
    scaling = SPLITS[kind].scaling
    assert scaling is not None
    return scaling.in_units(SPLITS[kind].test.inputs).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_of_scaled_values_and_one_is_in_the_units_of_the_data(kind: str, done: dict[str, Result]) -> None:
    given, row, scaled = in_units(kind), done[kind].row, SPLITS[kind].test.inputs.double().numpy()
    with torch.no_grad():
        squared = (done[kind].stack(SPLITS[kind].test.inputs).double().numpy() - scaled) ** 2
    assert row["final/recon_mse"] == pytest.approx(squared.mean(), rel=1e-4)
    assert row["final/recon_sse"] == pytest.approx(squared.reshape(len(given), -1).sum(1).mean(), rel=1e-4)
    assert row["final/recon_fvu"] == pytest.approx(squared.sum() / ((scaled - scaled.mean(0)) ** 2).sum(), rel=1e-4)
    assert math.isnan(row["final/recon_psnr"])
    in_data = ((done[kind].stack.restored(given).numpy() - given) ** 2).mean()
    assert row["final/recon_mse_in_units"] == pytest.approx(in_data, rel=1e-4)
    assert row["final/recon_mse_in_units"] > 10 * row["final/recon_mse"]
    names = {"vectors": "rows", "signals": "signals", "volumes": "volumes"}  # maps are images, which have no such cell
    assert row.get("examples") == names.get(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_encoders_and_classifiers_take_the_users_units_from_files_too(
    kind: str, done: dict[str, Result], folders: dict[str, Path]
) -> None:
    made, given = done[kind], in_units(kind)
    encoder, classifier = (
        load_encoder(folders[kind] / "encoder.safetensors"),
        load_classifier(folders[kind] / "classifier-20.safetensors"),
    )
    with torch.no_grad():
        codes = made.stack.encode(SPLITS[kind].test.inputs)
    torch.testing.assert_close(encoder.encode(given), codes)
    torch.testing.assert_close(encoder.encode(torch.from_numpy(given)), codes)
    found = classifier.predict_proba(given)
    torch.testing.assert_close(found, made.classifiers["20"].predict_proba(given))
    right = (classifier.predict(given) == SPLITS[kind].test.labels).double().mean().item()
    assert right == pytest.approx(made.row["final/classifier_acc_20"])


@pytest.mark.parametrize(("kind", "step"), [("vectors", 1), ("signals", 3)])
def test_stopped_anywhere_it_ends_the_same(kind: str, step: int, done: dict[str, Result], tmp_path: Path) -> None:
    stops, result = 0, None
    while result is None:
        count = itertools.count(1)
        try:
            result = run(
                spec_of(kind),
                SPLITS[kind],
                work=tmp_path,
                stop=lambda count=count: next(count) >= step,  # type: ignore[misc]
            )
        except Interrupted:
            stops += 1
    assert stops > 4
    assert numbers(result) == numbers(done[kind])
    assert same_weights(result.stack, done[kind].stack)
    assert same_weights(result.classifiers["20"], done[kind].classifiers["20"])
    assert all((result.samples[name] == array).all() for name, array in done[kind].samples.items())


def test_a_run_resumes_only_on_data_of_the_same_scaling(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(spec_of("vectors"), SPLITS["vectors"], work=tmp_path, stop=lambda: True)
    other = Splits.of(examples(6), LABELS, scale="minmax")
    with pytest.raises(InputError, match="holds a run on other data named 'arrays'"):
        run(spec_of("vectors"), other, work=tmp_path)


def test_arrays_tables_and_datasets_give_the_run_of_their_splits(done: dict[str, Result]) -> None:
    X = examples(6)  # noqa: N806
    frame = pd.DataFrame(X).assign(kind=LABELS)
    items = TensorDataset(torch.from_numpy(X), torch.from_numpy(LABELS))
    spec = spec_of("vectors")
    for given, target in (((X, LABELS), None), (frame, "kind"), (items, None)):
        assert same_weights(run(spec, given, target=target).stack, done["vectors"].stack)
    unlabelled = run(spec, X)
    assert unlabelled.classifiers == {}
    assert "final/probe_acc" not in unlabelled.row
    with pytest.raises(InputError, match="target 'kind' is a column of a DataFrame"):
        run(spec, SPLITS["vectors"], target="kind")


def test_breast_cancer_as_a_table_of_floats() -> None:
    frame = load_breast_cancer(as_frame=True).frame
    spec = replace(
        SPEC,
        stack=StackSpec.of("dense", 16, 8, output="linear"),
        budget=replace(SPEC.budget, stages=(60,), end_to_end=60),
        classification=Classification(labels=(None,), lrs=(1e-2,), updates=40, checks=2),
    )
    result = run(spec, frame, target="target")
    assert result.row["final/classifier_acc_all"] > 0.9
    assert result.row["final/recon_fvu"] < 0.5
    found = result.classifiers["all"].predict(frame.drop(columns="target").to_numpy())
    assert (found.numpy() == frame.target.to_numpy()).mean() > 0.9


def test_bytes_of_other_ranks_are_read_as_zero_to_one() -> None:
    volumes = np.random.default_rng(0).integers(0, 256, (60, 1, 4, 5, 6)).astype(np.uint8)
    result = run(replace(spec_of("volumes"), stack=StackSpec.of("conv", 3)), volumes)
    assert result.stack.scaling is None
    assert result.row["final/recon_psnr"] == pytest.approx(-10 * math.log10(result.row["final/recon_mse"]))
    codes = result.stack.encoder.encode(volumes[:3])
    assert torch.equal(codes, result.stack.encoder.encode(volumes[:3].astype(np.float32) / np.float32(255)))


def test_floats_in_the_unit_interval_have_a_peak_signal_to_noise_ratio() -> None:
    maps = np.random.default_rng(0).random((60, 3, 8, 8))
    row = run(replace(spec_of("maps"), stack=StackSpec.of("conv", 3)), maps).row
    assert row["final/recon_psnr"] == pytest.approx(-10 * math.log10(row["final/recon_mse"]))
    assert "final/recon_mse_in_units" not in row


def test_seeds_trained_at_once_take_floats_too(done: dict[str, Result]) -> None:
    spec = replace(spec_of("vectors"), classification=Classification(labels=()))
    stacks = train_seeds(spec, [0, 1], (examples(6), LABELS))
    for name, value in done["vectors"].stack.state_dict().items():
        torch.testing.assert_close(stacks[0].state_dict()[name], value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        stacks[0].encoder.encode(in_units("vectors")),
        done["vectors"].stack.encoder.encode(in_units("vectors")),
        rtol=1e-3,
        atol=1e-4,
    )


def spec(stack: StackSpec, **how: Any) -> RunSpec:
    return replace(SPEC, stack=stack, optimisation=Optimisation(batch_size=16, **how))


DENSE = StackSpec.of("dense", 3)
REFUSED: dict[str, tuple[RunSpec, Any, str]] = {
    "sigmoid": (
        spec(DENSE),
        examples(6),
        "output 'sigmoid' gives values from 0 to 1, and the training examples hold values from ",
    ),
    "tanh": (spec(StackSpec.of("dense", 3, output="tanh")), examples(6), "use output 'linear', or scale 'minmax'"),
    "relu": (spec(StackSpec.of("dense", 3, output="relu")), examples(6), "output 'relu' gives values from 0 to inf"),
    "image beside a linear decoder": (
        replace(
            spec(StackSpec.of("dense", 3, output="relu"), linear_decoder=True, objectives={"input": 1.0, "image": 1.0}),
            policy="local",
        ),
        examples(6),
        "output 'relu' gives values from 0 to inf",
    ),
    "decoder of a stage": (
        spec(StackSpec.of("dense", 3, output="linear", decoder="softplus")),
        examples(6),
        "output 'softplus' gives values from 0 to inf, and",
    ),
    "values outside": (
        spec(StackSpec.of("conv", 3)),
        Splits.of(examples(2, 8, 9), scale="none"),
        "output 'sigmoid' gives values from 0 to 1, and the training examples hold values from 3",
    ),
    "bce": (
        spec(DENSE, loss="bce"),
        examples(6),
        "loss 'bce' needs values from 0 to 1, and the training examples hold values",
    ),
    "ssim": (
        spec(DENSE, loss="ssim-l1"),
        Splits.of(examples(6), scale="minmax"),
        "loss 'ssim-l1' needs images of at least 11 pixels a side, and these examples have the shape [6]: use 'mse'",
    ),
    "conv on vectors": (
        spec(StackSpec.of("conv", 3, output="linear")),
        examples(6),
        "a conv stage cannot read (6,): it needs channels and 1 or 2 or 3 spatial dimensions of at least 2 values each; use",
    ),
    "residual on signals": (
        spec(StackSpec.of("residual", 3, output="linear")),
        examples(2, 16),
        "a residual stage cannot read (2, 16): it needs channels x height x width",
    ),
    "blocks of vectors": (
        spec(StackSpec.of("dense", 3, output="linear"), corruption="block-masking", corruption_level=0.5),
        examples(6),
        "corruption 'block-masking' needs maps [C, ...], and these examples are vectors of 6 values: use 'masking'",
    ),
    "blocks of vectors in fine-tuning": (
        replace(
            spec(StackSpec.of("dense", 3, output="linear")),
            classification=Classification(labels=(20,), corruption="block-masking", corruption_level=0.5),
        ),
        (examples(6), LABELS),
        "corruption 'block-masking' needs maps [C, ...]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_suit_the_data_is_refused_before_anything_trains(name: str) -> None:
    given, splits, says = REFUSED[name]
    with pytest.raises(InputError, match=re.escape(says)) as error:
        run(given, splits)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        spec(StackSpec.of("dense", 3, output="linear"), loss="l1"),
        spec(StackSpec.of("dense", 3, output="relu"), linear_decoder=True),
        replace(spec(DENSE), policy="supervised"),  # which reconstructs nothing
    ],
    ids=["linear output", "linear decoder", "classes only"],
)
def test_what_suits_unbounded_data_is_trained(given: RunSpec) -> None:
    policy = given.policy if given.policy == "supervised" else "greedy"
    run(replace(given, policy=policy, classification=Classification(labels=())), (examples(6), LABELS))


def test_patches_of_signals_are_masked() -> None:
    blocks = spec(StackSpec.of("conv", 3, output="linear"), corruption="block-masking", corruption_level=0.5)
    assert run(replace(blocks, classification=Classification(labels=())), examples(2, 16)).row["status"] == "finished"
