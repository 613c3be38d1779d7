"""Denoising: the library's class, and the study in its smoke form beside independent computations."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_nl_means
from torch import Tensor

from stacked import data
from stacked.apps import denoise
from stacked.apps.denoise import Denoiser
from stacked.spec import Budget, Optimisation, RunSpec, StackSpec
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from stacked.util.errors import InputError
from studies.applications.denoising import study as denoising
from studies.applications.quality import quality
from studies.framework.main import main
from studies.statistics.measurement_rows import load


def spec(updates: int = 300) -> RunSpec:
    return RunSpec(
        stack=StackSpec.of("conv", 16, 32),
        budget=Budget((float(updates),), float(2 * updates), "updates"),
        optimisation=Optimisation(batch_size=64),
    )


@pytest.fixture(scope="module")
def digits() -> data.Splits:
    return data.load("digits")


@pytest.fixture(scope="module")
def fitted(digits: data.Splits) -> Denoiser:
    return Denoiser(spec(), corruption="gaussian", level=0.4).fit(digits.train.inputs)


def noisy(images: Tensor) -> Tensor:
    return denoising.Noise("gaussian", 0.4).on(images, 0, "test")


@pytest.mark.slow
def test_it_removes_noise(fitted: Denoiser, digits: data.Splits) -> None:
    images = digits.test.inputs
    clean, given = images.float().div(255), noisy(images)
    restored = fitted.denoise(given)
    assert (restored - clean).square().mean() < 0.4 * (given.clamp(0, 1) - clean).square().mean()


@pytest.mark.slow
def test_it_is_the_stack_that_the_spec_trains(fitted: Denoiser, digits: data.Splits) -> None:
    stack = pretrain(fitted.spec, StoredInputs(digits.train.inputs), digits.input_shape)
    given = noisy(digits.test.inputs[:7])
    with torch.no_grad():
        assert torch.equal(fitted.denoise(given), stack(given).clamp(0, 1))
    bytes_of = digits.test.inputs[:3]
    assert torch.equal(fitted.denoise(bytes_of), fitted.denoise(bytes_of.float() / 255))


def test_it_is_saved_and_loaded(fitted: Denoiser, digits: data.Splits, tmp_path: Path) -> None:
    fitted.save(tmp_path / "denoiser.safetensors")
    again = Denoiser.load(tmp_path / "denoiser.safetensors")
    given = noisy(digits.test.inputs[:20])
    assert torch.equal(again.denoise(given), fitted.denoise(given))
    assert again.spec.optimisation.corruption == "gaussian"
    assert again.spec.optimisation.corruption_level == (0.4,)
    several = Denoiser(spec(2), corruption="masking+gaussian", level=(0.1, 0.2)).fit(digits.train.inputs[:70])
    several.save(tmp_path / "several.safetensors")
    assert Denoiser.load(tmp_path / "several.safetensors").spec.optimisation.corruption_level == ((0.1, 0.2),)


def test_bad_input_is_refused(fitted: Denoiser, digits: data.Splits, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"shape \[3, 8, 8\] cannot be restored: give \[1, 8, 8\], .* or another height"
    ):
        fitted.denoise(torch.zeros(2, 3, 8, 8))
    with pytest.raises(InputError, match="images of 3 x 9 pixels are too small"):
        fitted.denoise(torch.zeros(2, 1, 3, 9))
    with pytest.raises(InputError, match="not fitted"):
        Denoiser().denoise(torch.zeros(2, 1, 8, 8))
    with pytest.raises(InputError, match="not fitted"):
        Denoiser().save(tmp_path / "denoiser.safetensors")
    with pytest.raises(InputError, match="corruption 'rain' is not known"):
        Denoiser(corruption="rain")
    with pytest.raises(InputError, match="masking"):
        Denoiser(corruption="masking", level=1.5)
    with pytest.raises(InputError, match="all examples are equal: give examples that differ"):
        Denoiser().fit(torch.zeros(2, 1, 8, 8))
    (tmp_path / "other").write_bytes(b"no")
    with pytest.raises(InputError, match="is not a denoiser"):
        Denoiser.load(tmp_path / "other")


def test_images_of_another_size_are_restored_at_their_own(fitted: Denoiser, digits: data.Splits) -> None:
    tall = torch.cat([digits.test.inputs[:60], digits.test.inputs[60:120]], 2)[..., :7].contiguous()
    clean, given = tall.float().div(255), noisy(tall)
    restored = fitted.denoise(given)
    assert restored.shape == (60, 1, 16, 7)
    assert (restored - clean).square().mean() < 0.5 * (given.clamp(0, 1) - clean).square().mean()
    large = fitted.denoise(given.repeat(1, 1, 20, 20))  # in batches of fewer than 60
    assert large.shape == (60, 1, 320, 140)
    assert torch.allclose(large[:1], fitted.denoise(given[:1].repeat(1, 1, 20, 20)), atol=1e-5)
    dense = Denoiser(replace(spec(2), stack=StackSpec.of("dense", 16, 8))).fit(digits.train.inputs[:70])
    with pytest.raises(InputError, match=r"shape \[1, 16, 7\] cannot be restored: give \[1, 8, 8\], like .* on$"):
        dense.denoise(given)


def test_an_image_too_large_for_the_memory_is_refused(fitted: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoise, "free_bytes", lambda device: 10**6)
    with pytest.raises(InputError, match=r"shape \[1, 1000, 1000\] takes about 0\.1 GiB of memory"):
        fitted.denoise(torch.zeros(1, 1, 1000, 1000))


def test_what_was_given_decides_how_it_is_read(fitted: Denoiser, digits: data.Splits) -> None:
    images = digits.test.inputs[:5]
    expected = fitted.denoise(images)
    for same in (
        images.numpy(),
        images.numpy()[:, :, ::-1][:, :, ::-1],
        images.double() / 255,
        images.numpy() / np.float32(255),
    ):
        assert torch.allclose(fitted.denoise(same), expected, atol=1e-6)
    assert fitted.denoise(2 * torch.randn(9, 1, 8, 8)).isfinite().all()  # noise may lead beyond 0 and 1
    scale = "are not on a scale of 0 to 1 and cannot be restored: divide them by the value that is white"
    refused: list[tuple[Any, str]] = [
        (images.float(), f"floats of up to 255 {scale}"),
        (
            images.long(),
            r"images of torch\.int64 and shape \[5, 1, 8, 8\] cannot be restored: give uint8, or floats on a scale",
        ),
        (images.numpy().astype(np.uint16), r"images of uint16 and shape"),
        (images > 100, r"images of torch\.bool and shape"),
        (images.float() / 0, "values that are not finite cannot be restored"),
        (
            images[:, 0],
            r"shape \[5, 8, 8\] cannot be restored: .*; add a channel axis to grey images with \[:, None\]",
        ),
        (images[0], r"shape \[1, 8, 8\] cannot be restored: .*; add a batch axis to one image with \[None\]"),
        (
            images.permute(0, 2, 3, 1),
            r"shape \[5, 8, 8, 1\] cannot be restored: .*permute\(0, 3, 1, 2\), or transpose in NumPy, puts them first",
        ),
        (images.tolist(), "images in a list cannot be restored: give uint8, .*in a tensor or a NumPy array"),
        (images.numpy().astype(object), "images of object cannot be restored"),
    ]
    for wrong, says in refused:
        with pytest.raises(InputError, match=says):
            fitted.denoise(wrong)
    with pytest.raises(InputError, match=r"shape \[5, 32, 32, 3\] cannot be read: .*permute\(0, 3, 1, 2\)"):
        Denoiser().fit(np.zeros((5, 32, 32, 3), dtype=np.uint8))


def test_a_denoiser_is_fitted_on_numpy_images(digits: data.Splits) -> None:
    images = digits.train.inputs[:70]
    found = [Denoiser(spec(2)).fit(each).denoise(images) for each in (images, images.numpy())]
    assert torch.equal(*found)


def test_quality_is_that_of_scikit_image() -> None:
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.integers(0, 256, (5, 3, 20, 24)).astype(np.uint8))
    restored = (images.float() / 255 + 0.1 * torch.from_numpy(draw.standard_normal((5, 3, 20, 24))).float()).clamp(0, 1)
    found = quality(restored, images)
    pairs = [(a.double().numpy() / 255, b.double().numpy()) for a, b in zip(images, restored, strict=True)]
    assert found["psnr"] == pytest.approx(
        np.mean([peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]), rel=1e-5
    )
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    maps = [structural_similarity(a, b, data_range=1, channel_axis=0, **options)[1][:, 5:-5, 5:-5] for a, b in pairs]
    assert found["ssim"] == pytest.approx(np.mean(maps), rel=1e-4)
    assert "ssim" not in quality(restored[..., :8, :8], images[..., :8, :8])


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_keep_an_image_as_it_lies(channels: int) -> None:
    image = torch.rand(2, channels, 12, 16)
    one = denoising.filter_each(denoise_nl_means, image, patch_size=3, patch_distance=4, h=1e-6, fast_mode=True)
    assert one.shape == image.shape
    assert torch.allclose(one, image, atol=1e-3)
    assert torch.equal(denoising.median(1, image), image)
    assert denoising.median(3, image)[0, 0, 5, 5] == image[0, 0, 4:7, 4:7].median()


def test_filters_are_chosen_on_validation_images(digits: data.Splits, tmp_path: Path) -> None:
    context = denoising.Context(digits, denoising.argparse.Namespace(), tmp_path)
    calls: list[int] = []

    def scale(factor: float, images: Tensor) -> Tensor:
        calls.append(len(images))
        return images * factor

    method = denoising.best_filter("scaled", lambda context: [lambda x, f=f: scale(f, x) for f in (0.1, 0.9, 3.0)])  # type: ignore[misc]
    found = {(one.condition, one.measure): one.value for one in method(context, 3)}
    assert len(found) == len(denoising.ALL)
    images = digits.test.inputs[denoising_index(len(digits.test))]
    for noise in denoising.ALL:
        given = noise.on(images, 3, "test")
        assert found[noise.name, "psnr"] == pytest.approx(quality(given * 0.9, images)["psnr"])
    assert set(calls) == {denoising.TUNED_ON, len(images)}


def denoising_index(count: int) -> Tensor:
    most = min(count, denoising.IMAGES)
    return (torch.arange(most) * count) // most


@pytest.mark.slow
def test_the_study_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoising, "IMAGES", 20)
    monkeypatch.setattr(denoising, "TUNED_ON", 10)
    words = ["--smoke", "--updates", "4", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(denoising.STUDY, words) == 0
    rows = load(tmp_path / "out")
    table = rows[rows["measure"] == "psnr"].pivot(index="condition", columns="arm", values="value")
    assert table.shape == (9, len(denoising.STUDY.arms))
    assert table.notna().all().all()
    alone = table[table.index.str.startswith("gaussian")]
    assert (alone["joint"] == alone["joint, gaussian alone"]).all()
    assert (table.loc["masking 0.3", "joint"] != table.loc["masking 0.3", "joint, gaussian alone"]).all()
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {"levels.png", "images.png"}


@pytest.mark.parametrize(
    ("more", "shape"),
    [([], "[3, 8, 8]"), (["--own-size"], "[3, 9, 9]")],
)
def test_noisy_images_unlike_the_clean_ones_are_refused_before_training(
    more: list[str], shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(Denoiser, "fit", lambda *_: pytest.fail("it was trained"))
    (tmp_path / "noisy").mkdir()
    Image.new("RGB", (9, 9), (9, 99, 200)).save(tmp_path / "noisy" / "0.png")
    words = ["--noisy", f"folder:{tmp_path / 'noisy'}", "--image-size", "8", "--out", str(tmp_path / "out"), *more]
    assert main(denoising.STUDY, words) == 2
    told = capsys.readouterr().err
    assert (
        f"are read as {shape} (channels, height, width), and those of mnist are [1, 28, 28]: give --data folder:CLEAN"
        in told
    )
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_images_of_ones_own_are_restored(digits: data.Splits, tmp_path: Path, capsys: Any) -> None:
    for name, images in (("clean", digits.train.inputs[:80]), ("noisy", digits.test.inputs[:3])):
        (tmp_path / name).mkdir()
        for k, image in enumerate(images):
            Image.fromarray(image[0].numpy()).save(tmp_path / name / f"{k:03}.png")
    words = ["--data", f"folder:{tmp_path / 'clean'}", "--noisy", f"folder:{tmp_path / 'noisy'}", "--grey"]
    words += ["--image-size", "8", "--updates", "3", "--corruption", "masking", "--level", "0.3"]
    assert main(denoising.STUDY, [*words, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "3 restored images are in" in told
    assert "cropped to 8 x 8 pixels (--own-size keeps their sizes)" in told
    again = Denoiser.load(tmp_path / "out" / "denoiser.safetensors")
    assert again.spec.optimisation.corruption == "masking"
    for k, image in enumerate(again.denoise(digits.test.inputs[:3])):
        found = np.array(Image.open(tmp_path / "out" / "restored" / f"{k:03}.png"))
        assert np.abs(found.astype(int) - (image[0] * 255).round().int().numpy()).max() <= 1
    own = [*words, "--own-size", "--out", str(tmp_path / "own")]
    Image.fromarray(np.tile(digits.test.inputs[0, 0].numpy(), (3, 2))[:, :13]).save(tmp_path / "noisy" / "large.png")
    assert main(denoising.STUDY, own) == 0
    assert "4 restored images are in" in (told := capsys.readouterr().out)
    assert "at their own sizes" in told
    assert Image.open(tmp_path / "own" / "restored" / "large.png").size == (13, 24)
    Image.new("L", (1, 2)).save(tmp_path / "noisy" / "tiny.png")
    assert main(denoising.STUDY, [*own[:-1], str(tmp_path / "none")]) == 2
    assert "images of 2 x 1 pixels are too small" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    (tmp_path / "noisy" / "tiny.png").write_bytes(b"")
    assert main(denoising.STUDY, own) == 2
    assert re.search(r"tiny\.png cannot be read \(.*\): repair or remove it", capsys.readouterr().err)
    (tmp_path / "noisy" / "tiny.png").unlink()
    assert main(denoising.STUDY, [word for word in own if word not in words[2:4]]) == 2
    assert "--own-size needs --noisy" in capsys.readouterr().err
    Image.fromarray(digits.test.inputs[0, 0].numpy()).save(tmp_path / "noisy" / "000.bmp")
    assert main(denoising.STUDY, [*words, "--out", str(tmp_path / "out")]) == 2
    assert "would both be written as 000.png" in capsys.readouterr().err


def test_the_running_statistics_are_those_of_what_it_is_used_on() -> None:
    """Clean ones, which other corrupted training ends with, would serve noisy images worse."""
    assert not Denoiser().spec.optimisation.recalibrate
    assert not Denoiser(spec(), corruption="masking", level=0.3).spec.optimisation.recalibrate
