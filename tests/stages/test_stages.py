"""The contract of stages: every class found in stacked.stages is held to it, known ones in all their variants."""

from __future__ import annotations

import copy
import inspect
import io
import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stacked.model.stack import build
from stacked.spec import StackSpec
from stacked.stages import Stage, kinds
from stacked.stages.conv import Conv
from stacked.stages.dense import Dense
from stacked.stages.norms import NORMS
from stacked.stages.pooled import PooledConv, first_largest, largest
from stacked.stages.residual import Residual
from stacked.stages.tied import TiedConvTranspose2d
from stacked.stages.transformer import Block, Blocks, Transformer, positions
from stacked.util.errors import InputError

KINDS = sorted(kinds())
MAPS = {"conv", "conv-pool", "residual", "transformer"}
ANY_SIZE = {"dense", "conv", "conv-pool", "residual"}
SIZES = [(28, 28), (7, 7), (13, 9), (2, 3), (9, 15), (2, 2), (8, 6)]  # other kinds may refuse some
SMALL = [(3, 4), (4, 6), (6, 3)]

#: kind -> options beside its defaults -> (its parameters for (3, 6, 6) -> 8, of them in norms of the reconstruction)
VARIANTS: dict[str, list[tuple[dict[str, Any], int, int]]] = {
    "dense": [
        ({}, 108 * 8 + 8 + 8 * 108 + 108, 0),
        ({"tied": True}, 108 * 8 + 8 + 108, 0),
        ({"norm": "batch"}, 108 * 8 + 8 + 8 * 108 + 108 + 2 * 8 + 2 * 108, 2 * 108),
        ({"norm": "group"}, 108 * 8 + 8 + 8 * 108 + 108 + 2 * 8 + 2 * 108, 2 * 108),
        ({"norm": "layer", "tied": True}, 108 * 8 + 8 + 108 + 2 * 8 + 2 * 108, 2 * 108),
    ],
    "conv": [
        ({}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "none"}, 2 * 216 + 8 + 3, 0),
        ({"norm": "group"}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "layer"}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"kernel": 5}, 2 * 600 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"tied": True}, 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"tied": True, "kernel": 5, "norm": "none"}, 600 + 8 + 3, 0),
    ],
    "conv-pool": [
        ({}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "none", "unpool": "zeros"}, 2 * 216 + 8 + 3, 0),
        ({"norm": "group", "unpool": "switches"}, 2 * 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "layer", "kernel": 5}, 2 * 600 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"tied": True, "kernel": 5}, 600 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
        ({"tied": True, "unpool": "switches"}, 216 + 8 + 3 + 2 * 8 + 2 * 3, 2 * 3),
    ],
    "residual": [
        ({}, 2 * 216 + 8 + 3 + 4 * (576 + 8) + 5 * 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "none"}, 2 * 216 + 8 + 3 + 4 * (576 + 8), 0),
        ({"norm": "group"}, 2 * 216 + 8 + 3 + 4 * (576 + 8) + 5 * 2 * 8 + 2 * 3, 2 * 3),
        ({"norm": "layer", "blocks": 2}, 2 * 216 + 8 + 3 + 8 * (576 + 8) + 9 * 2 * 8 + 2 * 3, 2 * 3),
    ],
    "transformer": [  # a block of width d has 12 d^2 + 13 d parameters, the norm after the last 2 d
        ({}, 2 * 96 + 8 + 3 + 2 * (768 + 104) + 2 * 16, 0),
        ({"patch": 3, "heads": 1}, 2 * 216 + 8 + 3 + 2 * (768 + 104) + 2 * 16, 0),
        ({"blocks": 2, "heads": 2}, 2 * 96 + 8 + 3 + 4 * (768 + 104) + 2 * 16, 0),
    ],
}

Variant = tuple[str, dict[str, Any]]
CASES: list[Variant] = [(kind, options) for kind in KINDS for options in [v[0] for v in VARIANTS.get(kind, [])] or [{}]]
every_kind = pytest.mark.parametrize("kind", KINDS)


def case_name(case: Variant) -> str:
    return "-".join([case[0], *(f"{name}={value}" for name, value in case[1].items())])


every_variant = pytest.mark.parametrize("case", CASES, ids=case_name)


def make(case: str | Variant, shape: tuple[int, ...] = (3, 6, 6), width: int = 8, **options: Any) -> Stage:
    kind, own = (case, {}) if isinstance(case, str) else case
    return kinds()[kind].of(shape, width, **own, **options)


def fitting(case: Variant, sizes: list[tuple[int, int]], channels: int = 3, **options: Any) -> list[Stage]:
    """Stages for those of `sizes` that the variant accepts; it must accept one."""
    stages = []
    for size in sizes:
        try:
            stages.append(make(case, (channels, *size), **options))
        except InputError:
            assert case[0] not in ANY_SIZE, f"{case} refuses {size}"
    assert stages, f"{case} accepts none of {sizes}"
    return stages


def blobs(n: int, shape: tuple[int, ...]) -> Tensor:
    """Smooth images in [0, 1]: two soft blobs each, somewhere."""
    channels, height, width = shape
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    centre = torch.rand(2, n, channels, 2, 1, 1) * torch.tensor([height - 1.0, width - 1.0])[:, None, None]
    return torch.exp(-((rows - centre[:, :, :, 0]) ** 2 + (columns - centre[:, :, :, 1]) ** 2) / 4).amax(0)


def train(stage: Stage, x: Tensor, steps: int, until: float = 0.0, lr: float = 1e-2) -> float:
    """Adam on the squared error, until it is below `until`; the last error."""
    optimiser = torch.optim.Adam(stage.parameters(), lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = (stage(x) - x).square().mean()
        if loss < until:
            break
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def test_the_known_kinds_are_found_and_have_a_row_each() -> None:
    assert set(VARIANTS) == MAPS | {"dense"} <= set(KINDS)
    assert {kind for kind, cls in kinds().items() if cls.halves} >= {"conv", "conv-pool", "residual"}
    assert not Dense.halves
    assert not Transformer.halves


@every_kind
def test_every_option_has_a_default_and_the_norm_is_the_first(kind: str) -> None:
    first, *options = inspect.signature(kinds()[kind]).parameters.values()
    assert first.name == "settings"
    for parameter in options:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is not inspect.Parameter.empty
    assert kinds()[kind].defaults() == {parameter.name: parameter.default for parameter in options}
    assert set(kinds()[kind].norms) <= set(NORMS)
    stage = kinds()[kind].of((3, 8, 8), 8)
    assert (stage.activation, stage.output) == ("relu", "relu")


@every_kind
def test_every_norm_is_what_it_says(kind: str) -> None:
    for norm in kinds()[kind].norms:
        found = {type(module).__name__ for module in make(kind, norm=norm).modules() if "Norm" in type(module).__name__}
        allowed = {"batch": {"BatchNorm1d", "BatchNorm2d"}, "group": {"GroupNorm"}, "none": set()}
        assert found <= allowed.get(norm, {"GroupNorm", "LayerNorm"})
        assert bool(found) == (norm != "none")
    with pytest.raises(InputError, match=r"norm of a .* stage 'instance' is not known: choose from"):
        make(kind, norm="instance")


#: of maps whose code has four places, and whose code has one
NARROW = {"four places": (1, 4, 4), "one place": (4, 2, 2)}


def brightening(n: int, shape: tuple[int, ...]) -> Tensor:
    """Grey images that become brighter on one side: all that there is to learn is one number an image."""
    across = torch.linspace(0, 0.8, shape[-1])
    return (0.2 + torch.linspace(0, 1, n)[:, None] * across)[:, None, None].expand(-1, *shape[:2], -1).contiguous()


def tells_apart(stage: Stage, x: Tensor) -> bool:
    """Whether what is restored of images is nearer to them than to others, at some time in a short training."""
    for _ in range(12):
        train(stage, x, 5, lr=0.03)
        with torch.no_grad():
            output = stage(x)
        if (output - x).square().mean() < 0.8 * (output.flip(0) - x).square().mean():
            return True
    return False


@pytest.mark.parametrize("shape", NARROW.values(), ids=NARROW)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 8, 16])
@every_kind
def test_every_norm_of_every_width_learns_or_is_refused(kind: str, width: int, shape: tuple[int, ...]) -> None:
    x = brightening(8, shape)
    for norm in (name for name in kinds()[kind].norms if name != "none"):
        if kind == "transformer" and width % 4:
            continue
        if norm in ("group", "layer") and width < 3 and (kind == "dense" or (shape[1] == 2 and kind != "conv-pool")):
            with pytest.raises(InputError, match=rf"norm '{norm}' needs at least 3 values per example, not {width}:"):
                make(kind, shape, width, norm=norm)
        else:
            assert any(  # now and then a narrow stage begins with units that are silent for all images
                tells_apart(make(kind, shape, width, norm=norm, activation="linear", output="linear", pixels=True), x)
                for _ in range(5)
            ), norm


@pytest.mark.parametrize(
    ("width", "groups"),
    [(3, 1), (4, 1), (6, 1), (7, 1), (8, 2), (10, 2), (12, 2), (16, 4), (20, 4), (24, 4), (32, 8), (40, 8), (64, 8)],
)
def test_groups_hold_four_values_where_there_are_as_many(width: int, groups: int) -> None:
    for stage in (make("dense", (width,), width, norm="group"), make("conv", (width, 2, 2), width, norm="group")):
        norm = stage.encoder[-2]
        assert isinstance(norm, nn.GroupNorm)
        assert norm.num_groups == groups
    wide = make("conv", (width, 6, 6), width, norm="group").encoder[-2]
    assert isinstance(wide, nn.GroupNorm)
    assert wide.num_groups == math.gcd(width, 8)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_norms_that_would_leave_nothing_are_refused_when_a_spec_is_made(norm: str) -> None:
    for width in (1, 2):
        with pytest.raises(InputError, match=rf"norm '{norm}' needs at least 3 values per example, not {width}:"):
            StackSpec.of("dense", 8, width, norm=norm)
        with pytest.raises(InputError, match=rf"norm '{norm}' needs at least 3 values per example, not {width}:"):
            build(StackSpec.of("conv", width, norm=norm), (1, 2, 2))
        build(StackSpec.of("conv", width, norm=norm), (1, 4, 4))
    assert StackSpec.of("dense", 8, 3, norm=norm).norm == norm


@every_variant
def test_shapes_are_told_without_running_and_restored_exactly(case: Variant) -> None:
    for stage in fitting(case, SIZES):
        x = torch.rand(2, *stage.in_shape)
        code, switches = stage.encode_with_switches(x)
        assert tuple(code.shape[1:]) == stage.code_shape == stage.output_shape(stage.in_shape)
        assert stage.maps == (len(stage.code_shape) == 3)
        assert stage.decode(code, switches=switches).shape == x.shape
        if stage.halves:
            assert stage.code_shape[1:] == tuple(math.ceil(n / 2) for n in x.shape[2:])


@pytest.mark.parametrize("case", [case for case in CASES if case[0] in MAPS], ids=case_name)
def test_maps_of_another_size_are_read_by_stages_whose_code_is_a_map(case: Variant) -> None:
    stage = make(case, (3, 6, 6))
    for other in fitting(case, SIZES):
        x = torch.rand(2, *other.in_shape)
        code, switches = stage.encode_with_switches(x)
        assert tuple(code.shape[1:]) == stage.output_shape(other.in_shape)
        assert stage(x).shape == stage.decode(code, other.in_shape[1:], switches).shape == x.shape


@every_variant
def test_encode_decode_and_forward_agree_and_the_sequences_stand_alone(case: Variant) -> None:
    stage = make(case, output="sigmoid").eval()
    x = torch.rand(4, 3, 6, 6)
    code, switches = stage.encode_with_switches(x)
    assert torch.equal(code, stage.encode(x))
    assert torch.equal(code, stage.encoder(x))
    assert torch.equal(stage(x), stage.decode(code, switches=switches))
    assert torch.equal(
        stage.decode(code, switches=switches), stage.decoder[-1](stage.decode_linear(code, switches=switches))
    )
    assert torch.equal(stage.decode(code, (6, 6), switches), stage.decode(code, switches=switches))
    assert isinstance(stage.decoder[-1], nn.Sigmoid)
    if switches is None:
        assert torch.equal(stage.decoder(code), stage(x))
    else:
        for decode in (stage.decode, stage.decode_linear, stage.decoder):
            with pytest.raises(InputError, match="needs the positions of the maxima, which a code alone does not hold"):
                decode(code)


@every_variant
def test_parameters_are_counted_once_and_exactly(case: Variant) -> None:
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    stage = make(case)
    assert count(stage) == count(stage.encoder) + count(stage.decoder) > 0
    memory = {p.data_ptr() for p in stage.state_dict().values() if p.numel() > 1}
    assert len(memory) == len([p for p in stage.state_dict().values() if p.numel() > 1])
    if case[0] in VARIANTS:
        total, reconstruction_norm = next(v[1:] for v in VARIANTS[case[0]] if v[0] == case[1])
        assert count(stage) == total
        assert count(make(case, pixels=True)) == total - reconstruction_norm


@every_variant
def test_frozen_means_parameters_and_buffers_stay_and_train_does_not_thaw(case: Variant) -> None:
    stage = make(case).freeze()
    before = copy.deepcopy(stage.state_dict())
    nn.Sequential(stage).train()
    output = stage(torch.rand(4, 3, 6, 6))
    assert not output.requires_grad
    assert not any(module.training for module in stage.modules())
    assert all(torch.equal(before[name], value) for name, value in stage.state_dict().items())
    stage.freeze(False)
    assert all(p.requires_grad for p in stage.parameters())
    assert all(module.training for module in stage.modules())


@every_variant
def test_the_gradient_reaches_every_parameter_unless_frozen(case: Variant) -> None:
    stage = make(case, output="sigmoid", activation="sigmoid", pixels=True)
    x = torch.rand(8, 3, 6, 6, requires_grad=True)
    (stage(x) - 0.3).square().mean().backward()
    for name, p in stage.named_parameters():
        # the bias before a batch norm has no effect, hence a gradient of rounding errors, but it is reached
        assert p.grad is not None, name
    stage.zero_grad()
    stage.freeze()(x).sum().backward()
    assert all(p.grad is None for p in stage.parameters())
    assert x.grad is not None  # what stands below may learn


@every_variant
def test_gradients_are_right_in_float64(case: Variant) -> None:
    stage = fitting(case, SMALL, 1, width=4, activation="tanh", output="sigmoid", pixels=True)[0].double().eval()
    names, values = zip(*stage.named_parameters(), strict=True)
    x = torch.rand(2, *stage.in_shape, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(stage, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(stage, (x,))
    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)


@every_variant
def test_overfits_a_few_images(case: Variant) -> None:
    x = blobs(8, (1, 6, 6))
    goal = 0.01 * float(x.var(0, correction=0).mean())
    errors = (
        train(make(case, (1, 6, 6), 32, output="sigmoid", pixels=True), x, 800, until=goal, lr=lr)
        for lr in (1e-2, 3e-2, 3e-3)  # the known kinds need the first alone
    )
    assert any(error < goal for error in errors)


@every_variant
def test_the_same_seed_trains_to_the_same_bits(case: Variant) -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        stage = make(case)
        train(stage, blobs(8, (3, 6, 6)), 3)
        results.append(stage.state_dict())
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


@every_variant
def test_the_state_dict_holds_all_and_copies_are_independent(case: Variant) -> None:
    stage = make(case, output="sigmoid")
    x = blobs(8, (3, 6, 6))
    train(stage, x, 2)
    expected = stage.eval()(x).detach()
    file = io.BytesIO()
    torch.save(stage.state_dict(), file)
    file.seek(0)
    loaded = make(case, output="sigmoid").eval()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(loaded(x), expected)
    clone = copy.deepcopy(stage)
    assert torch.equal(clone(x), expected)
    with torch.no_grad():
        for p in clone.parameters():
            p.fill_(0.3)
    assert torch.equal(stage(x), expected)
    assert not torch.equal(clone(x), expected)
    stage.load_state_dict(clone.state_dict())
    assert torch.equal(stage(x), clone(x))


@every_variant
def test_frozen_or_learning_it_gives_the_same_bits(case: Variant) -> None:
    """Else a run that goes on, whose frozen stages learn when they are read, would end otherwise."""
    stage = make(case, output="sigmoid").to(memory_format=torch.channels_last).eval()
    x = torch.rand(40, 3, 6, 6).to(memory_format=torch.channels_last)
    outputs = []
    for frozen in (True, False):
        stage.requires_grad_(not frozen)
        outputs.append(stage(x).detach())
        with torch.no_grad():
            outputs.append(stage(x))
    assert all(torch.equal(output, outputs[0]) for output in outputs)


@every_variant
def test_runs_in_float64_and_on_the_meta_device_and_in_channels_last(case: Variant) -> None:
    stage = make(case, output="sigmoid").eval()
    x = torch.rand(4, 3, 6, 6)
    expected = stage(x)
    double = copy.deepcopy(stage).double()(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected)
    last = copy.deepcopy(stage).to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(x.to(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(stage(x.to(memory_format=torch.channels_last)), expected)
    meta = copy.deepcopy(stage).to("meta")
    assert {p.device.type for p in meta.parameters()} == {"meta"}
    with FlopCounterMode(display=False) as counter:
        output = meta.train()(torch.empty(2, 3, 6, 6, device="meta"))
        output.square().mean().backward()
    assert output.shape == (2, 3, 6, 6)
    assert counter.get_total_flops() > 0


@every_variant
def test_the_exported_encoder_is_the_encoder(case: Variant) -> None:
    stage = make(case).eval()
    x = torch.rand(2, 3, 6, 6)
    exported = torch.export.export(stage.encoder, (x,))
    assert torch.equal(exported.module()(x), stage.encode(x))


@every_kind
def test_the_activation_is_the_one_asked_for(kind: str) -> None:
    """A peer ignores it: weights come out the same for ReLU and tanh."""
    x = torch.randn(16, 3, 6, 6)
    code = {}
    for name in ("relu", "tanh", "sigmoid", "softplus", "linear"):
        torch.manual_seed(0)
        code[name] = make(kind, activation=name).encode(x)
    assert torch.equal(code["relu"], code["linear"].relu())
    assert torch.equal(code["tanh"], code["linear"].tanh())
    assert torch.equal(code["sigmoid"], code["linear"].sigmoid())
    assert torch.equal(code["softplus"], F.softplus(code["linear"]))


@every_kind
def test_bad_width_and_activation_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match=r"width of a .* 0 is not allowed"):
        make(kind, width=0)
    with pytest.raises(InputError, match="'swish' is not known: choose from relu"):
        make(kind, activation="swish")


@pytest.mark.parametrize("kind", sorted(MAPS))
@pytest.mark.parametrize("shape", [(10,), (3, 1, 4), (3, 4, 1)])
def test_vectors_and_maps_too_small_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"a {kind} stage cannot read .* at least 2 x 2"):
        make(kind, shape)
    assert math.prod(make(kind, (3, 2, 2)).code_shape) == 8


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("conv", {"kernel": 4}, "kernel 4 of a conv stage is not allowed: give an odd integer of at least 3"),
        ("conv-pool", {"kernel": 1}, "kernel 1 of a conv-pool stage is not allowed: give an odd integer of at least 3"),
        ("conv", {"kernel": 3.0}, "kernel 3.0 of a conv stage is not allowed"),
        ("conv-pool", {"unpool": "max"}, "unpool of a .* 'max' is not known: choose from nearest, zeros, switches"),
        ("residual", {"blocks": 0}, "blocks of a residual stage 0 is not allowed: give an integer of at least 1"),
        ("transformer", {"patch": 0}, "patch of a transformer stage 0 is not allowed: give an integer of at least 1"),
        ("transformer", {"patch": 4}, "patch 4 does not divide 30 x 28: choose from 1, 2"),
        (
            "transformer",
            {"heads": 3},
            "width 8 of a transformer stage with 3 heads is not allowed: give a multiple of 12",
        ),
        ("transformer", {"width": 6, "heads": 2}, "width 6 of a .* with 2 heads is not allowed: give a multiple of 4"),
        ("transformer", {"norm": "batch"}, "norm of a transformer stage 'batch' is not known: choose from layer"),
        ("transformer", {"norm": "none"}, "norm of a transformer stage 'none' is not known: choose from layer"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        make(kind, (3, 30, 28), **options)
    assert "\n" not in str(refused.value)


def tied_stages() -> list[Stage]:
    return [
        Dense.of((2, 6, 6), 4, activation="linear", output="linear", tied=True),
        Conv.of((2, 6, 6), 4, activation="linear", output="linear", norm="none", tied=True),
        PooledConv.of((2, 6, 6), 4, activation="linear", output="linear", norm="none", tied=True, unpool="zeros"),
    ]


@pytest.mark.parametrize("stage", tied_stages(), ids=lambda stage: stage.kind)
def test_tied_is_one_tensor_with_gradient_from_both_uses(stage: Stage) -> None:
    weights = [name for name in stage.state_dict() if "weight" in name]
    assert weights == (["encoder.1.weight"] if stage.kind == "dense" else ["encoder.0.weight"])
    x = torch.rand(3, 2, 6, 6)

    def gradients(stage: Stage) -> list[Tensor]:
        """Of the weight: with both uses, and with the code or the decoder held constant."""
        (weight,) = (p for name, p in stage.named_parameters() if name in weights)
        code, switches = stage.encode_with_switches(x.to(weight.dtype))
        (decoding,) = torch.autograd.grad(stage.decode(code.detach(), switches=switches).square().sum(), weight)
        (both,) = torch.autograd.grad(stage.decode(code, switches=switches).square().sum(), weight)
        # the decoder on a copy of the weight, so that only the encoder's use is seen
        frozen = copy.deepcopy(stage).requires_grad_(False)
        (encoding,) = torch.autograd.grad(frozen.decode(code_of(stage), switches=switches).square().sum(), weight)
        return [both, encoding, decoding]

    def code_of(stage: Stage) -> Tensor:
        return stage.encode(x.to(next(stage.parameters()).dtype))

    file = io.BytesIO()
    torch.save(stage.state_dict(), file)
    file.seek(0)
    loaded = copy.deepcopy(stage)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (stage, copy.deepcopy(stage), loaded, copy.deepcopy(stage).double()):
        both, encoding, decoding = gradients(other)
        assert encoding.abs().sum() > 0
        assert decoding.abs().sum() > 0
        torch.testing.assert_close(both, encoding + decoding)
        with torch.no_grad():  # the decoder sees what is written to the encoder
            other.get_parameter(weights[0]).zero_()
            other.get_parameter("decoder.0.bias" if stage.kind != "conv-pool" else "decoder.1.bias").fill_(0.5)
        assert torch.equal(other(x.to(both.dtype)), torch.full_like(x, 0.5, dtype=both.dtype))


def test_tied_dense_has_the_gradient_of_the_formula() -> None:
    stage = Dense.of((6,), 4, activation="linear", output="linear", tied=True)
    x = torch.rand(3, 6)
    stage(x).sum().backward()
    weight = stage.get_parameter("encoder.1.weight")
    # d/dW sum(x W^T W + ...) has a term from each use
    code = stage.encode(x).detach()
    expected = code.sum(0)[:, None].expand(4, 6) + weight.detach().sum(1)[:, None] * x.sum(0)[None]
    torch.testing.assert_close(weight.grad, expected)


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (1, 5), (2, 3), (2, 5)])
def test_a_tied_transposed_convolution_is_a_convolution_with_flipped_filters(stride: int, kernel: int) -> None:
    conv = nn.Conv2d(2, 5, kernel, stride=stride, padding=kernel // 2).double()
    back = TiedConvTranspose2d(conv)
    nn.init.normal_(back.bias)
    code = torch.randn(3, 5, 4, 6, dtype=torch.float64)
    stuffed = code.new_zeros(3, 5, 3 * stride + 1, 5 * stride + 1)
    stuffed[:, :, ::stride, ::stride] = code
    flipped = conv.weight.flip(2, 3).transpose(0, 1)
    torch.testing.assert_close(back(code), F.conv2d(stuffed, flipped, back.bias, padding=kernel // 2))
    expected = F.conv_transpose2d(code, conv.weight, back.bias, stride, kernel // 2, stride - 1)
    assert torch.equal(back(code, output_size=(4 * stride, 6 * stride)), expected)


def test_pooling_tells_where_its_maxima_were() -> None:
    maps = torch.tensor([[1.0, 5, 2, 2, 7], [3, 4, 2, 2, 8], [6, 6, 0, 9, 1]])[None, None]
    once = torch.tensor([[0, 1, 1, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 1, 1]], dtype=torch.bool)[None, None]
    ties = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [1, 1, 0, 1, 1]], dtype=torch.bool)[None, None]
    assert torch.equal(first_largest(maps), once)
    assert torch.equal(largest(maps), ties)


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (2, 3)])
def test_unpooling_puts_values_where_it_says(size: tuple[int, int]) -> None:
    options: dict[str, Any] = {"activation": "linear", "norm": "none", "pixels": True, "output": "linear"}
    stages = {name: PooledConv.of((2, *size), 3, unpool=name, **options) for name in ("nearest", "zeros", "switches")}
    x = torch.randn(4, 2, *size)
    for name, stage in stages.items():
        stage.load_state_dict(stages["nearest"].state_dict())
        maps = stage.encoder[0](x)
        code, switches = stage.encode_with_switches(x)
        pooled, places = F.max_pool2d(maps, 2, ceil_mode=True, return_indices=True)
        assert torch.equal(code, pooled)
        unpooled = stage.decoder[0](code, None, switches)
        if name == "nearest":
            assert switches is None
            assert torch.equal(unpooled[..., ::2, ::2], code)
            assert torch.equal(unpooled[..., 1::2, 1::2], code[..., : size[0] // 2, : size[1] // 2])
        else:  # without ties the two are the same, and what is not a maximum is erased
            assert switches is not None
            assert torch.equal(unpooled, F.max_unpool2d(pooled, places, 2, output_size=list(size)))
            assert torch.equal(unpooled, torch.where(switches, maps, torch.zeros(())))


@pytest.mark.parametrize(("unpool", "kept"), [("zeros", 4), ("switches", 1)])
def test_ties_keep_all_maxima_or_the_first(unpool: str, kept: int) -> None:
    stage = PooledConv.of((1, 4, 4), 1, norm="none", unpool=unpool)
    nn.init.zeros_(stage.get_parameter("encoder.0.weight"))
    nn.init.constant_(stage.get_parameter("encoder.0.bias"), 2.0)  # so that every window is one tie
    code, switches = stage.encode_with_switches(torch.rand(1, 1, 4, 4))
    assert switches is not None
    assert torch.equal(code, torch.full((1, 1, 2, 2), 2.0))
    assert torch.equal(switches.unfold(2, 2, 2).unfold(3, 2, 2).sum((4, 5)), torch.full((1, 1, 2, 2), kept))
    assert torch.equal(stage.decoder[0](code, None, switches)[0, 0, ::2, ::2], torch.full((2, 2), 2.0))


def test_pooling_keeps_no_state_between_encoding_and_decoding() -> None:
    stage = PooledConv.of((1, 6, 6), 4, unpool="switches").eval()
    a, b = torch.rand(2, 3, 1, 6, 6)
    code, switches = stage.encode_with_switches(a)
    expected = stage.decode(code, switches=switches)
    stage(b)
    assert torch.equal(stage.decode(code, switches=switches), expected)
    assert torch.equal(stage(a), expected)


def test_a_residual_block_adds_to_what_it_reads() -> None:
    stage = Residual.of((3, 6, 6), 8, norm="none", activation="linear").eval()
    x = torch.rand(2, 3, 6, 6)
    body = stage.encoder[2].body
    stem = stage.encoder[0](x).relu()
    assert torch.equal(stage.encode(x), stem + body[2](body[0](stem).relu()))
    nn.init.zeros_(body[2].weight)
    nn.init.zeros_(body[2].bias)
    assert torch.equal(stage.encode(x), stem)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_a_block_is_torchs_own_pre_norm_layer(heads: int) -> None:
    theirs = nn.TransformerEncoderLayer(8, heads, 32, 0.0, F.gelu, batch_first=True, norm_first=True)
    for p in theirs.parameters():  # not the initial values, so that a swapped tensor would show
        nn.init.normal_(p, std=0.4)
    theirs.double()
    ours = Block(8, heads).double()
    names = {
        "norm1": "norm1",
        "norm2": "norm2",
        "self_attn.in_proj_": "queries_keys_values.",
        "self_attn.out_proj": "mixed",
        "linear1": "perceptron.0",
        "linear2": "perceptron.2",
    }
    state = theirs.state_dict()
    for old, new in names.items():
        state = {name.replace(old, new): value for name, value in state.items()}
    ours.load_state_dict(state)
    tokens = torch.randn(3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(ours.train()(tokens), theirs.train()(tokens), rtol=0, atol=1e-12)
    trained = ours.float()(tokens.float())
    with torch.no_grad():
        assert torch.equal(ours.eval()(tokens.float()), trained)  # no other path where nothing is learned


def test_positions_are_those_of_the_formula_on_every_grid() -> None:
    like = torch.zeros((), dtype=torch.float64)
    table = positions(3, 5, 8, like).view(3, 5, 8)
    for i, j in itertools.product(range(3), range(5)):
        row = [math.sin(i), math.sin(i / 100), math.cos(i), math.cos(i / 100)]
        column = [math.sin(j), math.sin(j / 100), math.cos(j), math.cos(j / 100)]
        torch.testing.assert_close(table[i, j], torch.tensor(row + column, dtype=torch.float64))
    assert torch.equal(positions(2, 4, 8, like).view(2, 4, 8), table[:2, :4])  # of any size, without parameters
    half = positions(1, 3000, 8, torch.zeros((), dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, positions(1, 3000, 8, torch.zeros(())).bfloat16())


def test_tokens_are_told_apart_by_their_place_alone() -> None:
    blocks = Blocks(8, 2, 1)
    same = torch.rand(1, 8, 1, 1).expand(1, 8, 3, 4)
    output = blocks(same).flatten(2)
    assert torch.unique(output[0].T, dim=0).shape[0] == 12


def test_a_transformer_refuses_a_size_that_the_patch_does_not_divide() -> None:
    stage = Transformer.of((1, 6, 6), 8, patch=3)
    for refused in (lambda: stage(torch.rand(1, 1, 6, 8)), lambda: stage.output_shape((1, 6, 8))):
        with pytest.raises(InputError, match="patch 3 does not divide 6 x 8: choose from 1, 2"):
            refused()


def test_a_patch_of_one_pixel_merges_nothing_and_vectors_have_dense_stages() -> None:
    stage = Transformer.of((2, 3, 5), 8, patch=1)
    assert stage.encode(torch.rand(2, 2, 3, 5)).shape[1:] == stage.code_shape == (8, 3, 5)
    assert stage(torch.rand(2, 2, 3, 5)).shape == (2, 2, 3, 5)
    vectors = Dense.of((10,), 4, norm="batch")
    assert vectors.encode(torch.rand(3, 10)).shape[1:] == vectors.code_shape == (4,)
    assert vectors(torch.rand(3, 10)).shape == (3, 10)


def test_attention_is_in_the_count_of_operations() -> None:
    """Per token and block: 12 d^2 multiplications in its layers, and 2 N d to attend to N tokens."""
    stage = Transformer.of((1, 8, 8), 8, patch=2).to("meta")
    with FlopCounterMode(display=False) as counter:
        stage.encode(torch.empty(1, 1, 8, 8, device="meta"))
    n, d = 16, 8
    assert counter.get_total_flops() == 2 * (n * 4 * d + n * 12 * d * d + 2 * n * n * d)
