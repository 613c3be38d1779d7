"""Transformer stages: patches become tokens of a map, with self-attention between them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import Conv2d, ConvTranspose2d
from stacked.stages.stage import MOST_BLOCKS, Hidden, Shape, Stage, StageSettings
from stacked.util.checks import need, whole
from stacked.util.errors import InputError


def need_division(patch: int, size: Shape) -> None:
    """Raise InputError unless `patch` divides height and width."""
    common = math.gcd(*size)
    if common % patch:
        small = [n for n in range(1, math.isqrt(common) + 1) if common % n == 0]
        divisors = ", ".join(map(str, sorted({*small, *(common // n for n in small)})))
        raise InputError(f"patch {patch} does not divide {' x '.join(map(str, size))}: choose from {divisors}")


def positions(height: int, width: int, features: int, like: Tensor) -> Tensor:
    """Return sinusoidal encodings of each token's row and column [height * width, features], with dtype and device of `like`.

    The first half of the features encodes the row, the second the column, each in features / 4 frequencies from 1 down towards
    1/10000 (Vaswani et al. 2017, in two dimensions as in He et al. 2022). They have no parameters and work for any size.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)  # half precision is too coarse for angles
    count = features // 4
    frequencies = 10000.0 ** (-torch.arange(count, dtype=dtype, device=like.device) / count)
    waves = []
    for n in (height, width):
        angles = torch.arange(n, dtype=dtype, device=like.device)[:, None] * frequencies
        waves.append(torch.cat([angles.sin(), angles.cos()], dim=1))
    rows, columns = waves[0][:, None].expand(-1, width, -1), waves[1].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1).to(like.dtype)


class Block(nn.Module):
    """Self-attention and a perceptron on tokens [B, N, width], each on normalised tokens and added to them.

    The pre-norm block of Dosovitskiy et al. 2021 (figure 1), without dropout. `nn.TransformerEncoderLayer` is not used
    because in eval mode without gradients it switches to a fused kernel that rounds differently from training, so that a
    frozen stage would not return the codes that it was trained with.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        # [B, N, 3 * width] -> queries, keys, values of [B, heads, N, width / heads]
        projected = self.queries_keys_values(self.norm1(tokens)).unflatten(2, (3, self.heads, -1))
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        tokens = tokens + self.mixed(attended)
        return tokens + self.perceptron(self.norm2(tokens))


class Blocks(nn.Module):
    """Transformer blocks on a map [B, width, h, w], whose positions are the tokens, with position encodings added.

    The output of the pre-norm blocks is normalised once at the end (Dosovitskiy et al. 2021, equation 4).
    """

    def __init__(self, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)), nn.LayerNorm(width))

    def forward(self, maps: Tensor, hidden: Hidden | None = None) -> Tensor:
        """Return a map of the same shape; hidden positions take no part, and are 0 in it."""
        features, height, width = maps.shape[1:]
        tokens = maps.flatten(2).transpose(1, 2) + positions(height, width, features, maps)
        if hidden is None or hidden.visible == tokens.shape[1]:
            return self.blocks(tokens).transpose(1, 2).unflatten(2, (height, width))
        # the visible tokens first, in their order; every example has the same number, so that shapes do not depend on values
        shown = hidden.blocks.flatten(1).to(torch.uint8).argsort(dim=1, stable=True)[:, : hidden.visible]
        example = torch.arange(len(tokens), device=tokens.device)[:, None]
        seen = self.blocks(tokens[example, shown])
        all_of = torch.zeros_like(tokens, dtype=seen.dtype).index_put((example, shown), seen)
        return all_of.transpose(1, 2).unflatten(2, (height, width))


class Patches(Conv2d):
    """A linear map from each patch to a vector; a size that the patch does not divide is refused instead of cut."""

    def forward(self, x: Tensor) -> Tensor:
        need_division(self.kernel_size[0], tuple(x.shape[2:]))
        return super().forward(x)


class MaskToken(nn.Module):
    """Puts one learned vector in the place of each hidden position of a code [B, width, h, w] (He et al. 2022, section 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(width).normal_(std=0.02))

    def forward(self, code: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the code with the vector where `hidden` [B, 1, h, w] is True (None: nowhere)."""
        if hidden is None:
            # so that the vector is part of every result, and has a gradient, if only of zeros
            hidden = code.new_zeros((1, 1, 1, 1), dtype=torch.bool)
        return torch.where(hidden, self.token.to(code.dtype)[:, None, None], code)


class Transformer(Stage):
    """Patches - transformer blocks - activation, and back: blocks, then a linear map from each token to its patch.

    [B, C, H, W] -> [B, width, H/patch, W/patch]. On pixels this is a patch embedding (Dosovitskiy et al. 2021), on the code
    of a lower stage a merging of neighbouring tokens (Liu et al. 2021, without their windows). The decoder has its own blocks
    and adds positions to the code again (He et al. 2022). `patch` must divide H and W; `heads` and 4 (for the positions) must
    divide `width`. Encoder and decoder have `blocks` blocks each. The only norm is the layer norm of each token's features,
    in the blocks and after them.

    With `visible_only` the blocks of the encoder take only the patches that the corruption "patch-masking" leaves visible, and
    a learned vector stands for each hidden one in the decoder (He et al. 2022, masked autoencoders). The code of a hidden patch
    is 0. An input that is not corrupted, as in evaluation, is encoded whole. Sides of patches and of masked blocks are equal.
    """

    kind = "transformer"
    norms = ("layer",)
    leaves_out = "visible_only"

    def __init__(
        self, settings: StageSettings, *, patch: int = 2, heads: int = 4, blocks: int = 1, visible_only: bool = False
    ) -> None:
        super().__init__(settings, patch=patch, heads=heads, blocks=blocks)
        need_division(patch, tuple(settings.in_shape[1:]))
        self.patch, self.visible_only = patch, visible_only
        channels = settings.in_shape[0]
        self.encoder = nn.Sequential(
            Patches(channels, settings.width, patch, stride=patch),
            Blocks(settings.width, heads, blocks),
            ACTIVATIONS[settings.activation](),
        )
        self.decoder = nn.Sequential(
            *([MaskToken(settings.width)] if visible_only else []),
            Blocks(settings.width, heads, blocks),
            ConvTranspose2d(settings.width, channels, patch, stride=patch),
            ACTIVATIONS[settings.output](),
        )

    @classmethod
    def check(cls, width: int, *, patch: int = 2, heads: int = 4, blocks: int = 1, **options: Any) -> None:
        super().check(width, **options)
        for name, value in (("patch", patch), ("heads", heads)):
            whole(value, f"{name} of a {cls.kind} stage")
        whole(blocks, f"blocks of a {cls.kind} stage", most=MOST_BLOCKS)
        multiple = math.lcm(4, heads)
        need(
            width % multiple == 0,
            f"width {width} of a {cls.kind} stage with {heads} heads is not allowed: give a multiple of {multiple}, "
            "which both the heads and the 4 parts of the position encoding divide",
        )

    def encode_corrupted(self, x: Tensor, hidden: Hidden | None) -> tuple[Tensor, Tensor | None]:
        if not self.visible_only:
            return super().encode_corrupted(x, hidden)
        patches, blocks, activation = self.encoder
        embedded = patches(x)
        grid = tuple(embedded.shape[2:])
        if hidden is None or tuple(hidden.blocks.shape[1:]) != grid:
            given = "none such" if hidden is None else " x ".join(map(str, hidden.blocks.shape[1:]))
            raise InputError(
                f"a {self.kind} stage with visible_only reads {' x '.join(map(str, grid))} patches, with the same number "
                f"hidden in every image, and was given {given}: use corruption 'patch-masking' with corruption_patch {self.patch}"
            )
        is_hidden = hidden.blocks[:, None]
        code = activation(blocks(embedded, hidden))
        return torch.where(is_hidden, torch.zeros((), dtype=code.dtype, device=code.device), code), is_hidden

    def decode_linear(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        if not self.visible_only:
            return super().decode_linear(code, size, switches)
        return self.decoder[1:-1](self.decoder[0](code, switches))

    def output_shape(self, in_shape: Shape) -> Shape:
        need_division(self.patch, tuple(in_shape[1:]))
        return (self.width, in_shape[1] // self.patch, in_shape[2] // self.patch)
