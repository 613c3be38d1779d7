"""The interface of a stage: an encoder/decoder pair, one step of depth."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.norms import NORMS
from stacked.util.checks import choice, need, whole

if TYPE_CHECKING:
    from typing_extensions import Self

Shape = tuple[int, ...]

#: the most blocks of a stage: more are a typing mistake, and would be built before anything else could be checked
MOST_BLOCKS = 1000


@dataclass(frozen=True)
class StageSettings:
    """The settings that a stack gives to each of its stages.

    in_shape: shape of the input, without the batch. width: channels or units of the code. norm: one of the kind's `norms`.
    activation: of the code. output: activation of the reconstruction, whose range must cover that of the input. pixels: True
    for the first stage, which reconstructs pixels and does not normalise its output.
    """

    in_shape: Shape
    width: int
    norm: str
    activation: str = "relu"
    output: str = "relu"
    pixels: bool = False


class Hidden(NamedTuple):
    """The blocks of maps that a corruption hides, the same number in every example.

    blocks: bool [B, rows, columns], True where a block is hidden. visible: number of blocks of each example that are not.
    """

    blocks: Tensor
    visible: int


class Stage(nn.Module):
    """An encoder/decoder pair, trained in place inside the stack that it is part of.

    A subclass sets `kind` (its name in specs) and, in its constructor, `encoder` and `decoder` as `nn.Sequential`s; the last
    module of the decoder is the output activation. `output_shape` returns the shape of a code without running anything. Maps
    are reshaped to vectors inside a stage, never outside.

    The constructor takes `StageSettings` and options as keywords, each with a default. `check` refuses options that are invalid
    for every input, before anything is built. `of` makes a stage without a stack.
    """

    kind: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = ("none", *(name for name in NORMS if name != "none"))
    halves: bool = False  # whether the code has half the height and width of the input, rounded up
    any_size: ClassVar[bool] = False  # whether it reads maps of another size than it was built for
    #: whether input and code are maps [C, ...]; False: the code is a vector
    maps: ClassVar[bool] = True
    #: the option that lets a stage leave out the blocks that a corruption hides (None: it has no such option)
    leaves_out: ClassVar[str | None] = None
    #: whether this one does, and the code of what it leaves out is 0
    visible_only: bool = False
    #: whether it leaves out what the stage below left out, because each position of its code is one of its input
    follows: bool = False
    ranks: ClassVar[tuple[int, ...]] = (2,)  # the numbers of spatial dimensions of the maps that it reads (0: vectors)
    encoder: nn.Sequential
    decoder: nn.Sequential
    in_shape: Shape
    width: int
    frozen: bool
    #: the StackSpec that the stage was made from, and its number in it (from 1); None for a stage made by hand
    origin: tuple[Any, int] | None = None

    def __init__(self, settings: StageSettings, **options: Any) -> None:
        super().__init__()
        in_shape = settings.in_shape
        for name in (settings.activation, settings.output):
            choice(name, ACTIVATIONS, "activation")
        choice(settings.norm, self.norms, f"norm of a {self.kind} stage")
        self.check(settings.width, **options)
        rank, least = len(in_shape) - 1, 2 if self.halves_with(**options) or not self.any_size else 1
        spatial = " or ".join(str(n) for n in self.ranks if n)
        sides = (
            f"channels x height x width of at least {least} x {least} pixels"
            if rank == 2 or self.ranks == (2,)
            else f"{'a vector, or ' if 0 in self.ranks else ''}channels and {spatial} spatial dimensions of at least {least} "
            "values each"
        )
        need(
            not self.maps or (rank in self.ranks and min(in_shape[1:], default=least) >= least),
            f"a {self.kind} stage cannot read {tuple(in_shape)}: it needs {sides}; use "
            + ("fewer stages or larger images" if rank in self.ranks else "dense stages for these examples"),
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
        """Return a stage for inputs of `in_shape`; arguments as in `StageSettings` (norm None: `norms[0]`) and options."""
        return cls(StageSettings(in_shape, width, norm or cls.norms[0], activation, output, pixels), **options)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the options of this kind with their defaults."""
        return {name: p.default for name, p in list(inspect.signature(cls).parameters.items())[1:]}

    @classmethod
    def check(cls, width: int, **options: Any) -> None:
        """Raise InputError for a width or options that are invalid for this kind, whatever the input."""
        whole(width, f"width of a {cls.kind} stage")

    @classmethod
    def check_vector(cls, values: int, width: int, **options: Any) -> None:
        """Raise InputError for options that are invalid for a stage of this width that reads so many values."""

    @classmethod
    def check_channels(cls, channels: int, width: int, **options: Any) -> None:
        """Raise InputError for options that are invalid for a stage of this width that reads maps of so many channels."""

    @classmethod
    def adds_input(cls, **options: Any) -> bool:
        """Whether a stage with these options only adds residual branches to what it reads, in encoder and decoder."""
        return False

    def branch_ends(self) -> list[nn.Module]:
        """Return the last layer of each residual branch: while these give zeros, a stage that `adds_input` is the identity.

        It is so for values that its activations do not change.
        """
        return []

    @classmethod
    def halves_with(cls, **options: Any) -> bool:
        """Whether a stage with these options halves height and width; those that are not given have their defaults."""
        return cls.halves

    @property
    def code_shape(self) -> Shape:
        """The shape of the code, without the batch, for the input shape the stage was built for."""
        return self.output_shape(self.in_shape)

    def output_shape(self, in_shape: Shape) -> Shape:
        """Return the shape of the code for inputs of `in_shape`, both without the batch, without a forward pass."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """Return the code [B, *code_shape] of x [B, *in_shape]."""
        return self.encoder(x)

    def encode_with_switches(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the code of x, and the mask that the decoder needs to invert pooling (None where it needs none)."""
        return self.encode(x), None

    def encode_corrupted(self, x: Tensor, hidden: Hidden | None) -> tuple[Tensor, Tensor | None]:
        """Return the code of a corrupted x and the mask for the decoder, as `encode_with_switches`.

        hidden: the blocks that the corruption hid (None: it hid none, or not the same number in every example), or the
        positions that the stage below left out. Only stages that leave hidden blocks out need it.
        """
        return self.encode_with_switches(x)

    def decode_linear(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        """Return the reconstruction before the output activation; arguments as in `decode`."""
        for module in self.decoder[:-1]:
            code = module(code)
        return code

    def decode(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        """Return the reconstruction [B, *in_shape] of the input.

        size: the input's size, such as (H, W), if it differs from that the stage was built for. switches: the mask of
        `encode_with_switches`.
        """
        return self.decoder[-1](self.decode_linear(code, size, switches))

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of x."""
        code, switches = self.encode_with_switches(x)
        return self.decode(code, tuple(x.shape[2:]), switches)

    def freeze(self, frozen: bool = True) -> Stage:
        """Freeze the stage: no gradients, and eval mode whatever `train` is called on, so that buffers stay unchanged too."""
        self.frozen = frozen
        self.requires_grad_(not frozen)
        for handle in self._held:
            handle.remove()
        # modules read the mode only in a forward pass, so a hook before it corrects any change, whoever made it
        self._held = [module.register_forward_pre_hook(evaluate) for module in self.modules()] if frozen else []
        return self.train(not frozen)

    def train(self, mode: bool = True) -> Stage:
        """Set training mode, unless frozen."""
        super().train(mode and not self.frozen)
        return self


def evaluate(module: nn.Module, inputs: Any) -> None:
    """Forward pre-hook that puts a module of a frozen stage into eval mode."""
    module.training = False


def shapes(stages: Iterable[Stage], input_shape: Shape) -> list[Shape]:
    """Return the shape at each depth of a sequence of stages, from the input on, without the batch and without a forward pass."""
    return list(
        itertools.accumulate(stages, lambda shape, stage: stage.output_shape(shape), initial=tuple(input_shape))
    )
