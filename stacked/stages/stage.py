"""The contract of a stage: an encoder/decoder pair, one step of depth."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.norms import NORMS
from stacked.util.checks import choice, need, whole

if TYPE_CHECKING:
    from typing_extensions import Self

Shape = tuple[int, ...]

#: blocks of a stage: more are a slip of the hand, and would be built before anything else can be checked
MOST_BLOCKS = 1000


@dataclass(frozen=True)
class StageSettings:
    """What a stack tells each of its stages.

    in_shape: of what the stage reads, without the batch. width: channels or units of the code. norm: one of the kind's `norms`.
    activation: of the code. output: activation of the reconstruction, which must cover the range of what is read. pixels: True
    for the first stage, which reconstructs pixels and does not normalise them.
    """

    in_shape: Shape
    width: int
    norm: str
    activation: str = "relu"
    output: str = "relu"
    pixels: bool = False


class Stage(nn.Module):
    """One encoder/decoder pair, trained in place inside the stack it was grown into.

    A subclass sets `kind` (its name in specs) and, in its constructor, `encoder` and `decoder` (sequences of modules,
    so that a stack can show all its encoders as one; the decoder's last module is the output activation), and says in
    `output_shape` what code an input gives without running anything. Maps are reshaped to vectors inside a stage, never
    outside.

    Its constructor takes `StageSettings` and, by keyword, options of its own, each with a default. What options no input makes
    right is said in `check`, by which a spec is refused before anything is built. `of` makes a stage without a stack.
    """

    kind: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = ("none", *(name for name in NORMS if name != "none"))
    halves: ClassVar[bool] = False  # whether height and width of the code are half those of what is read, rounded up
    #: whether it reads and gives maps [C, H, W] alone, and no vectors
    maps: ClassVar[bool] = True
    encoder: nn.Sequential
    decoder: nn.Sequential
    in_shape: Shape
    width: int
    frozen: bool

    def __init__(self, settings: StageSettings, **options: Any) -> None:
        super().__init__()
        in_shape = settings.in_shape
        for name in (settings.activation, settings.output):
            choice(name, ACTIVATIONS, "activation")
        choice(settings.norm, self.norms, f"norm of a {self.kind} stage")
        self.check(settings.width, **options)
        need(
            not self.maps or (len(in_shape) == 3 and min(in_shape[1:]) >= 2),
            f"a {self.kind} stage cannot read {tuple(in_shape)}: it needs channels x height x width of at least 2 x 2 "
            "pixels; use fewer stages or larger images",
        )
        self.in_shape, self.width = tuple(in_shape), int(settings.width)
        self.activation, self.output = settings.activation, settings.output
        self.frozen = False
        self._held: list[RemovableHandle] = []

    @classmethod
    def of(
        cls,
        in_shape: Shape,
        width: int,
        *,
        norm: str | None = None,
        activation: str = "relu",
        output: str = "relu",
        pixels: bool = False,
        **options: Any,
    ) -> Self:
        """A stage that reads `in_shape`; arguments as of `StageSettings` (norm: None is the kind's first) and options."""
        return cls(StageSettings(in_shape, width, norm or cls.norms[0], activation, output, pixels), **options)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The options of this kind with their defaults."""
        return {name: p.default for name, p in list(inspect.signature(cls).parameters.items())[1:]}

    @classmethod
    def check(cls, width: int, **options: Any) -> None:
        """Raise InputError for a width or options that this kind cannot have, whatever it reads."""
        whole(width, f"width of a {cls.kind} stage")

    @property
    def code_shape(self) -> Shape:
        """Shape of the code, without the batch, for the input shape the stage was built for."""
        return self.output_shape(self.in_shape)

    def output_shape(self, in_shape: Shape) -> Shape:
        """Shape of the code of an input of `in_shape`, both without the batch, computed without a forward pass."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """The code [B, *code_shape] of x [B, *in_shape]."""
        return self.encoder(x)

    def encode_with_switches(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The code of x, and where in x its values came from if the decoder must be told (pooling switches)."""
        return self.encode(x), None

    def decode_linear(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        """The reconstruction before the output activation; arguments as of `decode`."""
        for module in self.decoder[:-1]:
            code = module(code)
        return code

    def decode(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        """The reconstruction of what was read.

        `size` is its (H, W) where that differs from what the stage was built for; `switches` is what `encode_with_switches` gave.
        """
        return self.decoder[-1](self.decode_linear(code, size, switches))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct x."""
        code, switches = self.encode_with_switches(x)
        return self.decode(code, tuple(x.shape[2:]), switches)

    def freeze(self, frozen: bool = True) -> Stage:
        """Freeze: no gradients, and eval mode, so that buffers stay as they are too, however `train` is called, and on what."""
        self.frozen = frozen
        self.requires_grad_(not frozen)
        for handle in self._held:
            handle.remove()
        # a mode is only a mark until a module computes: then it is set right, whoever has changed it, and how
        self._held = [module.register_forward_pre_hook(evaluate) for module in self.modules()] if frozen else []
        return self.train(not frozen)

    def train(self, mode: bool = True) -> Stage:
        """Set training mode, unless frozen."""
        super().train(mode and not self.frozen)
        return self


def evaluate(module: nn.Module, inputs: Any) -> None:
    """Put a module of a frozen stage into eval mode, as a hook before its forward pass."""
    module.training = False
