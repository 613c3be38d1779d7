"""The dense workloads trained with JAX: one jit-compiled `lax.scan` over the batches of an epoch.

Weights begin as those of the hand-written loop, and masking, Adam and the order of training are the same; the random numbers are
JAX's own ("rbg", which is faster on a CPU than its default).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from studies.benchmark.workloads.loops import dense
from studies.benchmark.workloads.works import Work

#: torch's defaults of Adam
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
#: [(weight [in, out], bias [out])] of linear layers
Layers = list[tuple[Any, Any]]


def train(work: Work, seed: int, images: Tensor) -> nn.Module:
    """Train stage by stage, then end to end; return the model as a torch module in eval mode.

    Codes of frozen stages are computed once for each stage, not once for each batch.
    """
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # one thread, as the others have
    import jax
    from jax import numpy as jnp

    torch.manual_seed(seed)
    encoders, decoders = dense(work)
    found = [[linear(module) for module in modules] for modules in (encoders, decoders)]
    weights: list[Layers] = [[(jnp.asarray(w), jnp.asarray(b)) for w, b in layers] for layers in found]
    key = jax.random.key(seed, impl="rbg")
    last, codes = len(encoders) - 1, jnp.asarray(images.flatten(1).numpy())
    pixels = codes
    for k in range(len(encoders)):
        outputs: tuple[str, ...] = ("linear" if k == last else "relu", "relu" if k else "sigmoid")
        pair = [weights[0][k], weights[1][k]]
        pair, key = fitted(work, pair, codes, key, outputs)
        weights[0][k], weights[1][k] = pair
        codes = compiled_encoder(outputs[:1])([pair[0]], codes)
    whole = [*weights[0], *weights[1][::-1]]
    outputs = (*("relu",) * last, "linear", *("relu",) * last, "sigmoid")
    whole, _ = fitted(work, whole, pixels, key, outputs)
    model = nn.Sequential(*encoders, *decoders[::-1])
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for module, (weight, bias) in zip(linears, whole, strict=True):
            module.weight.copy_(torch.from_numpy(np.array(weight).T))
            module.bias.copy_(torch.from_numpy(np.array(bias)))
    return model.eval()


def linear(module: nn.Module) -> tuple[Any, Any]:
    """Return the weight [in, out] and the bias [out] of the only linear layer in a module, as NumPy arrays."""
    (layer,) = (each for each in module.modules() if isinstance(each, nn.Linear))
    return layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy()


def forward(layers: Layers, x: Any, outputs: tuple[str, ...]) -> Any:
    """Return the output of linear layers with these activations for inputs x [B, in]."""
    import jax

    activations = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "linear": lambda x: x}
    for (weight, bias), output in zip(layers, outputs, strict=True):
        x = activations[output](x @ weight + bias)
    return x


def fitted(work: Work, layers: Layers, x: Any, key: Any, outputs: tuple[str, ...]) -> tuple[Layers, Any]:
    """Return layers trained to reconstruct inputs x [N, D] from masked ones for all epochs, and the next random key."""
    import jax
    from jax import numpy as jnp

    zeros = jax.tree.map(jnp.zeros_like, layers)
    state = layers, zeros, zeros, jnp.float32(0)
    epoch = compiled_epoch(work.batch, work.masking, work.lr, outputs)
    for _ in range(work.epochs):
        key, of_epoch = jax.random.split(key)
        state = epoch(state, x, of_epoch)
    return jax.block_until_ready(state[0]), key


@cache
def compiled_epoch(batch: int, masking: float, lr: float, outputs: tuple[str, ...]) -> Callable[..., Any]:
    """Return `run_epoch` with these settings, compiled once for each shape of its inputs."""
    import jax

    compiled: Callable[..., Any] = jax.jit(partial(run_epoch, batch=batch, masking=masking, lr=lr, outputs=outputs))
    return compiled


@cache
def compiled_encoder(outputs: tuple[str, ...]) -> Callable[..., Any]:
    """Return `forward` with these activations, compiled."""
    import jax

    compiled: Callable[..., Any] = jax.jit(partial(forward, outputs=outputs))
    return compiled


def run_epoch(state: Any, x: Any, key: Any, *, batch: int, masking: float, lr: float, outputs: tuple[str, ...]) -> Any:
    """Return the state after an epoch over x [N, D], whose last batch is smaller: layers, Adam's two means, number of updates."""
    import jax

    of_order, of_full, of_rest = jax.random.split(key, 3)
    update = partial(updated, masking=masking, lr=lr, outputs=outputs)
    order = jax.random.permutation(of_order, len(x))
    full = len(x) // batch
    batches = x[order[: full * batch]].reshape(full, batch, -1)
    state, _ = jax.lax.scan(
        lambda state, given: (update(state, *given), None), state, (batches, jax.random.split(of_full, full))
    )
    return update(state, x[order[full * batch :]], of_rest) if len(x) % batch else state


def updated(state: Any, clean: Any, key: Any, *, masking: float, lr: float, outputs: tuple[str, ...]) -> Any:
    """Return the state after an update of Adam with a batch of clean inputs [B, D], which are masked."""
    import jax
    from jax import numpy as jnp

    layers, mean, square, count = state
    noisy = clean * jax.random.bernoulli(key, 1 - masking, clean.shape)

    def loss(layers: Layers) -> Any:
        return jnp.square(forward(layers, noisy, outputs) - clean).mean()

    gradient, count = jax.grad(loss)(layers), count + 1
    mean = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, mean, gradient)
    square = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, square, gradient)
    rate, scale = lr / (1 - BETA1**count), jnp.sqrt(1 - BETA2**count)
    layers = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / scale + EPSILON), layers, mean, square)
    return layers, mean, square, count
