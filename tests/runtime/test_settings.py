"""What a program has set of torch's own changes no number of the package's calls, and these change nothing that is set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stacked import InputError, RunSpec, StackedAutoencoder, StackSpec, data, estimate_cost, load_encoder
from stacked.apps.anomaly import Detector
from stacked.apps.codec.codec import Codec
from stacked.apps.denoise import Denoiser
from stacked.apps.estimator import StackedAutoencoderTransformer
from stacked.apps.supervised_estimators import StackedAutoencoderClassifier, StackedAutoencoderRegressor
from stacked.components.corruption import CORRUPTIONS, corrupt
from stacked.cost.roofline import H100
from stacked.evaluation import evaluate, references
from stacked.model.encoder import save_encoder
from stacked.model.export import export, exported
from stacked.runs.batched_seeds import train_seeds
from stacked.runs.run import run
from stacked.runtime.rng import generator, seeded
from stacked.runtime.settings import own_settings
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from tests.helpers.counted import prefix_flops, training_bytes, update_flops
from tests.helpers.splits import toy_splits

TOY = toy_splits(64, 8)
SHAPE = TOY.input_shape
ROWS = TOY.train.inputs.flatten(1).numpy() / 255


def spec(kind: str = "conv", policy: str = "greedy+finetune") -> RunSpec:
    return RunSpec(
        policy=policy,
        stack=StackSpec.of(kind, 4, 3),
        budget=Budget((2.0,), 2.0, "updates"),
        optimisation=Optimisation(batch_size=16, corruption_level=(0.2,)),
        evaluation=Evaluation(every=3, images=16, probe_every=1, probe_images=16, probe_labels=16),
        classification=Classification(labels=(8,), updates=2, checks=1, images=16),
    )


PASSING = ("seconds", "train_seconds", "commit")


def numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in PASSING}


def ran(images: Tensor, folder: Path) -> Any:
    result = run(spec(), TOY, work=folder / "work")
    return numbers(result.row), result.stack.state_dict()


def pretrained(images: Tensor, folder: Path) -> Any:
    return pretrain(spec(), StoredInputs(images), SHAPE).state_dict()


def pretrained_on_floats(images: Tensor, folder: Path) -> Any:
    return pretrain(spec(), StoredInputs(images.to(torch.float32).div(255)), SHAPE).state_dict()


def together(images: Tensor, folder: Path) -> Any:
    return [stack.state_dict() for stack in train_seeds(spec("dense"), (0, 1), TOY)]


def planned(images: Tensor, folder: Path) -> Any:
    return estimate_cost(spec(), SHAPE, 64, classes=4, machine=H100)


def estimated(images: Tensor, folder: Path) -> Any:
    estimator = StackedAutoencoderTransformer((4, 2), epochs=1, batch_size=16, random_state=0).fit(ROWS)
    codes = estimator.transform(ROWS)
    return codes, estimator.inverse_transform(codes), estimator.score(ROWS), estimator.stack_.state_dict()


def supervised(images: Tensor, folder: Path) -> Any:
    given, weights = {"epochs": 1, "fine_tune_epochs": 1, "batch_size": 16, "random_state": 0}, ROWS.sum(1)
    labels = TOY.train.labels.numpy()
    classifier = StackedAutoencoderClassifier((4, 2), validation_fraction=0.2, **given).fit(ROWS, labels, weights)
    regressor = StackedAutoencoderRegressor((4, 2), **given).fit(ROWS, ROWS[:, :2], weights)
    codes = [estimator.transform(ROWS) for estimator in (classifier, regressor)]
    return codes, classifier.predict_proba(ROWS), classifier.decision_function(ROWS), regressor.predict(ROWS)


def detected(images: Tensor, folder: Path) -> Any:
    detector = Detector(spec(), held_out=0.3).fit(images)
    detector.save(folder / "detector")
    again = Detector.load(folder / "detector").scored_by("density")
    judged = [(d.score(images), d.p_value(images), d.predict(images), d.heat_map(images)) for d in (detector, again)]
    return judged, detector.calibration.held


def packed(images: Tensor, folder: Path) -> Any:
    codec = Codec.fit(images, spec())
    codec.save(folder / "codec")
    symbols = Codec.load(folder / "codec").symbols(images)
    return symbols, codec.reconstruct(symbols), codec.steps


def denoised(images: Tensor, folder: Path) -> Any:
    denoiser = Denoiser(spec()).fit(images)
    denoiser.save(folder / "denoiser")
    return denoiser.denoise(images), Denoiser.load(folder / "denoiser").denoise(images)


def given_away(images: Tensor, folder: Path) -> Any:
    stack = StackedAutoencoder(SHAPE, list(trained().stages)[:1])  # to export two stages takes twice the time
    save_encoder(folder / "encoder", stack, spec().stack.first(1))
    encoder = load_encoder(folder / "encoder")
    export(encoder, folder / "encoder.pt2")
    assert (folder / "encoder.pt2").exists()
    return encoder.state_dict(), exported(encoder).state_dict


def encoded(images: Tensor, folder: Path) -> Any:
    encoder = trained().encoder
    floats = images.to(torch.float32).div(255)
    return [encoder.encode(given) for given in (images, images.numpy(), floats, floats.numpy())]


def measured(images: Tensor, folder: Path) -> Any:
    stack = trained()
    return (
        evaluate.reconstruction(stack, images),
        evaluate.codes(stack, images, 2),
        evaluate.reconstructed(stack, images, 2),
        references.pca_reference(images, images, 3),
        references.mean_reference(images, images),
        prefix_flops(stack, 2),
        [
            (
                update_flops(stack, phase, spec().optimisation, images=8),
                training_bytes(stack, phase, spec().optimisation, 8),
            )
            for phase in spec().phases()
        ],
    )


def loaded(images: Tensor, folder: Path) -> Any:
    splits = data.load("digits", limit=100)
    return splits.train.inputs, splits.train.labels, splits.valid.labels, splits.digest


@cache
def trained() -> Any:
    return pretrain(spec(), StoredInputs(TOY.train.inputs), SHAPE)


CALLS: dict[str, Callable[[Tensor, Path], Any]] = {
    function.__name__: function
    for function in (
        ran,
        pretrained,
        pretrained_on_floats,
        together,
        planned,
        estimated,
        supervised,
        detected,
        packed,
        denoised,
        given_away,
        encoded,
        measured,
        loaded,
    )
}


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def another_seed() -> Iterator[None]:
    torch.manual_seed(12345)
    yield


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": default_dtype,
    "default device": default_device,
    "device context": lambda: torch.device("meta"),  # type: ignore[dict-item,return-value]
    "no gradients": lambda: torch.set_grad_enabled(False),
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "seed": another_seed,
}


def set_now() -> list[Any]:
    return [
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.random.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    ]


def assert_same(here: Any, there: Any) -> None:
    assert type(here) is type(there)
    if isinstance(here, Tensor):
        assert (here.dtype, here.device) == (there.dtype, there.device)
        assert not here.is_inference()
        assert torch.equal(here, there)
    elif isinstance(here, dict):
        assert here.keys() == there.keys()
        for name in here:
            assert_same(here[name], there[name])
    elif isinstance(here, (list, tuple)):
        assert len(here) == len(there)
        for one, other in zip(here, there, strict=True):
            assert_same(one, other)
    elif hasattr(here, "dtype") and hasattr(here, "shape"):
        assert here.dtype == there.dtype
        assert (here == there).all()
    else:
        assert here == there


@cache
def plainly(name: str, folder: Path) -> Any:
    return CALLS[name](TOY.train.inputs, folder)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", CALLS)
def test_no_setting_changes_a_number_nor_is_changed(
    name: str, setting: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected = plainly(name, Path(tmp_path_factory.getbasetemp()))
    trained()
    with SETTINGS[setting]():
        before = set_now()
        found = CALLS[name](TOY.train.inputs.clone(), tmp_path)  # in inference mode a tensor of its own kind
        assert set_now() == before
    assert_same(found, expected)


def test_settings_are_as_before_after_an_error_too() -> None:
    for setting in SETTINGS.values():
        with setting():
            before = set_now()
            with pytest.raises(InputError):
                pretrain(spec(policy="supervised"), StoredInputs(TOY.train.inputs), SHAPE)
            assert set_now() == before


def test_what_is_trained_can_be_trained_on() -> None:
    """Weights that were made inside of inference mode could not."""
    with torch.inference_mode():
        stack = pretrain(spec(), StoredInputs(TOY.train.inputs), SHAPE)
    stack.train()(torch.rand(4, *SHAPE)).mean().backward()
    assert all(p.grad is not None for p in stack.parameters())


def test_a_call_of_the_encoder_follows_autocast_and_encode_does_not() -> None:
    encoder, floats = trained().encoder, TOY.train.inputs[:4].float() / 255
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder(floats).dtype == torch.bfloat16
        assert encoder.encode(floats).dtype == torch.float32


def test_a_named_stream_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    with seeded(3, "init"):
        one = torch.rand(4)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    with seeded(3, "init"):
        assert torch.equal(torch.rand(4), one)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_draw_the_same_whatever_the_default_type(name: str) -> None:
    x = TOY.train.inputs[:8].to(torch.float32) / 255
    found = []
    for setting in (own_settings, default_dtype, default_device):
        with setting():
            found.append(corrupt(name, x, (0.3,), generator(0, "c"), 2).x)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
