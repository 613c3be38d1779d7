"""What is exported computes what the encoder computes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from stacked import InputError, StackSpec, load_encoder
from stacked.model.encoder import save_encoder
from stacked.model.export import OPSET, export, main
from stacked.model.stack import StackedAutoencoder, build

#: every kind of stage, on images it must round to fit where it can
STACKS = {
    "conv": (StackSpec.of("conv", 4, 3), (1, 13, 13)),
    "conv-pool": (StackSpec.of("conv-pool", 4, 3), (3, 9, 9)),
    "dense": (StackSpec.of("dense", 6, 3, norm="batch", tied=True), (1, 8, 8)),
    "residual": (StackSpec.of("residual", 4, 3), (1, 16, 16)),
    "transformer": (StackSpec.of("transformer", 8, 8), (1, 16, 16)),
}


def stack(kind: str) -> StackedAutoencoder:
    torch.manual_seed(0)
    built = build(*STACKS[kind])
    built.train()(torch.rand(16, *built.input_shape))  # so that a batch norm has statistics of its own
    return built.eval()


def by_onnx(path: Path, images: Tensor) -> Tensor:
    return torch.from_numpy(onnxruntime.InferenceSession(path).run(None, {"images": images.numpy()})[0])


@torch.no_grad()
@pytest.mark.parametrize("kind", STACKS)
def test_both_formats_give_the_codes(kind: str, tmp_path: Path) -> None:
    encoder = stack(kind).encoder
    for name in ("e.pt2", "e.onnx"):
        export(encoder, tmp_path / name)
    model = onnx.load(tmp_path / "e.onnx")
    assert [(one.domain, one.version) for one in model.opset_import if not one.domain] == [("", OPSET)]
    program = torch.export.load(tmp_path / "e.pt2").module()
    for batch in (1, 5):
        images = torch.rand(batch, *encoder.input_shape)
        expected = encoder(images)
        assert expected.std() > 0
        torch.testing.assert_close(program(images), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(by_onnx(tmp_path / "e.onnx", images), expected, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["e.pt2", "e.onnx"])
def test_an_encoder_in_training_mode_is_exported_in_eval_mode(name: str, tmp_path: Path) -> None:
    encoder = stack("dense").encoder  # with batch norms
    images = torch.rand(5, *encoder.input_shape)
    expected, state = encoder(images), {key: value.clone() for key, value in encoder.state_dict().items()}
    assert not torch.allclose(stack("dense").encoder.train()(images), expected, atol=0.01)
    export(encoder.train(), tmp_path / name)
    path = tmp_path / name
    found = torch.export.load(path).module()(images) if path.suffix == ".pt2" else by_onnx(path, images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())


@torch.no_grad()
def test_the_command_exports_the_encoder_of_a_run(tmp_path: Path, capsys: Any) -> None:
    save_encoder(tmp_path / "encoder.safetensors", stack("dense"), STACKS["dense"][0])
    assert main([str(tmp_path / "encoder.safetensors"), str(tmp_path / "e.onnx")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'e.onnx'}: images [N, 1, 8, 8], floats in 0..1, to codes\n"
    images = torch.rand(3, 1, 8, 8)
    expected = load_encoder(tmp_path / "encoder.safetensors")(images)
    torch.testing.assert_close(by_onnx(tmp_path / "e.onnx", images), expected, rtol=0, atol=1e-5)


def test_what_cannot_be_exported_is_said_in_a_line(tmp_path: Path, capsys: Any) -> None:
    save_encoder(tmp_path / "encoder.safetensors", stack("dense"), STACKS["dense"][0])
    for words, says in (
        (["encoder.safetensors", "e.h5"], "'e.h5' is not the name of an export: let it end in .pt2 or .onnx"),
        (["none.safetensors", "e.onnx"], "is not an encoder"),
        (["encoder.safetensors", "encoder.safetensors/e.pt2"], "cannot be written"),
    ):
        assert main([str(tmp_path / word) for word in words]) == 2
        told = capsys.readouterr().err
        assert says in told
        assert told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.safetensors"]


def test_without_onnx_its_extra_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else found(name, *rest))
    with pytest.raises(InputError, match=r"e.onnx needs the package onnx: pip install 'stacked\[onnx\]'"):
        export(stack("dense").encoder, tmp_path / "e.onnx")
    export(stack("dense").encoder, tmp_path / "e.pt2")
