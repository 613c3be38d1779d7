"""Stages over 1, 2 and 3 spatial dimensions, against torch's modules, bit for bit, and in stacks of signals and volumes."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked import Budget, Optimisation, RunSpec, StackedAutoencoder, StackSpec
from stacked.components.corruption import corrupt
from stacked.cost.forecast import estimate_cost
from stacked.cost.roofline import H100
from stacked.model.batch_norm import norms
from stacked.model.stack import build, empty_stack, grow
from stacked.spec import StageSpec
from stacked.spec.growth import Phase
from stacked.stages import Stage, kinds
from stacked.stages.convolutions import CONVOLUTIONS
from stacked.stages.initialise import INITS, initialise
from stacked.stages.norms import NORMS
from stacked.stages.transformer import Transformer, positions
from stacked.training.codes import StoredInputs
from stacked.training.phase_loss import PhaseLoss
from stacked.training.pretrain import pretrain
from stacked.util.errors import InputError
from tests.helpers.runs import same_weights

#: torch's modules by the number of spatial dimensions: convolution, its transpose, batch norm, pooling, unpooling
TORCH: dict[int, tuple[Any, Any, Any, Any, Any]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.MaxPool1d, F.max_unpool1d),
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.MaxPool2d, F.max_unpool2d),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.MaxPool3d, F.max_unpool3d),
}
#: shapes of each rank, with even and odd sizes, and the least
SHAPES = [(3, 8), (2, 7), (2, 2), (3, 8, 6), (2, 7, 5), (1, 2, 3), (2, 4, 6, 8), (3, 5, 4, 7), (1, 2, 3, 2)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
#: what stages of each kind read
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("conv", {}),
    ("conv", {"tied": True, "kernel": 5}),
    ("conv", {"bias": False, "norm": "none"}),
    ("conv", {"stride": 1}),
    ("conv", {"stride": 1, "tied": True, "norm": "none", "bias": False}),
    ("conv-pool", {}),
    ("conv-pool", {"unpool": "switches", "tied": True, "norm": "none"}),
    ("conv-pool", {"unpool": "zeros", "norm": "group"}),
    ("conv-pool", {"bias": False, "norm": "layer"}),
    ("dense", {}),
    ("dense", {"tied": True, "norm": "batch"}),
]
every_variant = pytest.mark.parametrize(
    "case", VARIANTS, ids=lambda case: "-".join(map(str, (case[0], *case[1].items())))
)


def torchs(stage: Stage, kind: str, **options: Any) -> tuple[nn.Sequential, nn.Sequential]:
    """An encoder and a decoder of torch's own modules with the weights of the stage, without unpooling."""
    shape, width, pools = stage.in_shape, stage.width, kind == "conv-pool"
    conv, back, norm, pool, _ = TORCH[len(shape) - 1]
    kernel, bias, stride = options.get("kernel", 3), options.get("bias", True), 1 if pools else options.get("stride", 2)
    extra = tuple(1 - n % 2 for n in shape[1:]) if stride == 2 else 0
    normed = options.get("norm", "batch") == "batch"
    first = conv(shape[0], width, kernel, stride, kernel // 2, bias=bias)
    last = back(width, shape[0], kernel, stride, kernel // 2, output_padding=extra, bias=bias)
    encoder = nn.Sequential(first, *[norm(width)] * normed, nn.Tanh(), *[pool(2, ceil_mode=True)] * pools)
    decoder = nn.Sequential(last, *[norm(shape[0])] * normed, nn.Sigmoid())
    encoder.load_state_dict(stage.encoder.state_dict())
    weight = {"0.weight": first.weight.detach()} if options.get("tied") else {}
    decoder.load_state_dict(nn.Sequential(*list(stage.decoder)[pools:]).state_dict() | weight)
    return encoder, decoder


#: those that torch has in one module each, with batch norm or none
PLAIN = [case for case in VARIANTS if case[0] != "dense" and case[1].get("norm", "none") == "none"]


@every_shape
@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_a_stage_is_torchs_modules_to_the_bit(case: tuple[str, dict[str, Any]], shape: tuple[int, ...]) -> None:
    """In training: codes, reconstructions and running statistics; images are restored up to rounding (see convolutions)."""
    kind, options = case
    torch.manual_seed(0)
    stage = kinds()[kind].of(shape, 5, activation="tanh", output="sigmoid", **options)
    encoder, decoder = torchs(stage, kind, **options)
    x, rank = torch.rand(6, *shape), len(shape) - 1
    code, switches = stage.encode_with_switches(x)
    assert torch.equal(code, encoder(x))
    read = code.detach()
    if kind == "conv-pool":
        if options.get("unpool", "nearest") == "nearest":
            read = F.interpolate(read, scale_factor=2.0)[(slice(None), slice(None), *map(slice, shape[1:]))]
        else:
            _, places = type(encoder[-1])(2, ceil_mode=True, return_indices=True)(encoder[:-1](x).detach())
            read = TORCH[rank][4](read, places, 2, output_size=list(shape[1:]))
    restored, expected = stage.decode(code.detach(), switches=switches), decoder(read)
    assert restored.shape == x.shape
    if rank == 2:
        torch.testing.assert_close(restored, expected, rtol=1e-5, atol=1e-6)
    else:
        assert torch.equal(restored, expected)
    for mine, theirs in zip(norms(stage.encoder), norms(encoder), strict=True):
        assert type(mine) is type(theirs)
        assert torch.equal(mine.running_var, theirs.running_var)  # type: ignore[arg-type]


@every_variant
@every_shape
def test_the_contract_holds_for_every_rank(case: tuple[str, dict[str, Any]], shape: tuple[int, ...]) -> None:
    """Exporting takes longest: each variant is exported in every rank, and in each of a rank's shapes a third of them."""
    kind, options = case
    exports = (VARIANTS.index(case) + SHAPES.index(shape)) % 3 == 0
    holds_the_contract(kinds()[kind].of(shape, 4, output="sigmoid", **options), exports)


TOKENS: list[dict[str, Any]] = [{}, {"patch": 1, "blocks": 2}, {"visible_only": True}]
READ = [(6,), (3, 8), (2, 4, 6), (2, 4, 2, 6)]


@pytest.mark.parametrize("options", TOKENS, ids=str)
@pytest.mark.parametrize("shape", READ, ids=str)
def test_the_contract_holds_for_transformers_of_every_rank(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    stage = Transformer.of(shape, 8, output="sigmoid", **options)
    holds_the_contract(stage, exports=(TOKENS.index(options) + READ.index(shape)) % 3 == 0)
    sizes, patch = shape[1:] or shape, options.get("patch", 2)
    assert stage.code_shape == (8, *(n // patch for n in sizes))


def holds_the_contract(stage: Stage, exports: bool) -> None:
    """Shapes, gradients, freezing, export and double precision."""
    shape = stage.in_shape
    x = torch.rand(5, *shape)
    code, switches = stage.encode_with_switches(x)
    assert tuple(code.shape[1:]) == stage.code_shape == stage.output_shape(shape)
    assert stage.decode(code, switches=switches).shape == x.shape
    (stage(x) - 0.3).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stage.parameters())
    stage.freeze()
    before = copy.deepcopy(stage.state_dict())
    frozen = stage(x)
    with torch.no_grad():
        assert torch.equal(stage(x), frozen)
    assert all(torch.equal(before[name], value) for name, value in stage.state_dict().items())
    if exports:
        program = torch.export.export(stage.encoder, (x,))
        assert torch.equal(program.module()(x), stage.encode(x))
    double = copy.deepcopy(stage).double()(x.double())
    torch.testing.assert_close(double.float(), frozen, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["conv", "conv-pool"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_gradients_are_right_in_float64(kind: str, rank: int) -> None:
    sizes = [(5,), (3, 4), (3, 2, 2)][rank - 1]
    stage = kinds()[kind].of((2, *sizes), 3, activation="tanh", output="sigmoid").double().eval()
    x = torch.rand(2, *stage.in_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stage, (x,))
    names, values = zip(*stage.named_parameters(), strict=True)
    run = lambda x, *values: torch.func.functional_call(stage, dict(zip(names, values, strict=True)), (x,))  # noqa: E731
    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)
    assert torch.autograd.gradgradcheck(stage, (x,))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("inside", [None, torch.bfloat16])
def test_convolutions_follow_autocast_as_torchs_do(inside: torch.dtype | None, transposed: bool, rank: int) -> None:
    mine, other = (kind(3, 4, 3, 2, 1) for kind in (CONVOLUTIONS[rank][transposed], TORCH[rank][transposed]))
    other.load_state_dict(mine.state_dict())
    x, found = torch.randn(2, 3, *[5] * rank), []
    for layer in (mine, other):
        read = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=inside is not None):
            output = layer(read)
        found.append([output, *torch.autograd.grad(output.square().sum(), [read, *layer.parameters()])])
    assert torch.equal(found[0][0], found[1][0])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2 if inside else 1e-5, atol=1e-2 if inside else 1e-5)


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("rank", [1, 3])
def test_initial_weights_have_the_fan_in_of_a_unit(name: str, rank: int) -> None:
    stage = kinds()["conv"].of((8, *[6] * rank), 16, norm="none")
    torch.manual_seed(0)
    initialise(stage, name)
    fan_in = 8 * 3**rank
    weight = stage.get_parameter("encoder.0.weight")
    if name == "uniform":
        assert 0.9 * fan_in**-0.5 < weight.abs().max() <= fan_in**-0.5
    if name == "he":
        assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
        back = stage.get_parameter("decoder.0.weight")
        assert back.std().item() == pytest.approx((2 / (16 * 3**rank)) ** 0.5, rel=0.1)
    if name != "torch":
        assert not stage.get_parameter("encoder.0.bias").any()


def test_transformers_read_vectors_as_signals_of_one_channel() -> None:
    torch.manual_seed(0)
    vectors = Transformer.of((12,), 8, output="sigmoid", patch=3)
    signals = Transformer.of((1, 12), 8, output="sigmoid", patch=3)
    signals.load_state_dict(vectors.state_dict())
    x = torch.rand(4, 12)
    assert torch.equal(vectors.encode(x), signals.encode(x[:, None]))
    assert torch.equal(vectors(x), signals(x[:, None])[:, 0])
    with pytest.raises(InputError, match="patch 3 does not divide 10: choose from 1, 2, 5, 10"):
        Transformer.of((10,), 8, patch=3)


@pytest.mark.parametrize("sizes", [(5,), (2, 3), (2, 3, 2)], ids=str)
def test_positions_tell_the_tokens_of_every_rank_apart(sizes: tuple[int, ...]) -> None:
    """Of each dimension sines and cosines in the same number of frequencies, in the order of the tokens; the rest is 0."""
    features = 16
    table = positions(sizes, features, torch.zeros((), dtype=torch.float64)).view(*sizes, features)
    count = features // (2 * len(sizes))
    rates = [10000.0 ** (-k / count) for k in range(count)]
    for place in itertools.product(*map(range, sizes)):
        waves = [wave(n * rate) for n in place for wave in (math.sin, math.cos) for rate in rates]
        expected = torch.tensor(waves + [0.0] * (features - len(waves)), dtype=torch.float64)
        torch.testing.assert_close(table[place], expected)


@pytest.mark.parametrize("shape", [(4,), (2, 8), (1, 4, 4, 4)], ids=str)
def test_a_transformer_encodes_visible_blocks_of_every_rank_alone(shape: tuple[int, ...]) -> None:
    stage = Transformer.of(shape, 8, visible_only=True)
    x = torch.rand(3, *shape)
    if len(shape) == 1:  # blocks are hidden in maps alone
        assert torch.equal(stage.encode(x), stage.encode_with_switches(x)[0])
        return
    corrupted = corrupt("patch-masking", x, (0.5,), torch.Generator().manual_seed(0), 2)
    assert corrupted.hidden is not None
    code, mask = stage.encode_corrupted(corrupted.x, corrupted.hidden)
    assert mask is not None
    assert not code[mask.expand_as(code)].any()
    assert stage.decode(code, switches=mask).shape == x.shape


# Stacks


MIXED = StackSpec((StageSpec("conv", 4), StageSpec("conv-pool", 6), StageSpec("dense", 5), StageSpec("dense", 3)))
STACKS = [((2, 16), (4, 8), (6, 4)), ((1, 9, 12), (4, 5, 6), (6, 3, 3)), ((1, 6, 5, 4), (4, 3, 3, 2), (6, 2, 2, 1))]


@pytest.mark.parametrize("shapes", STACKS, ids=lambda shapes: str(shapes[0]))
def test_a_stack_reads_signals_images_and_volumes(shapes: tuple[tuple[int, ...], ...]) -> None:
    stack = build(MIXED, shapes[0])
    assert stack.shapes(shapes[0]) == [*shapes, (5,), (3,)]
    assert stack.latent_shape == (3,)
    x = torch.rand(4, *shapes[0])
    assert stack(x).shape == x.shape
    for depth in range(1, 5):
        code = stack.encode(x, depth)
        assert tuple(code.shape[1:]) == stack.shapes(shapes[0])[depth]
        assert stack.decode(code, depth).shape == x.shape
    assert {p.device.type for p in empty_stack(MIXED, shapes[0]).parameters()} == {"meta"}


@pytest.mark.parametrize("shapes", STACKS, ids=lambda shapes: str(shapes[0]))
def test_stacks_of_convolutions_read_other_sizes(shapes: tuple[tuple[int, ...], ...]) -> None:
    stack = build(StackSpec.of("conv", 4, 6), shapes[0]).eval()
    other = torch.rand(2, shapes[0][0], *(n + 3 for n in shapes[0][1:]))
    assert stack(other).shape == other.shape
    assert torch.equal(stack.encoder(other), stack.encode(other))
    pooled = build(StackSpec.of("conv-pool", 4, unpool="switches"), shapes[0]).eval()
    assert pooled(other).shape == other.shape


def test_stacks_of_transformers_are_trained_on_signals_and_tables() -> None:
    spec = RunSpec(
        "greedy+finetune",
        stack=StackSpec(
            (StageSpec("transformer", 8, options={"patch": 2}), StageSpec("transformer", 8), StageSpec("dense", 5)),  # type: ignore[arg-type]
            output="linear",
        ),
        budget=Budget((5,), 20, "updates"),
        optimisation=Optimisation(batch_size=16, lr=1e-2),
    )
    for shape in ((8,), (2, 8)):
        values = torch.randn(32, *shape, generator=torch.Generator().manual_seed(0)).cumsum(-1)
        stack = pretrain(spec, values, shape)
        assert stack.shapes(shape) == [shape, (8, 4), (8, 2), (5,)]
        with torch.no_grad():
            assert (stack(values) - values).square().mean() < 0.9 * values.square().mean()
        assert estimate_cost(spec, shape, 32, machine=H100).gflop > 0


@pytest.mark.parametrize(
    ("shapes", "policy"), list(itertools.product(STACKS, ("greedy+finetune", "simultaneous"))), ids=str
)
def test_a_stack_is_trained_on_them(shapes: tuple[tuple[int, ...], ...], policy: str) -> None:
    """By the same loop, from floats: the error falls, twice to the same bits."""
    spec = RunSpec(
        policy,
        stack=StackSpec((StageSpec("conv", 4), StageSpec("conv-pool", 6), StageSpec("dense", 5))),
        budget=Budget((12,), 12, "updates"),
        optimisation=Optimisation(batch_size=16, lr=2e-2, corruption_level=0.1, dropout=0.1),
    )
    values = torch.rand(64, *shapes[0], generator=torch.Generator().manual_seed(0)) * torch.linspace(0, 1, 64).view(
        -1, *[1] * len(shapes[0])
    )
    one, other = (pretrain(spec, StoredInputs(values), shapes[0]) for _ in range(2))
    assert same_weights(one, other)
    fresh = StackedAutoencoder(shapes[0])
    grow(fresh, spec, 3)
    with torch.no_grad():
        before, after = ((stack.eval()(values) - values).square().mean() for stack in (fresh, one))
    assert after < 0.8 * before
    cost = estimate_cost(spec, shapes[0], 64, machine=H100)
    assert cost.updates == sum(phase.updates for phase in spec.phases())
    assert cost.gflop > 0


def test_dense_stages_read_any_shape() -> None:
    for shape in ((7,), (2, 5), (1, 4, 3), (2, 3, 2, 4), (2, 2, 2, 2, 2)):
        for norm in NORMS:
            stack = build(StackSpec.of("dense", 6, 4, norm=norm), shape)
            x = torch.rand(4, *shape)
            assert stack.encode(x).shape == (4, 4)
            assert stack(x).shape == x.shape
            PhaseLoss(stack.learn_only(1, 2), Phase("joint", (1, 2), 0, 1), Optimisation())(x, None, 0).backward()
            assert all(p.grad is not None for p in stack.parameters())


def test_volumes_keep_the_order_of_their_values() -> None:
    """There is no channels-last order of three dimensions for `grow` to ask for."""
    stack = StackedAutoencoder((1, 4, 4, 4))
    grow(stack, RunSpec(stack=StackSpec.of("conv", 4, 6)), 2)
    assert all(p.is_contiguous() for p in stack.parameters())
    images = StackedAutoencoder((1, 8, 8))
    grow(images, RunSpec(stack=StackSpec.of("conv", 4, 6)), 2)
    weights = [p for p in images.parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    assert isinstance(stack(torch.rand(2, 1, 4, 4, 4)), Tensor)
