"""The baselines of the benchmark: greedy training in plain PyTorch, with a DataLoader as in its tutorials, or without one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from studies.benchmark.workloads.works import Work

#: torch's modules by the number of spatial dimensions: convolution, its transpose, batch norm
MODULES: dict[int, tuple[Any, Any, Any]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d),
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d),
}


def dense(work: Work) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return encoders and decoders for 784 pixels with ReLU, a linear bottleneck and a sigmoid output."""
    widths = (784, *work.widths)
    pairs = list(itertools.pairwise(widths))
    last = len(pairs) - 1
    encoders = [
        nn.Sequential(nn.Linear(a, b), nn.Identity() if k == last else nn.ReLU()) for k, (a, b) in enumerate(pairs)
    ]
    decoders = [nn.Sequential(nn.Linear(b, a), nn.ReLU() if k else nn.Sigmoid()) for k, (a, b) in enumerate(pairs)]
    return [nn.Sequential(nn.Flatten(), encoders[0]), *encoders[1:]], list(decoders)


def conv(work: Work) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return encoders and decoders with strides of 2, batch norm, ReLU and a sigmoid output."""
    channels, (_, *sides) = (1, *work.widths), work.shape
    conv_of, back_of, norm_of = MODULES[len(sides)]
    encoders: list[nn.Module] = []
    decoders: list[nn.Module] = []
    for k, (a, b) in enumerate(itertools.pairwise(channels)):
        up = back_of(b, a, 3, 2, 1, output_padding=tuple(1 - side % 2 for side in sides))
        encoders.append(nn.Sequential(conv_of(a, b, 3, 2, 1), norm_of(b), nn.ReLU()))
        decoders.append(nn.Sequential(up, *([norm_of(a), nn.ReLU()] if k else [nn.Sigmoid()])))
        sides = [(side + 1) // 2 for side in sides]
    return encoders, decoders


KINDS = {"dense": dense, "conv": conv}
Batches = Callable[[Tensor, Work], Iterator[Tensor]]


def loaded(images: Tensor, work: Work) -> Iterator[Tensor]:
    """Yield shuffled batches of all images for all epochs, by a DataLoader."""
    for _ in range(work.epochs):
        for (batch,) in DataLoader(TensorDataset(images), batch_size=work.batch, shuffle=True):
            yield batch


def indexed(images: Tensor, work: Work) -> Iterator[Tensor]:
    """Yield shuffled batches of all images for all epochs, by indexing, which costs less than a DataLoader."""
    for _ in range(work.epochs):
        for index in torch.randperm(len(images)).split(work.batch):
            yield images[index]


def masked(x: Tensor, work: Work) -> Tensor:
    """Mask `x` by dropout without its rescaling."""
    return F.dropout(x, work.masking) * (1 - work.masking)


def train(work: Work, seed: int, images: Tensor, batches: Batches = loaded) -> nn.Module:
    """Train stage by stage, recomputing frozen stages for every batch, then end to end; return the model in eval mode.

    batches: function from images and a workload to the batches, `loaded` or `indexed`.
    """
    torch.manual_seed(seed)
    encoders, decoders = KINDS[work.kind](work)
    for k, (encoder, decoder) in enumerate(zip(encoders, decoders, strict=True)):
        optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=work.lr)
        for batch in batches(images, work):
            with torch.no_grad():
                for below in encoders[:k]:
                    batch = below(batch)
            target = batch.flatten(1) if work.kind == "dense" else batch
            loss = F.mse_loss(decoder(encoder(masked(batch, work))), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        encoder.eval()
    whole = nn.Sequential(*encoders, *decoders[::-1]).train()
    optimiser = torch.optim.Adam(whole.parameters(), lr=work.lr)
    for batch in batches(images, work):
        loss = F.mse_loss(whole(masked(batch, work)).view_as(batch), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return whole.eval()
