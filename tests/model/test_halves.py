"""The encoder as users call it: floats, bytes, NumPy arrays, one image, other sizes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stacked import InputError, StackSpec
from stacked.model.halves import Encoder
from stacked.model.stack import build
from stacked.runtime.rng import seeded


def encoder(*kinds: str, shape: tuple[int, ...] = (1, 16, 16)) -> Encoder:
    stages = [StackSpec.of(kind, 8 - 4 * k).stages[0] for k, kind in enumerate(kinds)]
    with seeded(0, "test"):
        return build(StackSpec(tuple(stages)), shape).eval().encoder


@pytest.fixture
def images() -> Tensor:
    return torch.randint(256, (600, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kinds", [("conv", "conv"), ("conv", "dense"), ("dense",), ("transformer",)])
def test_all_ways_to_give_images_give_the_same_codes(kinds: tuple[str, ...], images: Tensor) -> None:
    half = encoder(*kinds)
    with torch.no_grad():
        expected = torch.cat([half(part) for part in (images.float() / 255).split(250)])
    for given in (images, images.numpy(), images.float() / 255, (images.float() / 255).numpy()):
        assert torch.equal(half.encode(given), expected)
    flipped = half.encode(images.numpy()[::-1])  # negative strides
    torch.testing.assert_close(flipped.flip(0), expected, rtol=1e-5, atol=1e-6)
    assert not half.encode(images[:3]).requires_grad
    assert half.encode(images[:0]).numel() == 0


def test_encoding_is_done_in_eval_mode_and_leaves_the_mode(images: Tensor) -> None:
    half = encoder("conv", "conv")
    expected, state = half.encode(images), {name: tensor.clone() for name, tensor in half.state_dict().items()}
    half.train()
    assert torch.equal(half.encode(images), expected)
    assert half.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in half.state_dict().items())


def test_a_double_encoder_encodes(images: Tensor) -> None:
    half = encoder("conv").double()
    assert half.encode(images[:2]).dtype == torch.float64
    assert half(images[:2].double() / 255).dtype == torch.float64


def test_convolutions_encode_other_sizes_and_dense_stages_say_that_they_do_not(images: Tensor) -> None:
    larger = torch.nn.functional.pad(images[:2], (0, 8, 0, 4))
    assert encoder("conv", "conv").encode(larger).shape == (2, 4, 5, 6)
    assert encoder("conv", "conv")(larger.float() / 255).shape == (2, 4, 5, 6)
    for kinds in (("conv", "dense"), ("transformer",)):
        half = encoder(*kinds)
        with pytest.raises(
            InputError, match=re.escape("[2, 1, 20, 24] cannot be encoded: give floats in 0..1 of shape [N, 1, 16")
        ):
            half.encode(larger)
        with pytest.raises(InputError, match="cannot be encoded"):
            half(larger.float())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            lambda x: x,
            "torch.uint8 and shape [600, 1, 16, 16] cannot be encoded by a call: give floats in 0..1.*encode(images)",
        ),
        (lambda x: x.numpy(), "images in a ndarray cannot be encoded by a call: give a tensor.*or call encode(images)"),
        (lambda x: x[0].float(), "add a batch axis to one image with [None]"),
        (lambda x: x.float().expand(-1, 3, -1, -1), "[600, 3, 16, 16] cannot be encoded: give floats"),
        (lambda x: x.float().permute(0, 2, 3, 1), "channels seem to come last"),
        (lambda x: x.long(), "torch.int64"),
    ],
)
def test_what_a_call_cannot_encode_is_said(given: Any, says: str, images: Tensor) -> None:
    with pytest.raises(InputError, match=".*".join(map(re.escape, says.split(".*")))):
        encoder("conv")(given(images))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda x: x.float(), "floats of up to 255 are not on a scale of 0 to 1"),
        (lambda x: x[0], "add a batch axis to one image with [None]"),
        (
            lambda x: x[0, 0].numpy(),
            "images of uint8 and shape [16, 16] cannot be encoded: give uint8, or floats on a scale of 0 to 1, [N, C, H, W]; "
            "add batch and channel axes to one grey image with [None, None]",
        ),
        (lambda x: x[0].permute(1, 2, 0).numpy(), "[16, 16, 1] cannot be encoded: give uint8"),
        (lambda x: x[0].permute(1, 2, 0), "; channels seem to come last in one image: permute(2, 0, 1)[None]"),
        (lambda x: list(x), "images in a list cannot be encoded"),
        (lambda x: x.float() * np.nan, "not finite"),
        (lambda x: x.expand(-1, 3, -1, -1), "[600, 3, 16, 16] cannot be encoded"),
    ],
)
def test_what_encode_cannot_encode_is_said(given: Any, says: str, images: Tensor) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        encoder("conv").encode(given(images))
