"""Initial weights by name, and resampling of trained weights.

Everything is drawn on the CPU, initial weights from torch's global generator, so that a seed gives the same weights on every
device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from stacked.runtime.rng import generator
from stacked.stages.convolutions import CONVS, TRANSPOSED
from stacked.stages.stage import Stage
from stacked.stages.tied import TiedConvTranspose, TiedLinear
from stacked.util.checks import choice, need

WEIGHTED = (nn.Linear, *CONVS, *TRANSPOSED)
TIED = (TiedLinear, TiedConvTranspose)  # layers that use the weight of an encoder layer
#: the connections of a unit with sparse initial weights (Martens 2010, section 5; Sutskever et al. 2013, section 3.1)
CONNECTIONS = 15


def _uniform(weight: Tensor) -> None:
    bound = weight[0].numel() ** -0.5
    nn.init.uniform_(weight, -bound, bound)


def _he(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


def _sparse(weight: Tensor) -> None:
    inputs = weight.flatten(1)  # a view
    # the positions of the largest of independent numbers are a random subset, without repetition
    chosen = torch.rand_like(inputs).topk(min(CONNECTIONS, inputs.shape[1]), dim=1).indices
    inputs.zero_().scatter_(1, chosen, torch.randn(chosen.shape, dtype=weight.dtype))


#: name -> function that fills a weight [outputs, inputs, ...]; fan-in is the number of weights of a unit, ignoring strides
INITS: dict[str, Callable[[Tensor], object]] = {
    "torch": lambda weight: weight,  # torch's own initialisation, biases too
    "uniform": _uniform,  # uniform within 1/sqrt(fan-in) of 0 (Erhan et al. 2010)
    "xavier": nn.init.xavier_uniform_,  # Glorot & Bengio 2010
    "he": _he,  # normal, with the fan-in and the gain of rectifiers (He et al. 2015)
    "orthogonal": nn.init.orthogonal_,  # Saxe et al. 2014
    # N(0, 1) for 15 random inputs of each unit, or for all if it has fewer, and 0 for the others (Martens 2010)
    "sparse": _sparse,
}


def initialise(module: nn.Module, name: str, gain: float = 1.0) -> None:
    """Redraw all weights of linear layers and convolutions in `module` in place, times `gain`, and set their biases to 0.

    "torch" keeps the weights and biases as constructed, multiplies the weights by `gain` and draws nothing. Norms are
    unchanged.
    """
    choice(name, INITS, "init")
    with torch.no_grad():
        for layer in _layers(module):
            if name == "torch":
                if isinstance(layer, WEIGHTED) and gain != 1:
                    layer.weight.mul_(gain)
                continue
            if isinstance(layer, WEIGHTED):
                weight = torch.empty(_outputs_first(layer, layer.weight).shape, dtype=layer.weight.dtype, device="cpu")
                INITS[name](weight)
                layer.weight.copy_(_outputs_first(layer, weight * gain))
            if layer.bias is not None:
                layer.bias.zero_()


def resample(module: nn.Module, seed: int) -> None:
    """Replace each entry of each weight and bias by a random entry of the same tensor (with replacement), in place.

    This keeps only the marginal distribution of each tensor, and tests whether the scale of pretrained weights is all that
    helps (Erhan et al. 2010, experiment on conditioning). A tensor shared by encoder and decoder is redrawn once. Norms keep
    their gains, and their running statistics are reset.
    """
    shared_once = {id(p): p for layer in _layers(module) for p in layer.parameters(recurse=False)}
    draws = generator(seed, "resampling")
    with torch.no_grad():
        for parameter in shared_once.values():
            values = parameter.flatten()
            drawn = torch.randint(values.numel(), (values.numel(),), generator=draws)
            parameter.copy_(values[drawn.to(values.device)].view(parameter.shape))
    for norm in module.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            norm.reset_running_stats()


def copy_weights(stage: Stage, source: Stage) -> None:
    """Copy all weights and running statistics of `source` to `stage`, in place; InputError if their shapes differ."""
    ours, theirs = ({name: list(value.shape) for name, value in each.state_dict().items()} for each in (stage, source))
    differing = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    need(
        not differing,
        f"a {stage.kind} stage that reads {stage.in_shape} cannot begin as a copy of a {source.kind} stage that reads "
        f"{source.in_shape}: {', '.join(differing)} differ in shape; give both the same input and width, or use another policy",
    )
    stage.load_state_dict(source.state_dict())


def make_identity(stage: Stage) -> None:
    """Set the last layer of each residual branch of `stage` to zero, in place (Goyal et al. 2017, section 5.1).

    A stage that `adds_input` then returns what it reads, and its other weights stay as they were drawn.
    """
    with torch.no_grad():
        for layer in stage.branch_ends():
            for parameter in layer.parameters():
                parameter.zero_()


def _layers(module: nn.Module) -> Iterator[Any]:
    return (layer for layer in module.modules() if isinstance(layer, (*WEIGHTED, *TIED)))


def _outputs_first(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return `weight` as [outputs, inputs, ...], and convert back.

    A transposed convolution holds [inputs, outputs, ...], for which torch would confuse fan-in and fan-out.
    """
    if not isinstance(layer, TRANSPOSED):
        return weight
    return weight.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1)
