"""The contract of stages: every class found in stacked.stages is held to it, known ones in all their variants."""

from __future__ import annotations

import copy
import inspect
import io
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stacked.stages import kinds
from stacked.stages.dense import Dense
from stacked.stages.norms import NORMS
from stacked.stages.transformer import Transformer
from stacked.util.errors import InputError
from tests.helpers.stages import (
    CASES,
    KINDS,
    MAPS,
    SIZES,
    SMALL,
    VARIANTS,
    Variant,
    blobs,
    case_name,
    every_kind,
    every_variant,
    fitting,
    make,
    train,
)


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


@every_variant
def test_shapes_are_told_without_running_and_restored_exactly(case: Variant) -> None:
    for stage in fitting(case, SIZES):
        x = torch.rand(2, *stage.in_shape)
        code, switches = stage.encode_with_switches(x)
        assert tuple(code.shape[1:]) == stage.code_shape == stage.output_shape(stage.in_shape)
        assert stage.maps == (len(stage.code_shape) == 3)
        assert stage.decode(code, switches=switches).shape == x.shape
        assert stage.halves == kinds()[case[0]].halves_with(**dict(case[1]))
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

    assert torch.autograd.gradcheck(stage, (x[:1].detach().requires_grad_(),))  # by every value of one image
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
