"""The baseline of the benchmark: greedy training in plain PyTorch, written as in its tutorials."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from studies.benchmark.workloads.works import Work


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
    """Return encoders and decoders for 28 x 28 pixels with strides of 2, batch norm, ReLU and a sigmoid output."""
    channels, side = (1, *work.widths), 28
    encoders: list[nn.Module] = []
    decoders: list[nn.Module] = []
    for k, (a, b) in enumerate(itertools.pairwise(channels)):
        up = nn.ConvTranspose2d(b, a, 3, 2, 1, output_padding=1 - side % 2)
        encoders.append(nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()))
        decoders.append(nn.Sequential(up, *([nn.BatchNorm2d(a), nn.ReLU()] if k else [nn.Sigmoid()])))
        side = (side + 1) // 2
    return encoders, decoders


KINDS = {"dense": dense, "conv": conv}


def batches(images: Tensor, work: Work) -> Iterator[Tensor]:
    """Yield shuffled batches of all images for all epochs."""
    for _ in range(work.epochs):
        for (batch,) in DataLoader(TensorDataset(images), batch_size=work.batch, shuffle=True):
            yield batch


def masked(x: Tensor, work: Work) -> Tensor:
    """Mask `x` by dropout without its rescaling."""
    return F.dropout(x, work.masking) * (1 - work.masking)


def train(work: Work, seed: int, images: Tensor) -> nn.Module:
    """Train stage by stage, recomputing frozen stages for every batch, then end to end; return the model in eval mode."""
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
