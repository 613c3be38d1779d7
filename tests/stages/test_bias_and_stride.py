"""Stages without biases, and convolutions that keep the size: against torch's modules, and in a stack."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked import InputError, RunSpec, StackSpec
from stacked.cost.phase_cost import phase_cost
from stacked.model.stack import build, check_size, empty_stack
from stacked.spec import Optimisation, StageSpec
from stacked.stages import Stage, kinds
from tests.helpers.trainable import spec, trains


def stage_of(kind: str, shape: tuple[int, ...] = (3, 7, 6), **options: Any) -> Stage:
    how: dict[str, Any] = {"activation": "linear", "output": "linear", "norm": "none"}
    return kinds()[kind].of(shape, 5, **(how | options))


def paths(stage: Stage, x: Tensor, code: Any, restored: Any) -> None:
    """The stage encodes and decodes as the two functions do, to the bit."""
    found, switches = stage.encode_with_switches(x)
    assert torch.equal(found, code(x))
    assert torch.equal(stage.decode(found, switches=switches), restored(found))


@pytest.mark.parametrize("tied", [False, True])
def test_dense_without_bias_is_two_matrices(tied: bool) -> None:
    stage, x = stage_of("dense", bias=False, tied=tied), torch.rand(4, 3, 7, 6)
    weight = stage.get_parameter("encoder.1.weight")
    back = weight.T if tied else stage.get_parameter("decoder.0.weight")
    paths(stage, x, lambda x: F.linear(x.flatten(1), weight), lambda code: F.linear(code, back).view(4, 3, 7, 6))
    assert not any("bias" in name for name in stage.state_dict())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (1, 5), (2, 3)])
def test_conv_is_torchs_with_and_without_bias_and_stride(stride: int, kernel: int, bias: bool, tied: bool) -> None:
    for size in ((8, 6), (7, 5), (7, 6)):
        stage, x = (
            stage_of("conv", (3, *size), bias=bias, tied=tied, stride=stride, kernel=kernel),
            torch.rand(4, 3, *size),
        )
        half, extra = kernel // 2, [1 - n % 2 if stride == 2 else 0 for n in size]
        conv = nn.Conv2d(3, 5, kernel, stride, half, bias=bias)
        back = nn.ConvTranspose2d(5, 3, kernel, stride, half, output_padding=extra, bias=bias)  # type: ignore[arg-type]
        conv.load_state_dict(stage.encoder[0].state_dict())
        if tied:
            back.load_state_dict({"weight": conv.weight} | ({"bias": torch.zeros(3)} if bias else {}))
        else:
            back.load_state_dict(stage.decoder[0].state_dict())
        assert torch.equal(stage.encode(x), conv(x))
        assert stage.code_shape == (5, *(-(-n // stride) for n in size))
        code = stage.encode(x)
        # torch is slower to odd sizes and equal up to rounding there
        torch.testing.assert_close(stage.decode(code), back(code), rtol=1e-5, atol=1e-6)
        assert stage.decode(code).shape == x.shape


def test_no_bias_is_the_bias_0() -> None:
    for kind in ("dense", "conv", "conv-pool"):
        with_, without = stage_of(kind), stage_of(kind, bias=False)
        with_.load_state_dict(without.state_dict(), strict=False)
        with torch.no_grad():
            for name, p in with_.named_parameters():
                if name.endswith("bias"):
                    p.zero_()
        x = torch.rand(4, 3, 7, 6)
        assert torch.equal(with_(x), without(x))


def test_initial_weights_do_not_depend_on_the_bias_where_biases_are_0() -> None:
    stacks = []
    for bias in (False, True):
        torch.manual_seed(0)
        stacks.append(build(StackSpec.of("conv", 4, init="he", norm="none", bias=bias), (1, 8, 8)))
    without, with_ = (stack.state_dict() for stack in stacks)
    assert set(with_) - set(without) == {"stages.0.encoder.0.bias", "stages.0.decoder.0.bias"}


KEEPS = StackSpec(
    (
        StageSpec("conv", 4, options=(("stride", 1),)),
        StageSpec("conv", 6),
        StageSpec("conv", 6, options=(("bias", False), ("stride", 1), ("tied", True))),
    )
)


def test_a_stage_that_keeps_the_size_is_not_counted_as_a_halving() -> None:
    stack = build(KEEPS, (1, 2, 3))
    assert stack.shapes((1, 2, 3)) == [(1, 2, 3), (4, 2, 3), (6, 1, 2), (6, 1, 2)]
    assert [stage.halves for stage in stack.stages] == [False, True, False]
    with pytest.raises(InputError, match=r"images of 1 x 3 pixels are too small for 1 conv stages, .* at least 2 x 2"):
        check_size(KEEPS, (1, 1, 3))
    one = build(StackSpec.of("conv", 4, stride=1), (1, 1, 1))
    assert one(torch.rand(2, 1, 1, 1)).shape == (2, 1, 1, 1)
    with pytest.raises(InputError, match="too small for 1 conv stages"):
        build(StackSpec.of("conv", 4), (1, 1, 1))


def test_it_reads_images_of_other_sizes_and_trains_and_is_exported() -> None:
    stack = build(KEEPS, (1, 12, 12)).eval()
    x = torch.rand(3, 1, 9, 7)
    assert stack(x).shape == x.shape
    assert torch.equal(stack.encoder(x), stack.encode(x))
    read = torch.rand(2, 1, 12, 12)
    program = torch.export.export(stack.encoder, (read,), strict=False)
    assert torch.equal(program.module()(read), stack.encode(read))
    trains(spec("greedy+finetune", KEEPS))
    trains(spec("greedy-pixels", StackSpec.of("conv-pool", 4, 6, bias=False, tied=True)))


def test_its_cost_is_that_of_its_size() -> None:
    """Four times the places of a stage that halves, so four times the multiplications."""
    flops = []
    for stride in (1, 2):
        run = RunSpec("greedy", stack=StackSpec.of("conv", 8, stride=stride), optimisation=Optimisation(batch_size=16))
        flops.append(phase_cost(run, (3, 12, 12), run.phases()[0], 64).update.flop)
    assert flops[0] == 4 * flops[1]
    assert empty_stack(KEEPS, (1, 12, 12)).latent_shape == (6, 6, 6)


def test_bias_takes_true_or_false_and_stride_a_number() -> None:
    with pytest.raises(InputError, match="bias 'no' of a conv stage is not allowed: give true or false"):
        StackSpec.of("conv", 4, bias="no")
    with pytest.raises(InputError, match="stride True of a conv stage is not allowed"):
        StackSpec.of("conv", 4, stride=True)
    with pytest.raises(
        InputError,
        match="of a conv-pool stage 'stride' is not known; did you mean 'tied'\\? Choose from kernel, tied, unpool, bias",
    ):
        StackSpec.of("conv-pool", 4, stride=1)
