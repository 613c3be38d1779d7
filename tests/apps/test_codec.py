"""Compression: what is encoded comes back to the symbol, the quantiser does what it says, and foreign files are refused."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stacked import data
from stacked.apps.codec import codec as codecs
from stacked.apps.codec.codec import Codec
from stacked.apps.codec.compress import main
from stacked.apps.codec.format import FREE_IMAGES, ID_BYTES, MAGIC, MOST_VALUES, pack, unpack
from stacked.apps.tiles import tiled
from stacked.model.stack import build
from stacked.spec import Budget, Optimisation, RunSpec, StackSpec
from stacked.util.errors import InputError
from studies.applications.compression.study import linear_of


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return data.load("digits").train.inputs


@pytest.fixture(scope="module")
def codec(digits: Tensor) -> Codec:
    spec = RunSpec(
        stack=StackSpec((*StackSpec.of("conv", 8).stages, *StackSpec.of("dense", 12, activation="linear").stages)),
        budget=Budget((50.0,), 300.0, "updates"),
        optimisation=Optimisation(batch_size=64),
    )
    return Codec.fit(digits, spec, step=0.3)


def untrained(images: Tensor, *widths: int, step: float = 0.2, seed: int = 0) -> Codec:
    """A codec whose code is a map."""
    torch.manual_seed(seed)
    spec = StackSpec.of("conv", *widths)
    return Codec(build(spec, tuple(images.shape[1:])), spec, images, step)


def test_symbols_and_images_come_back(codec: Codec) -> None:
    images = data.load("digits").test.inputs
    symbols = codec.symbols(images)
    content = codec.encode(images)
    assert np.array_equal(codec.decompress_symbols(codec.compress_symbols(symbols), len(symbols)), symbols)
    restored = codec.decode(content)
    assert torch.equal(torch.stack(restored), codec.reconstruct(symbols))
    error = (torch.stack(restored).float() - images.float()).div(255).square().mean()
    assert error < 0.6 * images.float().div(255).var(0).mean()  # it is a picture of them


def test_maps_and_images_of_any_size_come_back(digits: Tensor) -> None:
    codec = untrained(digits, 6, 4)
    images = [digits[0], torch.arange(9 * 21).to(torch.uint8).view(1, 9, 21), digits[1], digits[2][:, :3, :1]]
    restored = codec.decode(codec.encode(images))
    assert [image.shape for image in restored] == [image.shape for image in images]
    for mine, image in zip(restored, images, strict=True):
        parts = codec.reconstruct(codec.symbols(image[None]))
        assert torch.equal(mine[:, :3, :1], parts[0][:, :3, :1])
    alone = codec.decode(codec.encode(images[1:2]))[0]
    assert torch.equal(alone, restored[1])


def test_tiles_repeat_the_border() -> None:
    image = torch.arange(2 * 3 * 5).to(torch.uint8).view(1, 2, 3, 5)
    tiles = tiled(image, (2, 4))
    assert tiles.shape == (4, 2, 2, 4)
    assert torch.equal(tiles[0], image[0, :, :2, :4])
    assert torch.equal(tiles[3], image[0, :, 2:, 4:].expand(2, 2, 4))


def test_a_principal_component_moves_the_pixels_as_far_as_itself(digits: Tensor) -> None:
    """Rounding an orthonormal code by one step for all is what theory asks for, and what the gains come to."""
    stack, spec = linear_of(digits, 10)
    codec = Codec(stack, spec, digits, 0.4)
    np.testing.assert_allclose(codec.steps, 0.4, rtol=1e-4)
    rows = digits.flatten(1).double().numpy() / 255
    kept = (rows - rows.mean(0)) @ np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:10].T
    expected = np.round(kept / 0.4)
    mine = codec.symbols(digits)[..., 0] + codec.low
    assert (np.abs(mine) == np.abs(expected)).mean() > 0.999  # but for the signs, and values on an edge


def test_rounding_any_channel_does_the_same_to_the_pixels(codec: Codec, digits: Tensor) -> None:
    codes = codec._codes(digits[:200]).detach()
    base = codec._pixels(codes)
    moves = []
    for channel, step in enumerate(codec.steps):
        moved = codes.clone()
        moved[:, channel] += 0.2 * step
        moves.append((codec._pixels(moved) - base).square().flatten(1).sum(1).mean().sqrt().item())
    assert max(moves) < 2 * min(moves)


def test_the_payload_is_as_short_as_the_frequencies_allow(codec: Codec, digits: Tensor) -> None:
    symbols, bits = codec.symbols(digits), 0.0
    for k, count in enumerate(codec.counts):
        seen = np.bincount(symbols[:, k].ravel(), minlength=len(count))
        share = (count + 0.5) / (count + 0.5).sum()
        bits -= (seen * np.log2(share)).sum()
    assert bits <= 8 * len(codec.compress_symbols(symbols)) <= 1.01 * bits + 64


def test_a_smaller_step_costs_more_and_errs_less(codec: Codec, digits: Tensor) -> None:
    found = []
    for step in (1.0, 0.3, 0.1):
        one = Codec(codec.stack, codec.spec, digits, step)
        restored = torch.stack(one.decode(one.encode(digits)))
        found.append((len(one.encode(digits)), float((restored.float() - digits.float()).square().mean())))
    assert found[0][0] < found[1][0] < found[2][0]
    assert found[0][1] > found[1][1] > found[2][1]


def test_what_training_did_not_see_is_cut_to_what_it_saw(codec: Codec) -> None:
    strange = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    strange[..., ::2] = 0
    symbols = codec.symbols(strange)
    assert (symbols >= 0).all()
    assert (symbols[0, :, 0] < codec.levels).all()
    assert np.array_equal(codec.decompress_symbols(codec.compress_symbols(symbols), 1), symbols)


def test_a_channel_that_changes_nothing_costs_nothing(digits: Tensor) -> None:
    torch.manual_seed(0)
    spec = StackSpec.of("dense", 5, activation="linear")
    stack = build(spec, (1, 8, 8))
    stack.stages[0].decoder[0].weight.data[:, 2] = 0
    codec = Codec(stack, spec, digits, 0.3)
    assert codec.levels[2] == 1
    symbols = codec.symbols(digits)
    assert np.array_equal(codec.decompress_symbols(codec.compress_symbols(symbols), len(symbols)), symbols)
    assert len(codec.decode(codec.encode(digits[:3]))) == 3


def test_a_codec_is_saved_and_loaded(codec: Codec, digits: Tensor, tmp_path: Path) -> None:
    codec.save(tmp_path / "codec.safetensors")
    again = Codec.load(tmp_path / "codec.safetensors")
    assert again.identity == codec.identity
    assert again.encode(digits[:20]) == codec.encode(digits[:20])
    assert torch.equal(
        torch.stack(again.decode(codec.encode(digits[:20]))), torch.stack(codec.decode(codec.encode(digits[:20])))
    )


def test_a_file_of_another_model_is_refused(codec: Codec, digits: Tensor) -> None:
    other = Codec(codec.stack, codec.spec, digits, 0.31)
    with pytest.raises(InputError, match=f"was written with the model {other.identity.hex()}, not with"):
        codec.decode(other.encode(digits[:2]))


def test_every_damaged_byte_and_every_cut_is_refused(codec: Codec, digits: Tensor) -> None:
    content = codec.encode(digits[:2])
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x41
        with pytest.raises(InputError):
            codec.decode(bytes(damaged))
        with pytest.raises(InputError, match=r"damaged or truncated|not a file of images"):
            codec.decode(content[:position])
    with pytest.raises(InputError, match="damaged"):
        codec.decode(content + b"\0")


def sealed(body: bytes) -> bytes:
    """With a checksum that fits."""
    import zlib

    return body + zlib.crc32(body).to_bytes(4, "little")


def test_what_is_whole_but_wrong_is_refused(codec: Codec, digits: Tensor) -> None:
    content = codec.encode(digits[:2])
    with pytest.raises(InputError, match="version 2"):
        codec.decode(sealed(content[: len(MAGIC)] + b"\2" + content[len(MAGIC) + 1 : -4]))
    with pytest.raises(InputError, match="does not hold the images that its header declares"):
        codec.decode(sealed(content[:-5]))
    with pytest.raises(InputError, match="does not hold the images that its header declares"):
        codec.decode(pack(codec.identity, [(8, 8)], codec.compress_symbols(codec.symbols(digits[:2]))))
    for size, count in (((2**20, 2**20), 1), ((1, 2**27 // 8), 9), ((1, 1), 2**20 + 1)):
        with pytest.raises(InputError, match=f"or {MOST_VALUES:,} values"):
            codec.decode(pack(codec.identity, [size] * count, b""))
    with pytest.raises(InputError, match="damaged"):
        codec.decode(pack(codec.identity, [(0, 8)], b""))
    with pytest.raises(InputError, match="damaged"):  # a number of a million bytes
        codec.decode(sealed(content[: len(MAGIC) + 1 + ID_BYTES] + b"\xff" * 10**6))


def test_images_that_take_no_bytes_are_written_as_far_as_they_are_read(codec: Codec, digits: Tensor) -> None:
    """A codec of one value a channel needs no payload."""
    certain = Codec(codec.stack, codec.spec, digits[:1], 16)
    images = torch.zeros(FREE_IMAGES + 1, 1, 1, 1, dtype=torch.uint8)
    assert len(certain.decode(certain.encode(images[1:]))) == FREE_IMAGES
    with pytest.raises(
        InputError, match="4,097 images take 0 bytes with this codec, and at most 4,096 are read from so"
    ):
        certain.encode(images)
    with pytest.raises(InputError, match="x declares 4,097 images in 0 bytes, and at most 4,096 are read from so few"):
        certain.decode(pack(certain.identity, [(1, 1)] * len(images), b""), "x")


def test_equal_neighbours_among_many_tiles_come_back_where_they_were(codec: Codec, digits: Tensor) -> None:
    page = torch.zeros(1, 8 * 70, 8 * 70, dtype=torch.uint8)
    page[:, 80:88, 160:168], page[:, -8:, -8:] = digits[0], digits[1]
    found = codec.decode(codec.encode([page]))[0].int()
    tiles = codec.reconstruct(codec.symbols(page[None])).view(70, 70, 8, 8)
    assert (found - tiles.transpose(1, 2).reshape(1, 560, 560).int()).abs().max() <= 1
    assert (found[:, 80:88, 160:168] - found[:, :8, :8]).abs().max() > 9


def test_sizes_come_back() -> None:
    model = bytes(ID_BYTES)
    sizes = [(28, 28)] * 500 + [(1, 70_000), (300, 2)]
    content = pack(model, sizes, b"abcd")
    assert unpack(content, model, "x", (1, 28, 28)) == (sizes, b"abcd")
    assert len(content) < 50


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"\[N, 1, H, W\]"),
        (torch.zeros(2, 1, 8, 8), "torch.float32"),
        (torch.zeros(0, 1, 8, 8, dtype=torch.uint8), "no images"),
    ],
)
def test_other_images_are_refused(codec: Codec, images: Tensor, says: str) -> None:
    with pytest.raises(InputError, match=says):
        codec.encode(images)


def test_bad_steps_are_refused(codec: Codec, digits: Tensor) -> None:
    with pytest.raises(InputError, match="step 0"):
        Codec(codec.stack, codec.spec, digits, 0)
    with pytest.raises(InputError, match="give a larger step"):
        Codec(codec.stack, codec.spec, digits, 1e-6)


@pytest.mark.parametrize("step", [0, -1.0, 1e-300, 5e-324, 9e-7, float("nan"), float("inf"), "a", None])
def test_a_step_that_no_codec_can_have_is_refused_before_training(step: Any, codec: Codec, digits: Tensor) -> None:
    never = replace(codecs.default_spec(), budget=Budget((10.0**9,), 10.0**9, "updates"))
    with pytest.raises(
        InputError, match=r"^step .*(give a number above 0|is too small for 4,096 levels a value: give at)"
    ):
        Codec.fit(digits, never, step=step)
    with pytest.raises(InputError, match=r"^step "):
        Codec(codec.stack, codec.spec, digits, step)


def test_more_levels_than_an_integer_holds_are_too_many(
    codec: Codec, digits: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codecs, "LEAST_STEP", 0.0)
    with pytest.raises(InputError, match=r"takes [\d,]{200,} levels, more than 4,096: give a larger step"):
        Codec(codec.stack, codec.spec, digits, 1e-300)


@pytest.mark.parametrize("unpool", ["switches", "zeros"])
def test_a_stack_whose_decoder_must_be_told_more_is_refused(unpool: str, digits: Tensor) -> None:
    spec = StackSpec.of("conv-pool", 4, unpool=unpool)
    with pytest.raises(InputError, match="use unpool 'nearest'"):
        Codec(build(spec, (1, 8, 8)), spec, digits)


def test_a_codec_file_that_is_none_is_refused(codec: Codec, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from stacked.model.tensor_file import read

    codec.save(tmp_path / "codec.safetensors")
    tensors, header, _ = read(tmp_path / "codec.safetensors")
    changes: list[tuple[str, Any]] = [
        ("steps", -tensors["steps"]),
        ("steps", tensors["steps"][:-1]),
        ("mean", tensors["mean"] * float("nan")),
        ("levels", tensors["levels"] + 1),
        ("levels", tensors["levels"] * 0),
        ("counts", -tensors["counts"] - 1),
        ("low", tensors["low"] + 2**40),
    ]
    for name, value in changes:
        save_file({**tensors, name: value}, tmp_path / "bad.safetensors", header)
        with pytest.raises(InputError, match="is not a codec"):
            Codec.load(tmp_path / "bad.safetensors")


def test_the_command_line_restores_images(codec: Codec, digits: Tensor, tmp_path: Path, capsys: Any) -> None:
    codec.save(tmp_path / "codec.safetensors")
    Image.fromarray(digits[0, 0].numpy()).save(tmp_path / "a.png")
    Image.fromarray(np.tile(digits[1, 0].numpy(), (2, 3))).save(tmp_path / "b.png")
    files = [str(tmp_path / name) for name in ("codec.safetensors", "a.png", "b.png", "both.stk")]
    assert main(["encode", *files]) == 0
    assert "2 images" in capsys.readouterr().out
    assert main(["decode", files[0], files[-1], str(tmp_path / "out")]) == 0
    found = [np.array(Image.open(tmp_path / "out" / f"{k:04}.png")) for k in range(2)]
    expected = codec.decode((tmp_path / "both.stk").read_bytes())
    assert [image.shape for image in found] == [(8, 8), (16, 24)]
    assert all(np.array_equal(mine, theirs[0]) for mine, theirs in zip(found, expected, strict=True))
    assert main(["decode", files[0], files[1], str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "is not a file of images compressed by stacked" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("mode", "says"),
    [("RGB", "in colour"), ("LA", "transparency"), ("I", "mode I"), (None, "cannot be read")],
)
def test_images_that_would_lose_something_are_refused(
    mode: str | None, says: str, codec: Codec, tmp_path: Path, capsys: Any
) -> None:
    codec.save(tmp_path / "codec.safetensors")
    if mode:
        Image.new(mode, (8, 8)).save(tmp_path / "image.tiff" if mode == "I" else tmp_path / "image.png")
    path = next(tmp_path.glob("image.*"), tmp_path / "absent.png")
    assert main(["encode", str(tmp_path / "codec.safetensors"), str(path), str(tmp_path / "out.stk")]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out.stk").exists()


def test_without_the_package_a_line_names_the_extra(codec: Codec, digits: Tensor, monkeypatch: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'stacked\[compression\]'"):
        codec.encode(digits)


def test_large_images_are_encoded_where_they_are_allowed(
    codec: Codec, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    codec.save(tmp_path / "codec.safetensors")
    Image.new("L", (40, 40)).save(tmp_path / "large.png")
    words = ["encode", *(str(tmp_path / name) for name in ("codec.safetensors", "large.png", "out.stk"))]
    assert main(words) == 2
    assert "decompression bomb" in capsys.readouterr().err
    assert main([*words, "--max-megapixels", "0.002"]) == 0


def test_images_may_be_numpys(codec: Codec, digits: Tensor) -> None:
    images = digits[:20]
    assert codec.encode(images.numpy()) == codec.encode(images)
    assert codec.encode([image.numpy() for image in images]) == codec.encode(list(images))
    assert (
        Codec(codec.stack, codec.spec, digits.numpy(), np.float32(1)).identity
        == Codec(codec.stack, codec.spec, digits).identity
    )  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"shape \[20, 8, 8, 1\] cannot be compressed: .*permute\(0, 3, 1, 2\)"):
        codec.encode(images.permute(0, 2, 3, 1).numpy())
    with pytest.raises(InputError, match="images in a list cannot be compressed"):
        Codec.fit([1, 2])  # type: ignore[arg-type]


def test_a_codec_of_one_image_gives_it_back(codec: Codec, digits: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = Codec(codec.stack, codec.spec, digits[:1])
    assert np.isinf(one.steps).all()
    with torch.no_grad():
        expected = codec.stack.reconstruct(digits[:1].float().div(255)).clamp(0, 1).mul(255).round()
    assert (one.decode(one.encode(digits[:1]))[0] - expected[0]).abs().max() <= 1


@pytest.mark.parametrize("step", [16.1, 1e30, 1e300])
def test_a_step_beyond_any_change_of_the_images_is_refused_before_training(
    step: float, codec: Codec, digits: Tensor
) -> None:
    never = replace(codecs.default_spec(), budget=Budget((10.0**9,), 10.0**9, "updates"))
    for make in (
        lambda: Codec.fit(digits, never, step=step),
        lambda: Codec(codec.stack, codec.spec, digits, step),
    ):
        with pytest.raises(InputError, match=r"^step .* of images of shape \[1, 8, 8\] needs: give at most 16$"):
            make()


def test_a_codec_that_restores_all_images_alike_is_refused(codec: Codec, digits: Tensor) -> None:
    dead = copy.deepcopy(codec.stack)
    with torch.no_grad():
        for weights in dead.parameters():
            weights.zero_()
    with pytest.raises(InputError, match=r"^no channel of the stack's code changes the pixels, so that all images"):
        Codec(dead, codec.spec, digits)
    equal = digits[:1].expand(20, -1, -1, -1)
    assert Codec(dead, codec.spec, equal).levels.max() == 1
    short = RunSpec(
        stack=StackSpec.of("dense", 4),
        budget=Budget((1.0,), 1.0, "updates"),
        optimisation=Optimisation(batch_size=64, lr=1e-6),
    )
    with pytest.raises(
        InputError, match=r"^every code of the training images is rounded to the same value with step 15"
    ):
        Codec.fit(digits, short, step=15)
    assert Codec.fit(equal, short, step=15).levels.max() == 1


def test_codes_that_are_not_finite_are_refused(codec: Codec, digits: Tensor) -> None:
    broken = copy.deepcopy(codec.stack)
    with torch.no_grad():
        next(iter(broken.stages[0].encoder.parameters())).fill_(float("nan"))
    with pytest.raises(InputError, match="codes are not finite"):
        Codec(broken, codec.spec, digits)
