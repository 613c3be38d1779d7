"""Initial weights by name, and weights redrawn from the trained ones.

Everything is drawn on the CPU, initial weights from torch's global generator, so that a seed gives the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from stacked.runtime.rng import generator
from stacked.stages.tied import TiedConvTranspose2d, TiedLinear
from stacked.util.checks import choice

WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
TIED = (TiedLinear, TiedConvTranspose2d)  # whose weight is that of a layer above
Layer = nn.Linear | nn.Conv2d | nn.ConvTranspose2d | TiedLinear | TiedConvTranspose2d


def _uniform(weight: Tensor) -> None:
    bound = weight[0].numel() ** -0.5
    nn.init.uniform_(weight, -bound, bound)


def _he(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


#: name -> what fills a weight [outputs, inputs, ...]; a unit's fan-in is the number of its weights, strides not counted
INITS: dict[str, Callable[[Tensor], object]] = {
    "torch": lambda weight: weight,  # as constructed, biases too
    "uniform": _uniform,  # within 1/sqrt(fan-in) of 0, the choice of the period (Erhan et al. 2010)
    "xavier": nn.init.xavier_uniform_,  # Glorot & Bengio 2010
    "he": _he,  # normal, with the fan-in and the gain of rectifiers (He et al. 2015)
    "orthogonal": nn.init.orthogonal_,  # Saxe et al. 2014
}


def initialise(module: nn.Module, name: str, gain: float = 1.0) -> None:
    """Draw all weights of linear layers and convolutions in `module` anew, in place, times `gain`, and zero their biases.

    "torch" leaves them as they were constructed, times `gain`, and draws nothing. Norms stay as they are.
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
    """Redraw each entry of each weight and bias from all entries of that tensor, with replacement, in place.

    What is left of trained weights is the marginal distribution of each tensor: it tells whether the range that
    pretraining gives the weights is all that helps (Erhan et al. 2010, their experiment on conditioning). A tensor that
    encoder and decoder share is redrawn once; norms keep their gains, and forget the statistics of the old weights' values.
    """
    shared_once = {id(p): p for layer in _layers(module) for p in layer.parameters(recurse=False)}
    draws = generator(seed, "resampling")
    with torch.no_grad():
        for parameter in shared_once.values():
            values = parameter.flatten()
            drawn = torch.randint(values.numel(), (values.numel(),), generator=draws)
            parameter.copy_(values[drawn.to(values.device)].view(parameter.shape))
    for norm in module.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norm.reset_running_stats()


def _layers(module: nn.Module) -> Iterator[Layer]:
    return (layer for layer in module.modules() if isinstance(layer, (*WEIGHTED, *TIED)))


def _outputs_first(layer: nn.Module, weight: Tensor) -> Tensor:
    """`weight` as [outputs, inputs, ...], and back: a transposed convolution holds [inputs, outputs, ...], of which torch
    would take the fan-in for the fan-out."""
    if not isinstance(layer, nn.ConvTranspose2d):
        return weight
    return weight.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1)
