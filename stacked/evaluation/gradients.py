"""Norms of gradients by layer, which show whether a deep stack can be trained from its present weights."""

from __future__ import annotations

import torch
from torch import Tensor

from stacked.model.batch_norm import frozen_statistics
from stacked.model.stack import StackedAutoencoder
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.phase_loss import PhaseLoss

#: the update whose corruption and dropout are drawn, always the same, so that norms of a run differ by its weights alone
STEP = 0


def reaches_all_layers(phase: Phase, depth: int) -> bool:
    """Return whether a phase trains all of `depth` stages at once to reconstruct the examples."""
    whole = phase.trainable == (1, depth) and phase.input_depth == 0
    return whole and phase.target in ("input", "pixels") and phase.local_loss != "alone"


def gradient_norms(
    stack: StackedAutoencoder, phase: Phase, config: Optimisation, clean: Tensor, seed: int = 0
) -> dict[str, float]:
    """Return the Euclidean norms of the gradient of a phase's training loss, one for each encoder and decoder.

    The names are "grad_norm_encoder1", ..., "grad_norm_decoder1", ..., counted from the examples, as stages are. A norm is over
    all parameters of that half of the stage; a tied weight counts in the encoder, with both uses, and a half without
    parameters has none. The unit is that of the loss, per unit of the parameters (Glorot & Bengio 2010, figure 7, have the
    same by layer).

    clean: examples [B, ...] on the stack's device; the loss is their mean, as of one batch in training: in training mode, with
    penalties and with the corruption of update 0. phase: one that `reaches_all_layers`, for which the stack is prepared. The
    stack's parameters, gradients, buffers and mode do not change.
    """
    layers = {
        f"grad_norm_{half}{k}": parameters
        for half in ("encoder", "decoder")
        for k, stage in enumerate(stack.stages, start=1)
        if (parameters := list(getattr(stage, half).parameters()))
    }
    objective = PhaseLoss(stack, phase, config, seed=seed)
    mode = stack.training
    stack.train()
    try:
        with torch.enable_grad(), frozen_statistics(stack):
            loss = objective(clean, None, STEP)
            flat = [parameter for parameters in layers.values() for parameter in parameters]
            gradients = iter(torch.autograd.grad(loss, flat, materialize_grads=True))
    finally:
        stack.train(mode)
    return {
        name: torch.nn.utils.get_total_norm([next(gradients) for _ in parameters]).item()
        for name, parameters in layers.items()
    }
