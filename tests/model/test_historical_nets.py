"""The convolutional nets of Masci et al. 2011 and Paine et al. 2014, written down as specs: what they are, and that they train.

Both have two stages that pool and a third that does not. Convolutions keep the size here (padding of half the kernel); those of
the papers are valid ones and full ones back.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stacked import RunSpec, StackSpec
from stacked.model.stack import StackedAutoencoder, build
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation, StageSpec
from stacked.training.codes import StoredInputs
from stacked.training.phase_loss import PhaseLoss
from stacked.training.pretrain import pretrain
from tests.helpers.splits import toy_splits


def masci(widths: tuple[int, int, int]) -> StackSpec:
    """100 maps of 5 x 5 and pooling, 150 of 5 x 5 and pooling, 200 of 3 x 3; scaled tanh; flipped filters; Masci et al. 2011.

    While a stage trains, its pooling layer erases all values that are not maximal: unpool="zeros".
    """
    pooled = {"kernel": 5, "tied": True, "unpool": "zeros"}
    kinds = (("conv-pool", pooled), ("conv-pool", pooled), ("conv", {"kernel": 3, "stride": 1, "tied": True}))
    stages = [
        StageSpec(kind, width, "scaled-tanh", tuple(options.items()))
        for width, (kind, options) in zip(widths, kinds, strict=True)
    ]
    return StackSpec(tuple(stages), output="scaled-tanh", norm="none")


def paine(widths: tuple[int, int, int]) -> StackSpec:
    """96 maps of 5 x 5 and pooling, 144 of 5 x 5 and pooling, 192 of 3 x 3; Paine et al. 2014.

    Rectifiers, no biases, flipped filters, linear decoders, values put back where the maxima were (unpool="switches").
    """
    pooled = {"kernel": 5, "tied": True, "bias": False, "unpool": "switches"}
    last = {"kernel": 3, "stride": 1, "tied": True, "bias": False}
    kinds = (("conv-pool", pooled), ("conv-pool", pooled), ("conv", last))
    stages = [
        StageSpec(kind, width, "relu", tuple(options.items()), "linear")
        for width, (kind, options) in zip(widths, kinds, strict=True)
    ]
    return StackSpec(tuple(stages), output="linear", norm="none")


def parameters(stack: StackedAutoencoder) -> int:
    return sum(p.numel() for p in stack.parameters())


def test_the_nets_have_the_published_sizes() -> None:
    """Filters are shared by both halves; Masci's have a bias for each map of the code and of the reconstruction."""
    of_masci, of_paine = build(masci((100, 150, 200)), (1, 28, 28)), build(paine((96, 144, 192)), (3, 32, 32))
    assert of_masci.shapes((1, 28, 28))[1:] == [(100, 14, 14), (150, 7, 7), (200, 7, 7)]
    assert of_paine.shapes((3, 32, 32))[1:] == [(96, 16, 16), (144, 8, 8), (192, 8, 8)]
    filters = 25 * 1 * 100 + 25 * 100 * 150 + 9 * 150 * 200
    assert parameters(of_masci) == filters + (100 + 150 + 200) + (1 + 100 + 150)
    assert parameters(of_paine) == 25 * 3 * 96 + 25 * 96 * 144 + 9 * 144 * 192
    assert not any("bias" in name for name in of_paine.state_dict())


def test_paines_reconstruction_is_written_out_with_torchs_functions() -> None:
    """Filters, switches of both pooling layers, and the same filters back; the third layer has neither."""
    torch.manual_seed(0)
    stack = build(paine((4, 5, 6)), (3, 12, 12)).eval()
    x = torch.rand(2, 3, 12, 12)
    one, two, three = (stage.encoder[0].weight for stage in stack.stages)
    pooled_one, places_one = F.max_pool2d(F.conv2d(x, one, padding=2).relu(), 2, return_indices=True)
    pooled_two, places_two = F.max_pool2d(F.conv2d(pooled_one, two, padding=2).relu(), 2, return_indices=True)
    code = F.conv2d(pooled_two, three, padding=1).relu()
    back = F.conv_transpose2d(code, three, padding=1)
    back = F.conv_transpose2d(F.max_unpool2d(back, places_two, 2), two, padding=2)
    back = F.conv_transpose2d(F.max_unpool2d(back, places_one, 2), one, padding=2)
    torch.testing.assert_close(stack.encode(x), code)
    torch.testing.assert_close(stack(x), back, rtol=1e-4, atol=1e-6)


def test_the_phases_of_paine_reconstruct_the_image_through_frozen_stages_with_their_switches() -> None:
    """Stage 3 learns; its loss is that of the whole reconstruction, and no filter below it has a gradient."""
    torch.manual_seed(0)
    spec = RunSpec("greedy-images", stack=paine((4, 5, 6)), optimisation=Optimisation(batch_size=8))
    phase = spec.phases(4)[2]
    stack = build(spec.stack, (3, 12, 12)).learn_only(3, 3).train()
    x = torch.rand(8, 3, 12, 12)
    loss = PhaseLoss(stack, phase, spec.optimisation)(x, None, 0)
    torch.testing.assert_close(loss, (stack(x) - x).square().mean())
    loss.backward()
    grads = [stage.encoder[0].weight.grad for stage in stack.stages]
    assert [grad is None for grad in grads] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("masci", "greedy"),
        ("masci", "greedy+finetune"),
        ("paine", "greedy-images"),
        ("paine", "greedy-images+finetune"),
    ],
)
def test_a_few_updates_of_every_stage_lower_the_error(name: str, policy: str) -> None:
    """From random filters that are small, so that the untrained error is that of an image of zeros."""
    images = toy_splits(64).train.inputs.float() / 255
    stack = {"masci": masci((6, 8, 10)), "paine": paine((6, 8, 10))}[name]
    how = Optimisation(lr=3e-3, batch_size=16, optimiser="adam", schedule="constant")
    spec = RunSpec(policy, stack=stack, budget=Budget(20, 30, "updates"), optimisation=how)
    untrained = images.square().mean()
    errors = {}

    def measure(phase: Any, grown: StackedAutoencoder) -> None:
        with torch.no_grad():
            errors[phase.name] = float((grown.eval()(images) - images).square().mean())

    trained = pretrain(spec, StoredInputs(images), (1, 12, 12), after=measure)
    assert trained.depth == 3
    assert errors["stage 1"] < 0.5 * untrained
    assert errors["stage 3"] < untrained
    if "finetune" in policy:
        assert errors["fine-tuning"] < errors["stage 3"]


def test_mascis_net_ends_in_300_units_and_a_softmax_and_runs_whole() -> None:
    """The classifier that is fine-tuned from the three stages: a layer of 300 units on the code."""
    spec = RunSpec(
        "greedy",
        stack=masci((4, 5, 6)),
        budget=Budget(4, 4, "updates"),
        optimisation=Optimisation(batch_size=32),
        evaluation=Evaluation(every=4, images=40, probe_every=100, probe_images=40, probe_labels=40),
        classification=Classification(labels=(None,), updates=4, checks=2, lrs=(1e-3,), head="mlp", head_width=300),
    )
    result = run(spec, toy_splits(150))
    layers = [each for each in result.classifiers["all"].modules() if isinstance(each, nn.Linear)]
    assert [(each.in_features, each.out_features) for each in layers] == [(6 * 3 * 3, 300), (300, 4)]
    assert 0 <= result.row["final/classifier_acc_all"] <= 1
