"""The stack: an ordinary module, grown stage by stage, equal to its plain equivalents bit for bit."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from stacked import AutoEncoder224, InputError, StackedAutoencoder, StackSpec
from stacked.model.stack import build, empty_stack
from stacked.stages.conv import Conv
from stacked.stages.dense import Dense
from stacked.stages.initialise import INITS


class Plain(nn.Module):
    """`AutoEncoder224` as tutorials write it; `channels` to test it small too."""

    def __init__(self, channels: tuple[int, ...] = (3, 32, 64, 128, 256, 512)) -> None:
        super().__init__()
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for a, b in pairwise(channels):
            encoder += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
        down = channels[::-1]
        for a, b in pairwise(down):
            decoder += [nn.ConvTranspose2d(a, b, 3, stride=2, padding=1, output_padding=1)]
            decoder += [nn.BatchNorm2d(b), nn.ReLU()]
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder[:-2], nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(x))


def test_the_reference_stack_has_the_stated_sizes() -> None:
    model = AutoEncoder224()
    assert isinstance(model, StackedAutoencoder)
    assert sum(p.numel() for p in model.parameters()) == 3_139_587
    assert model.latent_shape == (512, 7, 7)
    assert model.get_latent_shape(torch.empty(5, 3, 224, 224)) == torch.Size([5, 512, 7, 7])
    assert model.get_latent_shape(torch.empty(1, 3, 97, 131)) == torch.Size([1, 512, 4, 5])


@pytest.mark.parametrize("training", [True, False])
def test_a_plain_state_dict_loads_strictly_to_bitwise_equal_outputs(training: bool) -> None:
    plain = Plain()
    for p in plain.parameters():  # not the initial values, so that a swapped tensor would show
        nn.init.normal_(p, std=0.05)
    assert "encoder.0.weight" in plain.state_dict()
    assert "decoder.12.bias" in plain.state_dict()
    model = AutoEncoder224()
    model.load_state_dict(plain.state_dict(), strict=True)
    x = torch.rand(2, 3, 224, 224)
    plain.train(training)
    model.train(training)
    assert torch.equal(model(x), plain(x))
    code = model.encoder(x)
    assert torch.equal(code, plain.encoder(x))
    assert torch.equal(model.decoder(code), plain.decoder(code))
    assert torch.equal(model.decode(code), plain.decoder(code))
    assert code.shape == model.get_latent_shape(x)


def test_a_plain_state_dict_with_a_wrong_key_is_refused() -> None:
    state = Plain((3, 4, 8)).state_dict()
    model = build(StackSpec.of("conv", 4, 8), (3, 8, 8))
    model.load_state_dict(state)
    state["encoder.9.weight"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r"encoder\.9\.weight"):
        model.load_state_dict(state)


def test_trains_like_the_plain_module() -> None:
    """Not to the bit: the gradients of biases are sums in another order (see `convolutions`)."""
    plain, model = Plain((3, 4, 8)), build(StackSpec.of("conv", 4, 8), (3, 16, 16))
    model.load_state_dict(plain.state_dict())
    x = torch.rand(8, 3, 16, 16)
    for module in (plain, model):
        # not Adam, which makes a step of the rounding that is a bias's gradient below a batch norm
        optimiser = torch.optim.SGD(module.parameters(), lr=1.0)
        for _ in range(5):
            optimiser.zero_grad()
            (module(x) - x).square().mean().backward()
            optimiser.step()
    torch.testing.assert_close(plain(x), model(x), rtol=0, atol=1e-6)
    plain_again = Plain((3, 4, 8))
    plain_again.encoder.load_state_dict(model.encoder.state_dict())
    plain_again.decoder.load_state_dict(model.decoder.state_dict())
    assert torch.equal(plain_again.eval()(x), model.eval()(x))


@pytest.mark.parametrize("size", [(28, 28), (97, 131), (33, 32)])
def test_any_size_is_restored_exactly(size: tuple[int, int]) -> None:
    built = build(StackSpec.of("conv", 2, 3, 4), (1, *size))
    x = torch.rand(2, 1, *size)
    assert built(x).shape == x.shape
    assert built.decode(built.encode(x)).shape == x.shape
    other = build(StackSpec.of("conv", 2, 3, 4), (1, 64, 64))
    assert other(x).shape == x.shape  # and images of another size than the stack was built for
    assert other.decode(other.encode(x), size=size).shape == x.shape


def test_depths_compose() -> None:
    model = build(StackSpec.of("conv", 2, 3, 4), (1, 28, 28)).eval()
    x = torch.rand(2, 1, 28, 28)
    code = model.encode(x, 1)
    assert [tuple(shape) for shape in model.shapes((1, 28, 28))] == [(1, 28, 28), (2, 14, 14), (3, 7, 7), (4, 4, 4)]
    assert torch.equal(model.encode(code, 3, start=1), model.encode(x))
    assert torch.equal(model.decode(model.decode(model.encode(x), stop=2), 2), model.decode(model.encode(x)))
    assert torch.equal(model.reconstruct(x), model(x))
    assert torch.equal(model.encode(x, 0), x)
    with pytest.raises(InputError, match="depth 4 is not in this stack: give 0 to 3"):
        model.encode(x, 4)


def test_dense_on_conv_and_what_does_not_fit() -> None:
    model = StackedAutoencoder((1, 8, 8), [Conv.of((1, 8, 8), 4, output="sigmoid", pixels=True)])
    model.grow(Dense.of(model.latent_shape, 10))
    x = torch.rand(3, 1, 8, 8)
    assert model.encode(x).shape == (3, 10)
    assert model(x).shape == x.shape
    assert torch.equal(model.decoder(model.encoder(x)), model(x))
    with pytest.raises(InputError, match="does not fit codes of shape"):
        model.grow(Dense.of((11,), 4))


def test_frozen_stages_do_not_change_by_a_bit_while_the_rest_trains() -> None:
    model = build(StackSpec.of("conv", 4, 6), (1, 12, 12))
    model.freeze(1)
    before = copy.deepcopy(model.stages[0].state_dict())
    optimiser = torch.optim.AdamW((p for p in model.parameters()), lr=0.1, weight_decay=0.5)
    model.train()
    model.encoder.train()
    model.decoder.train()
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.rand(8, 1, 12, 12)).mean().backward()
        optimiser.step()
    assert all(torch.equal(before[name], value) for name, value in model.stages[0].state_dict().items())
    assert model.stages[1].training
    model.freeze(0)
    assert all(p.requires_grad for p in model.parameters())


def of_every_module(stack: StackedAutoencoder) -> None:
    for module in stack.modules():
        module.train()


def by_the_mark(stack: StackedAutoencoder) -> None:
    for module in stack.modules():
        module.training = True


WAYS: dict[str, Callable[[StackedAutoencoder], object]] = {
    "the stack": lambda stack: stack.train(),
    "a stage": lambda stack: stack.stages[0].train(),
    "its encoder": lambda stack: stack.stages[0].encoder.train(),
    "its decoder": lambda stack: stack.stages[0].decoder.train(),
    "all encoders": lambda stack: stack.encoder.train(),
    "all decoders": lambda stack: stack.decoder.train(),
    "children": lambda stack: [stage.train() for stage in stack.stages.children()],  # type: ignore[attr-defined]
    "every module": of_every_module,
    "apply": lambda stack: stack.apply(lambda module: module.train()),
    "the mark": by_the_mark,
}
COPIES: dict[str, Callable[[StackedAutoencoder], StackedAutoencoder]] = {
    "itself": lambda stack: stack,
    "a copy": copy.deepcopy,
    "read from a file": lambda stack: written_and_read(stack),
}


def written_and_read(stack: StackedAutoencoder) -> StackedAutoencoder:
    content = io.BytesIO()
    torch.save(stack, content)
    content.seek(0)
    found = torch.load(content, weights_only=False)
    assert isinstance(found, StackedAutoencoder)
    return found


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["conv", "residual", "dense"])
def test_frozen_holds_for_every_way_of_calling_train(kind: str, way: str, copied: str) -> None:
    model = build(StackSpec.of(kind, 4, 6, norm="batch"), (1, 12, 12)).freeze(1)
    model = COPIES[copied](model)
    x, frozen = torch.rand(8, 1, 12, 12), model.stages[0]
    before = copy.deepcopy(frozen.state_dict())
    code = frozen.encode(x)
    WAYS[way](model)
    assert torch.equal(frozen.encode(x), code)
    model(x).mean().backward()
    frozen(x)
    frozen.encoder(x)
    model.decoder(model.encoder(x))
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())
    assert all(p.grad is None for p in frozen.parameters())

    model.freeze(0).train()
    model(x)
    assert all(module.training for module in model.modules())
    assert any(not torch.equal(before[name], value) for name, value in frozen.state_dict().items())


@pytest.mark.parametrize("way", WAYS)
def test_frozen_holds_in_what_is_compiled_or_exported(way: str) -> None:
    model = build(StackSpec.of("conv", 4, 6), (1, 12, 12)).freeze(1).train()
    x = torch.rand(8, 1, 12, 12)
    before = copy.deepcopy(model.stages[0].state_dict())
    exported = torch.export.export(copy.deepcopy(model).freeze(), (x,)).module()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), copy.deepcopy(model)(x))
    WAYS[way](model)
    compiled(x).mean().backward()
    assert all(torch.equal(before[name], value) for name, value in model.stages[0].state_dict().items())
    assert exported(x).shape == x.shape


def test_is_an_ordinary_module() -> None:
    model = build(StackSpec.of("conv", 4, 6), (1, 12, 10)).eval()
    x = torch.rand(2, 1, 12, 10)
    other = build(StackSpec.of("conv", 4, 6), (1, 12, 10)).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    assert model.to(torch.float64)(x.double()).dtype == torch.float64
    model.to(torch.float32)
    exported = torch.export.export(model, (x,))
    torch.testing.assert_close(exported.module()(x), model(x))
    encoder = torch.export.export(model.encoder, (x,))
    torch.testing.assert_close(encoder.module()(x), model.encode(x))


def test_images_too_small_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"signals of 5 values are too small for 3 conv stages.* 8: .*or larger signals"
    ):
        build(StackSpec.of("conv", 2, 2, 2), (1, 5))
    with pytest.raises(InputError, match=r"images of 28 x 28 pixels are too small for 5 conv stages.* 32 x 32"):
        build(StackSpec.of("conv", 1, 2, 3, 4, 5), (1, 28, 28))


@pytest.mark.parametrize("init", sorted(INITS))
def test_an_empty_stack_has_the_shapes_of_a_stack_and_draws_nothing(init: str) -> None:
    spec = replace(StackSpec.of("dense", 20, 10), init=init, gain=2.0)
    shapes = {name: value.shape for name, value in build(spec, (1, 8, 8)).state_dict().items()}
    before = torch.get_rng_state()
    empty = empty_stack(spec, (1, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)  # a draw would take memory, as much as the weights
    assert {name: value.shape for name, value in empty.state_dict().items()} == shapes
    assert all(value.is_meta for value in empty.state_dict().values())
