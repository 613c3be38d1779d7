"""A detector: its scores by other means, its rate of false alarms, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from stacked import InputError, RunSpec, StackSpec, data
from stacked.apps import anomaly
from stacked.apps.anomaly import Detector, summary
from stacked.apps.calibration import Calibration
from stacked.model.encoder import save_encoder
from stacked.model.tensor_file import read
from stacked.runtime.rng import generator
from stacked.spec import Budget, Optimisation
from stacked.training.pretrain import pretrain

SPEC = RunSpec(
    seed=3,
    stack=StackSpec.of("conv", 8, 3),
    budget=Budget((5.0,), 5.0, "epochs"),
    optimisation=Optimisation(lr=1e-2, batch_size=32, corruption_level=(0.1,)),
)


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    splits = data.load("digits")
    parts = splits.train, splits.valid, splits.test
    return torch.cat([part.inputs for part in parts]), torch.cat([part.labels for part in parts])


@pytest.fixture(scope="module")
def zeros(digits: Any) -> torch.Tensor:
    return digits[0][digits[1] == 0]


@pytest.fixture(scope="module")
def fitted(zeros: torch.Tensor) -> dict[str, Detector]:
    both = Detector(SPEC).fit(zeros[:140])
    return {kind: both.scored_by(kind) for kind in ("reconstruction", "density", "both")}


def parts(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which were trained on, and which calibrated."""
    order = torch.randperm(len(images), generator=generator(3, "calibration"))
    return images[order[28:]], images[order[:28]]


@torch.no_grad()
def test_scores_are_those_of_plain_torch_and_scikit_learn(fitted: Any, digits: Any, zeros: torch.Tensor) -> None:
    images, normal = digits[0][:60], parts(zeros[:140])[0]
    stack = fitted["both"].stack
    x, trained = images.float() / 255, normal.float() / 255
    error = (stack.reconstruct(x) - x).square().mean((1, 2, 3)).double().numpy()
    np.testing.assert_allclose(fitted["reconstruction"].score(images), error, rtol=1e-5)
    shape = LedoitWolf().fit(stack.encode(trained).flatten(1).numpy())
    far = shape.mahalanobis(stack.encode(x).flatten(1).numpy()) / 12
    np.testing.assert_allclose(fitted["density"].score(images), far, rtol=1e-3)
    held = parts(zeros[:140])[1].float() / 255
    held_error = (stack.reconstruct(held) - held).square().mean((1, 2, 3)).double().numpy()
    held_far = shape.mahalanobis(stack.encode(held).flatten(1).numpy()) / 12
    standardised = []
    for part, of_held in ((error, held_error), (far, held_far)):
        logs = np.sort(np.append(np.log(of_held), np.inf))  # of 28 images and one above all
        standardised.append((np.log(part) - logs[14]) / (logs[25] - logs[14]))
    expected, (scores, p_values) = np.maximum(*standardised), fitted["both"].score_and_p_value(images)
    moved = np.abs(scores - expected) > 5e-3
    assert moved.mean() < 0.1  # between the calibration scores of their p-values
    assert (p_values[moved] > 0.1).all()
    np.testing.assert_allclose(fitted["both"].heat_map(images).mean((1, 2)), error, rtol=1e-5)


def test_a_detector_with_another_score_is_the_one_fitted_for_it(fitted: Any, digits: Any, zeros: torch.Tensor) -> None:
    alone = Detector(SPEC, score="density").fit(zeros[:140])
    assert np.array_equal(alone.score(digits[0][:50]), fitted["density"].score(digits[0][:50]))
    assert np.array_equal(alone.p_value(digits[0][:50]), fitted["density"].p_value(digits[0][:50]))


@pytest.mark.parametrize("kind", ["reconstruction", "density", "both"])
def test_it_tells_other_digits_from_zeros(kind: str, fitted: Any, digits: Any, zeros: torch.Tensor) -> None:
    others = digits[0][digits[1] != 0]
    scores = np.concatenate([fitted[kind].score(zeros[140:]), fitted[kind].score(others)])
    assert roc_auc_score(np.arange(len(scores)) >= len(zeros) - 140, scores) > 0.9


@pytest.mark.parametrize("kind", ["reconstruction", "density"])
def test_p_values_count_calibration_images(kind: str, fitted: Any, digits: Any, zeros: torch.Tensor) -> None:
    detector, images = fitted[kind], digits[0][:200]
    held = detector.score(parts(zeros[:140])[1])
    for score, p in zip(detector.score(images), detector.p_value(images), strict=True):
        assert p == (1 + (held >= score).sum()) / 29


@pytest.mark.parametrize("kind", ["reconstruction", "density", "both"])
def test_what_is_anomalous_has_a_p_value_of_the_rate_at_most(kind: str, fitted: Any, digits: Any) -> None:
    detector, images = fitted[kind], digits[0][:200]
    scores, p_values = detector.score_and_p_value(images)
    assert np.array_equal(scores, detector.score(images))
    assert np.array_equal(p_values, detector.p_value(images))
    assert np.array_equal(detector.predict(images), p_values <= 0.05)


@pytest.mark.parametrize("kind", ["reconstruction", "density", "both"])
@pytest.mark.parametrize("rate", [0.05, 0.1, 1 / 3, 0.5])
def test_false_alarms_come_at_their_rate(rate: float, kind: str, fitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many calibrations an image that is drawn as they are is called anomalous at the rate, to what can be resolved."""
    draw, detector = np.random.default_rng(0), fitted[kind].scored_by(kind)
    detector.false_alarms, alarms = rate, []
    for _ in range(2000):
        values = np.exp(draw.normal(size=(2, 40)))
        detector.calibration = Calibration(kind, values[:, :39])
        monkeypatch.setattr(detector, "_parts", lambda images, new=values[:, 39:]: new)
        alarms.append(detector.predict(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))[0])
    expected = np.floor(rate * 40) / 40
    assert abs(np.mean(alarms) - expected) < 4 * np.sqrt(expected * (1 - expected) / 2000)


def test_a_file_brings_it_back_to_the_bit(fitted: Any, digits: Any, tmp_path: Path) -> None:
    for kind, detector in fitted.items():
        detector.save(tmp_path / kind)
        again = Detector.load(tmp_path / kind)
        assert np.array_equal(again.score(digits[0]), detector.score(digits[0]))
        assert np.array_equal(again.p_value(digits[0]), detector.p_value(digits[0]))
        assert (again.kind, again.false_alarms) == (kind, 0.05)


def test_foreign_files_are_refused(fitted: Any, tmp_path: Path) -> None:
    detector = fitted["both"]
    save_encoder(tmp_path / "encoder", detector.stack, SPEC.stack)
    detector.save(tmp_path / "whole")
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-100])
    tensors = load_file(tmp_path / "whole")
    header = read(tmp_path / "whole").texts
    save_file(tensors | {"held": tensors["held"].flatten()[:-1].clone()}, tmp_path / "unfit", header)
    save_file({n: t for n, t in tensors.items() if n != "mean"}, tmp_path / "less", header)
    save_file(tensors, tmp_path / "odd", header | {"score": '"gut feeling"'})
    wide = {"mean": torch.zeros(13).double(), "precision": torch.eye(13).double()}
    save_file(tensors | wide, tmp_path / "of another stack", header)
    save_file(tensors | {"held": tensors["held"][:, :18].clone()}, tmp_path / "few", header)
    for name in ("encoder", "cut", "unfit", "less", "odd", "none", "of another stack", "few"):
        with pytest.raises(InputError, match="is not a detector"):
            Detector.load(tmp_path / name)


def test_large_maps_are_averaged_over_their_places() -> None:
    code = torch.rand(2, 5, 20, 20)
    assert torch.equal(summary(code), code.mean((2, 3)))
    assert summary(code[..., :10, :10]).shape == (2, 500)
    assert summary(torch.rand(2, 2000)).shape == (2, 2000)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"score": "guess"}, "score 'guess'"),
        ({"false_alarms": 0.0}, "false_alarms 0.0 is not allowed"),
        ({"held_out": 1.0}, "held_out 1.0 is not allowed"),
        *(({name: 1e-320}, f"{name} 1e-320 is not allowed") for name in ("false_alarms", "held_out")),
    ],
)
def test_wrong_parameters_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Detector(**given)


def test_what_cannot_be_scored_is_refused(fitted: Any, zeros: torch.Tensor) -> None:
    with pytest.raises(InputError, match="not fitted"):
        Detector(SPEC).score(zeros)
    with pytest.raises(InputError, match=r"floats of up to 2.* are not on a scale of 0 to 1 and cannot be scored"):
        fitted["both"].score(zeros.float())
    with pytest.raises(InputError, match=r"give uint8 images of \[1, 8, 8\]"):
        fitted["both"].score(zeros[..., :7])
    with pytest.raises(
        InputError,
        match=r"4 held-out images are too few for a false-alarm rate of 0.05: give at least 19 of them, which takes 95 images "
        r"instead of 20, or Detector\(false_alarms=0.2\) or a larger held_out$",
    ):
        Detector(SPEC).fit(zeros[:20])
    assert Detector(SPEC, false_alarms=0.2).fit(zeros[:20]).calibration.held.shape == (2, 4)
    assert Detector(SPEC, false_alarms=0.143).fit(zeros[:30]).calibration.held.shape == (2, 6)
    with pytest.raises(InputError, match=r"output 'sigmoid' gives values from 0 to 1, and .*: use output 'linear'"):
        Detector(SPEC).fit(zeros.float())


# Scores that are no numbers


def unchanging(images: torch.Tensor) -> torch.Tensor:
    return images[:1].expand(140, -1, -1, -1)


def test_copies_of_one_image_are_refused(zeros: torch.Tensor, digits: Any) -> None:
    for kind in ("both", "density"):
        with pytest.raises(InputError, match="the 140 normal images are all equal"):
            Detector(SPEC, score=kind).fit(unchanging(zeros))
    alone = Detector(SPEC, score="reconstruction").fit(unchanging(zeros))
    assert not alone.predict(unchanging(zeros)).any()
    assert alone.predict(digits[0][digits[1] == 1]).mean() > 0.5
    with pytest.raises(InputError, match="score 'both' is not defined"):
        alone.scored_by("both")


def test_a_dead_code_is_refused(zeros: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """As rectifiers may leave it: 0 for all images."""

    def dead(*given: Any, **more: Any) -> Any:
        stack = pretrain(*given, **more)
        with torch.no_grad():
            for parameter in stack.stages[-1].encoder.parameters():
                parameter.fill_(-1.0)
        return stack

    monkeypatch.setattr(anomaly, "pretrain", dead)
    spec = replace(SPEC, stack=StackSpec.of("conv", 8, 3, norm="none"))
    for kind in ("both", "density"):
        with pytest.raises(InputError, match="normal images all have the same code"):
            Detector(spec, score=kind).fit(zeros[:140])
    alone = Detector(spec, score="reconstruction").fit(zeros[:140])
    assert not alone.precision.any()
    assert (alone.calibration.held[1] == 0).all()


def collapsed(monkeypatch: pytest.MonkeyPatch, bias: list[float], weight: float = 0.0) -> RunSpec:
    """A spec whose trained stack has a code of these values for all images, but for `weight` times what the code was."""

    def trained(*given: Any, **more: Any) -> Any:
        stack = pretrain(*given, **more)
        with torch.no_grad():
            linear = stack.stages[-1].encoder[1]
            linear.weight.mul_(weight)
            linear.bias.copy_(torch.tensor(bias))
        return stack

    monkeypatch.setattr(anomaly, "pretrain", trained)
    return replace(SPEC, stack=StackSpec.of("dense", len(bias), activation="linear"))


@pytest.mark.parametrize("weight", [0.0, 1e-9, 1e-7])
def test_a_code_of_one_value_is_refused(weight: float, zeros: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose mean is not that value, but another rounding of it: its distances from the mean are not 0."""
    spec = collapsed(monkeypatch, [0.1, 0.7, 1 / 3], weight)
    for kind in ("both", "density"):
        with pytest.raises(
            InputError, match=rf"normal images all have the same code.*{kind}.*or score 'reconstruction'"
        ):
            Detector(spec, score=kind).fit(zeros[:140])
    alone = Detector(spec, score="reconstruction").fit(zeros[:140])
    assert np.isfinite(alone.score(zeros)).all()
    for kind in ("both", "density"):
        with pytest.raises(InputError, match="normal images all have the same code"):
            alone.scored_by(kind)


def test_a_code_that_varies_in_some_values_tells(
    zeros: torch.Tensor, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(*given: Any, **more: Any) -> Any:
        stack = pretrain(*given, **more)
        with torch.no_grad():
            stack.stages[-1].encoder[1].weight[:2] = 0.0
        return stack

    monkeypatch.setattr(anomaly, "pretrain", half)
    spec = replace(SPEC, stack=StackSpec.of("dense", 4, activation="linear"))
    fitted = Detector(spec, score="density").fit(zeros[:140])
    score = fitted.score(digits[0])
    assert np.isfinite(score).all()
    assert roc_auc_score(digits[1] != 0, score) > 0.6


def test_densities_that_are_all_the_same_are_refused(fitted: Any) -> None:
    held = np.stack([fitted["both"].calibration.held[0], np.full(28, 0.7)])
    same = fitted["both"].scored_by("reconstruction")
    same._calibrate(held)
    for kind in ("density", "both"):
        with pytest.raises(InputError, match="normal images all have the same density"):
            same.scored_by(kind)
    assert same.scored_by("reconstruction").kind == "reconstruction"


@pytest.mark.parametrize("more", [{}, {"scale": torch.ones(2, dtype=torch.float64)}])
@pytest.mark.filterwarnings("ignore:.*has no checksum")
def test_a_former_file_scores_as_it_did_or_is_refused(more: Any, fitted: Any, digits: Any, tmp_path: Path) -> None:
    """By "both" images had another score."""
    for kind, detector in fitted.items():
        detector.save(tmp_path / "now")
        header = {name: text for name, text in read(tmp_path / "now").texts.items() if name != "sha256"}
        assert header["format"] == "stacked detector 2"
        save_file(load_file(tmp_path / "now") | more, tmp_path / "former", header | {"format": "stacked detector 1"})
        if kind == "both":
            with pytest.raises(InputError, match=r"score 'both' of an earlier version.*: fit the detector again$"):
                Detector.load(tmp_path / "former")
        else:
            assert np.array_equal(Detector.load(tmp_path / "former").score(digits[0]), detector.score(digits[0]))


def test_codes_that_are_not_finite_are_refused(zeros: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = collapsed(monkeypatch, [0.1, float("inf"), 0.2], 1.0)
    with pytest.raises(InputError, match="codes of normal images are not all finite"):
        Detector(spec).fit(zeros[:140])


def test_a_score_that_is_no_number_is_anomalous(
    fitted: Any, zeros: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = fitted["both"].scored_by("both")
    monkeypatch.setattr(detector, "_parts", lambda images: np.array([[np.nan, 0.1, np.nan], [1.0, np.nan, np.nan]]))
    assert np.array_equal(detector.score(zeros[:3]), [np.inf] * 3)
    assert np.array_equal(detector.p_value(zeros[:3]), [1 / 29] * 3)
    assert detector.predict(zeros[:3]).all()


def test_a_file_with_values_that_are_no_numbers_is_refused(fitted: Any, tmp_path: Path) -> None:
    fitted["both"].save(tmp_path / "right")
    tensors = load_file(tmp_path / "right")
    header = read(tmp_path / "right").texts
    for name in tensors:
        if tensors[name].is_floating_point():
            save_file({**tensors, name: tensors[name] * float("nan")}, tmp_path / "wrong", header)
            with pytest.raises(InputError, match=r"is not a detector .*not finite"):
                Detector.load(tmp_path / "wrong")


def test_images_may_be_numpys(fitted: Any, digits: Any, zeros: torch.Tensor) -> None:
    again = Detector(SPEC, false_alarms=np.float32(0.0625)).fit(zeros[:140].numpy())  # type: ignore[arg-type]
    images = digits[0][:20]
    assert np.array_equal(again.score(images.numpy()), fitted["both"].score(images))
    assert np.array_equal(again.heat_map(images.numpy()[::-1])[::-1], fitted["both"].heat_map(images))
    for wrong, says in (
        (images.permute(0, 2, 3, 1).numpy(), r"shape \[20, 8, 8, 1\] cannot be scored: .*permute"),
        (list(images), "images in a list cannot be scored: give uint8"),
    ):
        with pytest.raises(InputError, match=says):
            again.score(wrong)
        with pytest.raises(InputError, match=says.replace("scored", "read")):
            Detector(SPEC).fit(wrong)


def test_images_of_bytes_may_be_given_as_floats(fitted: Any, digits: Any) -> None:
    """On the scale of 0 to 1, as to an encoder."""
    images, detector = digits[0][:20], fitted["both"]
    floats = images.float() / 255
    for given in (floats, floats.numpy(), floats.double()):
        assert np.array_equal(detector.score(given), detector.score(images))
        assert np.array_equal(detector.heat_map(given), detector.heat_map(images))
    for wrong, says in (
        (images.long(), r"images of torch\.int64 .* cannot be scored: give uint8, or floats on a scale of 0 to 1"),
        (floats * np.nan, "not finite cannot be scored"),
    ):
        with pytest.raises(InputError, match=says):
            detector.score(wrong)


def test_a_rate_of_numpys_is_saved(fitted: Any, tmp_path: Path, zeros: torch.Tensor) -> None:
    detector = Detector(SPEC, false_alarms=np.float32(0.0625), held_out=np.float64(0.25)).fit(zeros[:100])  # type: ignore[arg-type]
    detector.save(tmp_path / "detector")
    assert Detector.load(tmp_path / "detector").false_alarms == 0.0625
    with pytest.raises(InputError, match="false_alarms nan is not allowed"):
        Detector(false_alarms=float("nan"))
