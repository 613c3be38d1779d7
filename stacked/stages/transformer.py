"""Transformer stages: patches become tokens, with self-attention between them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import CONVOLUTIONS, Conv1d, Conv2d, Conv3d
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


def positions(sizes: Shape, features: int, like: Tensor) -> Tensor:
    """Return sinusoidal encodings of the place of each token of a map [tokens, features], with dtype and device of `like`.

    sizes: those of the map, such as (H, W). Each spatial dimension has an equal number of features, in frequencies from 1 down
    towards 1/10000 (Vaswani et al. 2017, in two dimensions as in He et al. 2022); features that are left over are 0. They have no
    parameters and work for any size.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)  # half precision is too coarse for angles
    count = features // (2 * len(sizes))
    frequencies = 10000.0 ** (-torch.arange(count, dtype=dtype, device=like.device) / count)
    waves = []
    for axis, n in enumerate(sizes):
        angles = torch.arange(n, dtype=dtype, device=like.device)[:, None] * frequencies
        wave = torch.cat([angles.sin(), angles.cos()], dim=1)
        along = [n if k == axis else 1 for k in range(len(sizes))]
        waves.append(wave.view(*along, -1).expand(*sizes, -1))
    found = torch.cat(waves, dim=-1).flatten(0, -2)
    return F.pad(found, (0, features - found.shape[1])).to(like.dtype)


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
    """Transformer blocks on a map [B, width, ...], whose positions are the tokens, with position encodings added.

    The output of the pre-norm blocks is normalised once at the end (Dosovitskiy et al. 2021, equation 4). residual: whether there
    are blocks alone, without position encodings and this norm.
    """

    def __init__(self, width: int, heads: int, blocks: int, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        last = [] if residual else [nn.LayerNorm(width)]
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)), *last)

    def forward(self, maps: Tensor, hidden: Hidden | None = None) -> Tensor:
        """Return a map of the same shape; hidden positions take no part, and are 0 in it."""
        features, *sizes = maps.shape[1:]
        tokens = maps.flatten(2).transpose(1, 2)
        if not self.residual:
            tokens = tokens + positions(tuple(sizes), features, maps)
        if hidden is None or hidden.visible == tokens.shape[1]:
            return self.blocks(tokens).transpose(1, 2).unflatten(2, sizes)
        # the visible tokens first, in their order; every example has the same number, so that shapes do not depend on values
        shown = hidden.blocks.flatten(1).to(torch.uint8).argsort(dim=1, stable=True)[:, : hidden.visible]
        example = torch.arange(len(tokens), device=tokens.device)[:, None]
        seen = self.blocks(tokens[example, shown])
        all_of = torch.zeros_like(tokens, dtype=seen.dtype).index_put((example, shown), seen)
        return all_of.transpose(1, 2).unflatten(2, sizes)


class Patches(nn.Module):
    """A linear map from each patch to a vector; a size that the patch does not divide is refused instead of cut.

    Vectors [B, D] are read as signals of one channel.
    """

    kernel_size: Any

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None] if x.dim() == 2 else x
        need_division(self.kernel_size[0], tuple(x.shape[2:]))
        found: Tensor = super().forward(x)
        return found


class Patches1d(Patches, Conv1d):
    """Patches of signals [B, C, L]."""


class Patches2d(Patches, Conv2d):
    """Patches of maps [B, C, H, W]."""


class Patches3d(Patches, Conv3d):
    """Patches of volumes [B, C, D, H, W]."""


#: by the number of spatial dimensions
PATCHES: dict[int, Any] = {1: Patches1d, 2: Patches2d, 3: Patches3d}


class MaskToken(nn.Module):
    """Puts one learned vector in the place of each hidden position of a code [B, width, ...] (He et al. 2022, section 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(width).normal_(std=0.02))

    def forward(self, code: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the code with the vector where `hidden` [B, 1, ...] is True (None: nowhere)."""
        if hidden is None:
            # so that the vector is part of every result, and has a gradient, if only of zeros
            hidden = code.new_zeros((1,) * code.dim(), dtype=torch.bool)
        return torch.where(hidden, self.token.to(code.dtype).view(-1, *(1,) * (code.dim() - 2)), code)


def sides_of(in_shape: Shape) -> Shape:
    """Return the sizes that patches divide: those of a map [C, ...], or the length of a vector [D]."""
    return in_shape[1:] or in_shape


class Transformer(Stage):
    """Patches - transformer blocks - activation, and back: blocks, then a linear map from each token to its patch.

    [B, C, H, W] -> [B, width, H/patch, W/patch]. On pixels this is a patch embedding (Dosovitskiy et al. 2021), on the code
    of a lower stage a merging of neighbouring tokens (Liu et al. 2021, without their windows). Signals [B, C, L] and volumes
    [B, C, D, H, W] are read alike, and vectors [B, D], such as rows of a table, as signals of one channel. The decoder has its
    own blocks and adds positions to the code again (He et al. 2022). `patch` must divide the sizes of what is read; `heads` and
    4 (for the positions) must divide `width`, which is at least 8 for volumes. Encoder and decoder have `blocks` blocks each.
    The only norm is the layer norm of each token's features, in the blocks and after them.

    With `visible_only` the blocks of the encoder take only the patches that the corruption "patch-masking" leaves visible, and
    a learned vector stands for each hidden one in the decoder (He et al. 2022, masked autoencoders). The code of a hidden patch
    is 0. An input that is not corrupted, as in evaluation, is encoded whole. Sides of patches and of masked blocks are equal.

    Of a stage with `patch` 1 each position is a token. Such a stage with `visible_only`, above another one, leaves out the tokens
    that the one below left out (Luo et al. 2023, block-wise masked image modelling); larger patches merge them, with the 0 of
    hidden ones. A decoder that reads the output of the one above has vectors for hidden patches already and adds none.

    With `residual` encoder and decoder are blocks alone, which add to the tokens that a stage below has embedded, as the layers
    of a deeper transformer do: [B, width, H, W] -> [B, width, H, W], without patches, positions and the norm after the blocks.
    It takes `patch` 1, and maps of `width` channels.
    """

    kind = "transformer"
    norms = ("layer",)
    leaves_out = "visible_only"
    ranks = (0, 1, 2, 3)

    def __init__(
        self,
        settings: StageSettings,
        *,
        patch: int = 2,
        heads: int = 4,
        blocks: int = 1,
        visible_only: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__(settings, patch=patch, heads=heads, blocks=blocks, residual=residual)
        sides = sides_of(tuple(settings.in_shape))
        need_division(patch, sides)
        need(
            settings.width >= 2 * len(sides),
            f"width {settings.width} of a {self.kind} stage has too few features for places along {len(sides)} dimensions: give "
            "8 or more",
        )
        self.patch, self.visible_only, self.follows = patch, visible_only, visible_only and patch == 1
        is_vector = len(settings.in_shape) == 1
        channels, rank = 1 if is_vector else settings.in_shape[0], len(sides)
        self.check_channels(channels, settings.width, residual=residual)
        self.encoder = nn.Sequential(
            nn.Identity() if residual else PATCHES[rank](channels, settings.width, patch, stride=patch),
            Blocks(settings.width, heads, blocks, residual),
            ACTIVATIONS[settings.activation](),
        )
        self.decoder = nn.Sequential(
            *([MaskToken(settings.width)] if visible_only else []),
            Blocks(settings.width, heads, blocks, residual),
            *([] if residual else [CONVOLUTIONS[rank][1](settings.width, channels, patch, stride=patch)]),
            *([nn.Flatten()] if is_vector else []),
            ACTIVATIONS[settings.output](),
        )

    @classmethod
    def check(
        cls, width: int, *, patch: int = 2, heads: int = 4, blocks: int = 1, residual: bool = False, **options: Any
    ) -> None:
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
        need(
            not residual or patch == 1,
            f"patch {patch} of a residual {cls.kind} stage is not allowed, because it reads tokens: give patch 1, or leave "
            "residual out",
        )

    @classmethod
    def check_channels(cls, channels: int, width: int, *, residual: bool = False, **options: Any) -> None:
        need(
            not residual or channels == width,
            f"a residual {cls.kind} stage of width {width} cannot add the {channels:,} channels that it reads to its code: give "
            f"it width {channels}, or leave residual out",
        )

    @classmethod
    def adds_input(cls, *, residual: bool = False, **options: Any) -> bool:
        return residual

    def branch_ends(self) -> list[nn.Module]:
        blocks = (module for module in self.modules() if isinstance(module, Block))
        return [end for block in blocks for end in (block.mixed, block.perceptron[-1])]

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
        sides = sides_of(tuple(in_shape))
        need_division(self.patch, sides)
        return (self.width, *(n // self.patch for n in sides))
