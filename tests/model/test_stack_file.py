"""Files of whole stacks: what is loaded is what was saved, to the bit, and nothing else is written over or read."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from stacked import (
    AutoEncoder224,
    InputError,
    RunSpec,
    StackedAutoencoder,
    StackSpec,
    StageSpec,
    load_stack,
    save_stack,
)
from stacked.model.encoder import save_encoder
from stacked.model.stack import build, empty_stack, grow
from stacked.model.stack_file import FORMAT
from stacked.model.tensor_file import read, to_bytes
from stacked.stages.conv import Conv
from tests.helpers.runs import same_weights
from tests.helpers.stages import CASES, KINDS

MIXED = StackSpec(
    (
        StageSpec("conv-pool", 4, options={"unpool": "switches", "kernel": 5, "tied": True}),  # type: ignore[arg-type]
        StageSpec("residual", 8),
        StageSpec("dense", 5, "sigmoid", (("tied", True),), "softplus"),
    ),
    init="he",
    gain=2.0,
)


def used(spec: StackSpec, shape: tuple[int, ...]) -> StackedAutoencoder:
    """A stack as training leaves it: with statistics in its batch norms, maps channels-last, and frozen."""
    stack = StackedAutoencoder(shape)
    grow(stack, RunSpec(policy="joint", stack=spec), spec.depth)
    stack.train()(torch.rand(9, *shape))
    return stack.freeze()


def test_weights_of_a_file_are_aligned_in_memory_as_torch_aligns_them(tmp_path: Path) -> None:
    """In the file they begin anywhere: an odd number of bytes stands before a matrix."""
    tensors = {"a": torch.zeros(3, dtype=torch.uint8), "b": torch.rand(3, 5), "c": torch.rand(7), "d": torch.rand(4, 4)}
    (tmp_path / "file").write_bytes(to_bytes(tensors, {}))
    found = read(tmp_path / "file").tensors
    assert [tensor.data_ptr() % 64 for tensor in found.values()] == [0] * 4
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def check_same(stack: StackedAutoencoder, loaded: StackedAutoencoder) -> None:
    images = torch.rand(5, *stack.input_shape)
    assert same_weights(stack, loaded)
    assert loaded.spec == stack.spec
    assert not loaded.training
    assert torch.equal(loaded.encode(images), stack.eval().encode(images))
    assert torch.equal(loaded(images), stack(images))
    assert [p.stride() for p in loaded.parameters()] == [p.stride() for p in stack.parameters()]
    assert {each.device.type for each in [*loaded.parameters(), *loaded.buffers()]} == {"cpu"}
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_of_every_kind_loads_back_to_the_bit(kind: str, tmp_path: Path) -> None:
    variants = [options for name, options in CASES if name == kind]
    for options in variants:
        options = dict(options)
        norm = options.pop("norm", None)
        spec = StackSpec.of(kind, 8, 8, norm=norm, **options)
        shape = (
            (8,) if options.get("residual") else (3, 36, 36)
        )  # a residual dense stage reads as many values as it has units
        stack = used(spec, shape)
        save_stack(stack, tmp_path / "stack.safetensors")
        check_same(stack, load_stack(tmp_path / "stack.safetensors"))


def test_mixed_stacks_vectors_and_the_reference_load_back(tmp_path: Path) -> None:
    for number, stack in enumerate(
        (used(MIXED, (1, 13, 9)), used(StackSpec.of("dense", 6, 3), (12,)), AutoEncoder224((3, 32, 32)))
    ):
        stack.to(memory_format=torch.channels_last)
        save_stack(stack, tmp_path / str(number))
        loaded = load_stack(str(tmp_path / str(number)))
        check_same(stack, loaded)
        save_stack(loaded, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / str(number)).read_bytes()


def test_a_stack_knows_the_spec_of_its_stages() -> None:
    spec = replace(StackSpec.of("conv", 4, 6, 8, norm="group"), init="he", gain=2.0)
    stack = StackedAutoencoder((1, 12, 12))
    assert stack.spec is None
    grow(stack, RunSpec(policy="joint", stack=spec), 2)
    assert stack.spec == replace(spec, stages=spec.stages[:2])
    assert StackedAutoencoder((1, 12, 12), [stack.stages[0]]).spec == replace(spec, stages=spec.stages[:1])
    assert copy.deepcopy(stack).spec == stack.spec
    assert build(spec, (1, 12, 12)).spec == empty_stack(spec, (1, 12, 12)).spec == spec
    stack.grow(Conv.of(stack.latent_shape, 8))
    assert stack.spec is None
    one, other = build(spec, (1, 12, 12)), build(replace(spec, output="relu"), (1, 12, 12))
    assert StackedAutoencoder((1, 12, 12), [one.stages[0], other.stages[1]]).spec is None


def test_stages_made_by_hand_need_a_spec_that_fits_them(tmp_path: Path) -> None:
    path = tmp_path / "stack"
    stack = StackedAutoencoder((1, 8, 8), [Conv.of((1, 8, 8), 4, output="sigmoid", pixels=True)])
    with pytest.raises(InputError, match=r"were not made from one spec.*give the StackSpec"):
        save_stack(stack, path)
    for spec, reason in (
        (StackSpec.of("conv", 5), "size mismatch"),
        (StackSpec.of("conv", 4, 4), "Missing key"),
        (StackSpec.of("conv", 4, activation="tanh"), "its modules or activations differ"),
    ):
        with pytest.raises(InputError, match=f"cannot be saved with this spec .*{reason}"):
            save_stack(stack, path, spec)
    assert not path.exists()
    save_stack(stack, path, StackSpec.of("conv", 4))
    assert same_weights(load_stack(path), stack)
    assert load_stack(path).spec == StackSpec.of("conv", 4)


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    broken = build(StackSpec.of("conv", 4), (1, 8, 8))
    with torch.no_grad():
        next(broken.parameters())[0] = float("nan")
    changed = build(StackSpec.of("conv", 4), (1, 8, 8))
    changed.stages[0].encoder[2] = nn.GELU()
    for stack, reason in (
        (broken, "values that are not finite"),
        (build(StackSpec.of("conv", 4), (1, 8, 8)).double(), "is of torch.float64, not torch.float32"),
        (changed, "its modules or activations differ"),
    ):
        with pytest.raises(InputError, match=reason):
            save_stack(stack, tmp_path / "stack")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_a_stack_and_no_other_file(tmp_path: Path) -> None:
    path, stack = tmp_path / "stack", build(StackSpec.of("dense", 4), (1, 4, 4))
    save_stack(stack, path)
    other = build(StackSpec.of("dense", 5), (1, 4, 4))
    save_stack(other, path)
    assert same_weights(load_stack(path), other)
    save_encoder(tmp_path / "encoder", stack, StackSpec.of("dense", 4))
    (tmp_path / "text").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("encoder", "text", "link"):
        before = (tmp_path / name).read_bytes() if name != "link" else b""
        with pytest.raises(InputError, match=f"{name} exists already and is not a stack: give another path"):
            save_stack(stack, tmp_path / name)
        assert name == "link" or (tmp_path / name).read_bytes() == before


def test_files_of_other_kinds_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    path, spec = tmp_path / "stack", StackSpec.of("dense", 4)
    stack = build(spec, (1, 4, 4))
    save_encoder(path, stack, spec)
    with pytest.raises(
        InputError, match=r"is not a stack \(its format is 'stacked encoder 1'.*give a file that save_stack"
    ):
        load_stack(path)
    tensors = dict(stack.state_dict())
    header = {"format": FORMAT, "stack": read(path).texts["stack"], "input_shape": "[1, 4, 4]"}
    for changes, without, reason in (
        ({"input_shape": json.dumps([1, 1, 1, 4, 4])}, "", r"shape \[1, 1, 1, 4, 4\]"),
        ({"stack": "[]"}, "", "is not a StackSpec"),
        ({"more": "1"}, "", "its header does not have the fields"),
        ({}, "stages.0.decoder.0.bias", "Missing key"),
    ):
        path.write_bytes(to_bytes({k: v for k, v in tensors.items() if k != without}, header | changes))
        with pytest.raises(InputError, match=reason) as error:
            load_stack(path)
        assert "\n" not in str(error.value)
    path.write_bytes(to_bytes(tensors | {"more": torch.zeros(1)}, header))
    with pytest.raises(InputError, match="Unexpected key"):
        load_stack(path)
