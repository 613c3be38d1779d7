"""What is made of many images takes memory by the chunk, of bytes and not of images, and chunks have no say in the result."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from stacked import AutoEncoder224, StackSpec
from stacked.apps.anomaly import Detector
from stacked.apps.codec.codec import Codec
from stacked.apps.denoise import Denoiser
from stacked.apps.estimator import through
from stacked.apps.map_page import SHEET, thumbnails
from stacked.cost.live_bytes import LiveBytes
from stacked.evaluation import evaluate, references
from stacked.evaluation.probes import Scale, linear_probe
from stacked.evaluation.scores import accuracy
from stacked.model.classifier import Classifier
from stacked.model.stack import StackedAutoencoder, build
from stacked.spec import Budget, Optimisation, RunSpec
from stacked.training.codes import StoredInputs
from stacked.util import chunks
from stacked.util.chunks import BYTES
from stacked.util.errors import InputError
from studies.applications.projection.study import distances
from studies.applications.quality import quality
from tests.helpers.splits import toy_splits

ROOT = Path(__file__).parents[2]
SHAPE = (1, 16, 16)
#: What `whole` and `applied` return, by name.
OF_A_SPLIT = ("reconstruction", "codes", "mean", "pca", "probe", "accuracy", "quality")
USES = (
    *("score", "heat", "denoise", "symbols", "restored", "gains"),
    *("transform", "inverse", "reconstructed", "distances"),
)
BYTES_OF_AN_IMAGE = {"score": 100, "denoise": 1100, "symbols": 350, "restored": 450, "gains": 600}
SPEC = RunSpec(
    stack=StackSpec.of("conv", 2, 2), budget=Budget((1.0,), 1.0, "updates"), optimisation=Optimisation(batch_size=8)
)


def photographs(count: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


def stack() -> StackedAutoencoder:
    torch.manual_seed(0)
    return build(SPEC.stack, SHAPE).eval()


def test_a_chunk_has_so_many_bytes_and_so_many_images_at_most() -> None:
    for values in (28 * 28, 32 * 14 * 14):  # as records were measured: images, and the widest code of them
        assert [len(part) for part in chunks.chunks(1200, values)] == [500, 500, 200]
    assert [len(part) for part in chunks.chunks(1200, 28 * 28, most=700)] == [700, 500]
    [first, *_] = chunks.chunks(1000, 3 * 224 * 224)
    assert BYTES - 4 * 3 * 224 * 224 < 4 * len(first) * 3 * 224 * 224 <= BYTES
    assert [len(part) for part in chunks.chunks(3, BYTES)] == [1, 1, 1]
    assert [len(part) for part in chunks.chunks(0, 5)] == [0]
    assert torch.equal(torch.cat(chunks.chunks(1001, 10_000)), torch.arange(1001))


def test_a_chunk_is_as_large_as_what_is_made_of_its_images() -> None:
    model = AutoEncoder224()
    assert model.widest((3, 224, 224)) == 32 * 112 * 112
    assert model.widest((3, 448, 448)) == 32 * 224 * 224
    assert stack().widest(SHAPE) == 256


def whole(images: Tensor) -> dict[str, Callable[[], Any]]:
    """What is done with all images of a split, by name; where it gives an array, that has at most a few values an image."""
    labels, model = torch.arange(len(images)) % 4, stack()
    few, theirs, how = images[:16], labels[:16], Classifier(model, "abcd")
    codes = evaluate.codes(model, few, 1)
    other = (images // 2 + 60).to(torch.uint8)
    return {
        "reconstruction": lambda: evaluate.reconstruction(model, images).mse,
        "codes": lambda: evaluate.codes(model, images, 2),
        "mean": lambda: references.mean_reference(images, images).mse,
        "pca": lambda: references.pca_reference(images, images, 5).mse,
        "probe": lambda: linear_probe(codes, theirs, evaluate.Codes(model, images, 1), labels),
        "accuracy": lambda: accuracy(how, images, labels),
        "quality": lambda: sum(quality(other, images).values()),
    }


def peak(function: Callable[[], Any]) -> int:
    """The most bytes that torch and numpy hold at once meanwhile."""
    gc.collect()
    tracemalloc.start()
    try:
        with LiveBytes() as live:
            function()
        return live.peak + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bytes_of_more_images() -> dict[str, int]:
    """The bytes that many images take beyond those that few take, by what is done with them."""
    chunks.BYTES = 2**16
    taken = {}
    for functions, few, many in ((whole, 200, 1400), (applied, 500, 4000)):
        some, more = functions(photographs(few)), functions(photographs(many))
        for what in [name for name in some if functions is whole or name in BYTES_OF_AN_IMAGE]:
            peak(some[what])  # what is loaded once, by the measurement too
            taken[what] = peak(more[what]) - peak(some[what])
    return taken


@pytest.fixture(scope="module")
def taken() -> dict[str, int]:
    """The bytes of more images in a process of their own: what other tests left changes when garbage is collected."""
    code = "import json; from tests.util.test_chunks import bytes_of_more_images as found; print(json.dumps(found()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("what", OF_A_SPLIT)
def test_more_images_take_no_more_memory(what: str, taken: dict[str, int]) -> None:
    """But for an index of each, and the few values that are told of it: bytes an image, of 1,024 as float32."""
    assert taken[what] < 1200 * 512


@pytest.mark.parametrize("what", OF_A_SPLIT)
def test_chunks_change_nothing(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = whole(photographs(50))
    assert tuple(functions) == OF_A_SPLIT
    at_once = functions[what]()
    monkeypatch.setattr(chunks, "BYTES", 2**13)
    np.testing.assert_allclose(functions[what](), at_once, rtol=1e-5, atol=1e-6)


def test_principal_components_are_scikit_learns_and_exact() -> None:
    images = toy_splits(200).train.inputs
    rows = references.as_rows(images)
    theirs = PCA(6, svd_solver="full").fit(rows)
    mine = references.fitted_pca(images, 6)
    np.testing.assert_allclose(mine.mean_, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(mine.components_, theirs.components_, atol=1e-9)
    np.testing.assert_allclose(mine.transform(rows), theirs.transform(rows), atol=1e-9)
    np.testing.assert_allclose(mine.restored(rows), theirs.inverse_transform(theirs.transform(rows)), atol=1e-9)


def test_principal_components_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit: sums of bytes are exact."""
    images = toy_splits(200).train.inputs
    at_once = references.fitted_pca(images, 6)
    monkeypatch.setattr(chunks, "BYTES", 2**12)
    in_parts = references.fitted_pca(images, 6)
    assert np.array_equal(at_once.mean_, in_parts.mean_)
    assert np.array_equal(at_once.components_, in_parts.components_)


@pytest.mark.parametrize(("count", "components"), [(5, 6), (300, 145), (1, 1), (9, 0)])
def test_components_that_are_not_to_be_had_are_refused(count: int, components: int) -> None:
    images = photographs(count, (1, 12, 12))
    with pytest.raises(
        InputError, match=f"^{components} principal components cannot be computed from {count} examples of 144"
    ):
        references.fitted_pca(images, components)


def test_rows_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "free_bytes", lambda device: 10 * 256 * 8)
    assert references.as_rows(photographs(8)).shape == (8, 256)
    with pytest.raises(
        InputError, match=r"^9 examples of 256 values need .* GiB as rows of numbers, .*: use smaller or fewer examples"
    ):
        references.as_rows(photographs(9))
    assert references.as_rows(photographs(9), torch.float32).dtype == np.float32


def test_codes_are_standardised_as_scikit_learn_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, whatever the columns that are looked at together."""
    codes = torch.randn(200, 77) * torch.arange(77) + 5
    expected = StandardScaler().fit_transform(codes.numpy())
    monkeypatch.setattr(chunks, "BYTES", 2**14)
    scale = Scale(codes)
    assert len(scale.scalers) > 5
    assert np.array_equal(scale(codes), expected)


def test_wide_codes_are_averaged_for_probes_and_others_are_not() -> None:
    code = torch.rand(2, 32, 112, 112)
    few = evaluate.averaged(code, evaluate.PROBED)
    assert few.shape == (2, 32, 32, 32)
    assert few.mean().item() == pytest.approx(code.mean().item(), rel=1e-3)
    for whole in (torch.rand(2, 512, 7, 7), torch.rand(2, 16, 14, 14), torch.rand(2, 40_000)):
        assert evaluate.averaged(whole, evaluate.PROBED) is whole
    pixels = evaluate.Codes(AutoEncoder224(), photographs(1, (3, 224, 224)), 0, evaluate.PROBED).all()
    assert pixels.shape == (1, 3 * 104 * 104)


def test_all_of_a_split_is_the_split_and_a_part_is_read_where_it_lies() -> None:
    split = toy_splits(20).train
    assert split.take(torch.arange(20)) is split
    assert split.take(torch.arange(20).flip(0)).inputs.data_ptr() != split.inputs.data_ptr()
    rows = torch.tensor([3, 17, 3])
    part = StoredInputs(split.inputs, rows=rows)
    assert len(part) == 3
    assert part.shape == (1, 12, 12)
    assert torch.equal(part(torch.arange(3)), StoredInputs(split.inputs)(rows))
    assert torch.equal(
        StoredInputs.near(split.inputs, torch.device("cpu"), rows)(torch.tensor([1])),
        StoredInputs(split.inputs)(rows[1:2]),
    )
    assert part.values is split.inputs


def applied(images: Tensor) -> dict[str, Callable[[], Any]]:
    """What the uses do with images; they are given arrays of as many values back."""
    model, rows = stack(), images.flatten(1).double().numpy()
    widest = model.widest(SHAPE)
    detector = Detector(SPEC, held_out=0.5).fit(images[:60])
    denoiser = Denoiser(SPEC).fit(images[:16])
    codec = Codec(stack(), SPEC.stack, images[:16], step=0.5)
    symbols = codec.symbols(images)
    return {
        "score": lambda: detector.score(images),
        "heat": lambda: detector.heat_map(images),
        "denoise": lambda: denoiser.denoise(images),
        "symbols": lambda: codec.symbols(images),
        "restored": lambda: codec.reconstruct(symbols).numpy(),
        "gains": lambda: Codec(stack(), SPEC.stack, images, step=0.5).steps,
        "transform": lambda: through(model, "encode", rows, SHAPE, widest),
        "inverse": lambda: through(
            model, "decode", through(model, "encode", rows, SHAPE, widest), model.latent_shape, widest
        ),
        "reconstructed": lambda: evaluate.reconstructed(model, images, 2).numpy(),
        "distances": lambda: distances(images),
    }


@pytest.fixture(scope="module")
def uses() -> dict[str, Callable[[], Any]]:
    torch.manual_seed(0)
    return applied(photographs(60))


@pytest.mark.parametrize("what", USES)
def test_chunks_change_nothing_of_uses(
    what: str, uses: dict[str, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tuple(uses) == USES
    at_once = uses[what]()
    monkeypatch.setattr(chunks, "BYTES", 2**13)
    np.testing.assert_allclose(uses[what](), at_once, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "an_image"), BYTES_OF_AN_IMAGE.items())
def test_uses_take_no_more_than_what_they_give(what: str, an_image: int, taken: dict[str, int]) -> None:
    """Bytes an image: of float32 it has 1,024, its code 128 and twice that as float64.

    So many images that a call's own objects, whose bytes differ from call to call by some ten thousand, are few beside.
    """
    assert taken[what] < 3500 * an_image


def test_pictures_of_a_page_are_made_smaller_where_they_are_many_or_large() -> None:
    small = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4) * 2
    assert np.array_equal(thumbnails(small), small)
    half = thumbnails(small, most=24)
    assert half.shape == (2, 3, 2, 2)
    assert half[1, 2, 0, 0] == small[1, 2, :2, :2].mean()
    large = thumbnails([np.zeros((3, 224, 224), np.uint8)] * 300)
    assert large.size <= SHEET
    assert large.shape == (300, 3, 112, 112)
