"""The workloads trained with ClustPy's StackedAutoencoder, used as in its documentation."""

from __future__ import annotations

import contextlib
import os

import torch
from torch import Tensor, nn

from studies.benchmark.workloads.works import Work


def train(work: Work, seed: int, images: Tensor) -> nn.Module:
    """Train layer by layer, then end to end; return the model in eval mode.

    ClustPy reads vectors, and has one optimiser and one activation for all layers.
    """
    from clustpy.deep.neural_networks import StackedAutoencoder

    def corrupted(x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= work.masking)  # a copy, because the input is also the target

    model = StackedAutoencoder(
        [784, *work.widths],
        activation_fn=nn.ReLU,
        decoder_output_fn=nn.Sigmoid,
        random_state=seed,
    )
    with open(os.devnull, "w") as silence, contextlib.redirect_stderr(silence):
        model.fit(
            n_epochs=work.epochs,
            n_epochs_per_layer=work.epochs,
            optimizer_params={"lr": work.lr},
            batch_size=work.batch,
            data=images.flatten(1),
            corruption_fn=corrupted,
        )
    return nn.Sequential(nn.Flatten(), model).eval()
