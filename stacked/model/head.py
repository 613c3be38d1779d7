"""Heads on the code of an encoder, and an encoder with a head: the base class of classifiers and regressors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stacked.model.stack import StackedAutoencoder
from stacked.spec.classification import HEADS
from stacked.stages.stage import Shape
from stacked.util.checks import choice, need


def build_head(values: int, outputs: int, kind: str = "linear", width: int = 0) -> nn.Module:
    """Return a head on so many values: a linear layer ("linear"), or a layer of `width` ReLU units and a linear one ("mlp")."""
    choice(kind, HEADS, "head")
    if kind == "linear":
        return nn.Linear(values, outputs)
    return nn.Sequential(nn.Linear(values, width), nn.ReLU(), nn.Linear(width, outputs))


class EncoderWithHead(nn.Module):
    """A stack's encoder with a head on the flattened bottleneck: inputs [N, ...], floats, to outputs [N, outputs].

    It shares the encoder's modules with the stack. head: "linear" or "mlp", with `width` hidden units; its initial weights are
    drawn from torch's global generator.
    """

    #: for error messages: what cannot be done with other images, and the method that takes images of other types ("": none)
    cannot, method = "cannot be predicted from", ""

    def __init__(self, stack: StackedAutoencoder, outputs: int, head: str = "linear", width: int = 0) -> None:
        super().__init__()
        self.head_kind, self.head_width = head, width
        self.widest = stack.widest(stack.input_shape)
        self.encoder = stack.encoder
        self.head = build_head(torch.Size(stack.latent_shape).numel(), outputs, head, width)

    @property
    def input_shape(self) -> Shape:
        """The shape of an input, without the batch."""
        return self.encoder.input_shape

    def forward(self, images: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self.encoder.check_call(images, self.cannot, self.method)
            # the encoder may read images of other sizes, which the head does not
            wanted, found = list(self.input_shape), list(images.shape[1:])
            need(wanted == found, f"images of shape {found} {self.cannot}: give images of shape {wanted}")
        return self.head(self.encoder(images).flatten(1))
