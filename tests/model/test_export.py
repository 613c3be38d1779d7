"""What is exported computes what the encoder, the decoder or the whole stack computes."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from stacked import InputError, StackSpec, load_encoder, save_stack
from stacked.model.classifier import Classifier, save_classifier
from stacked.model.encoder import save_encoder
from stacked.model.export import FORMATS, OPSET, PARTS, export, main
from stacked.model.halves import Half
from stacked.model.regressor import Regressor
from stacked.model.stack import StackedAutoencoder, build

#: every kind of stage, on images it must round to fit where it can; conv and dense ones show stages that read codes
STACKS = {
    "conv": (StackSpec.of("conv", 4, 3), (1, 13, 13)),
    "conv-pool": (StackSpec.of("conv-pool", 3), (3, 9, 9)),
    "dense": (StackSpec.of("dense", 6, 3, norm="batch", tied=True), (1, 8, 8)),
    "residual": (StackSpec.of("residual", 3), (1, 16, 16)),
    "transformer": (StackSpec.of("transformer", 8), (1, 16, 16)),
}


@pytest.fixture(scope="module", autouse=True)
def one_registry() -> Iterator[None]:
    """ONNX operators are read once: torch parses the sources of all of them anew for each export, which is half of its time."""
    with pytest.MonkeyPatch.context() as patch:
        with suppress(ImportError, AttributeError):  # a torch that keeps it elsewhere
            registry = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
            patch.setattr(registry, "from_torchlib", staticmethod(cache(registry.from_torchlib)))
        yield


def stack(kind: str) -> StackedAutoencoder:
    torch.manual_seed(0)
    built = build(*STACKS[kind])
    built.train()(torch.rand(16, *built.input_shape))  # so that a batch norm has statistics of its own
    return built.eval()


def by_onnx(path: Path, images: Tensor, name: str = "images") -> Tensor:
    return torch.from_numpy(onnxruntime.InferenceSession(path).run(None, {name: images.numpy()})[0])


def part(stack: StackedAutoencoder, name: str) -> Half | StackedAutoencoder | Classifier:
    torch.manual_seed(1)
    found = {"encoder": stack.encoder, "decoder": stack.decoder, "autoencoder": stack}
    return found[name] if name in found else Classifier(stack, ("a", "b", "c"), "mlp", 5).eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((kind, "encoder") for kind in STACKS),
        *(
            pytest.param(kind, "autoencoder", marks=[] if kind in ("conv", "dense") else pytest.mark.slow)
            for kind in STACKS
        ),
        ("conv", "decoder"),
        ("conv", "classifier"),
        ("dense", "classifier"),
    ],
)
def test_both_formats_give_what_the_model_gives(kind: str, name: str, tmp_path: Path) -> None:
    whole = stack(kind)
    exporting, (given, returned) = part(whole, name), PARTS[name]
    for suffix in FORMATS:
        export(exporting, tmp_path / f"e{suffix}")
    model = onnx.load(tmp_path / "e.onnx")
    assert [(one.domain, one.version) for one in model.opset_import if not one.domain] == [("", OPSET)]
    assert [(one.name, two.name) for one, two in zip(model.graph.input, model.graph.output, strict=True)] == [
        (given, returned)
    ]
    program = torch.export.load(tmp_path / "e.pt2").module()
    for batch in (1, 5):
        read = torch.rand(batch, *whole.input_shape)
        read = whole.encode(read) if name == "decoder" else read
        expected = exporting(read)
        assert expected.std() > 0
        torch.testing.assert_close(program(read), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(by_onnx(tmp_path / "e.onnx", read, given), expected, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("unpool", [pytest.param("zeros", marks=pytest.mark.slow), "switches"])
def test_a_stack_that_needs_the_positions_of_maxima_is_exported_whole(unpool: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = build(StackSpec.of("conv-pool", 4, 3, unpool=unpool), (1, 9, 9)).eval()
    with pytest.raises(InputError, match="needs the positions of the maxima, which a code alone does not hold"):
        export(whole.decoder, tmp_path / "d.onnx")
    export(whole, tmp_path / "a.onnx")
    images = torch.rand(3, 1, 9, 9)
    torch.testing.assert_close(by_onnx(tmp_path / "a.onnx", images), whole(images), rtol=0, atol=1e-5)


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


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("encoder", "images [N, 1, 13, 13], floats in 0..1, to codes"),
        ("decoder", "codes [N, 3, 4, 4], floats, to images"),
        ("autoencoder", "images [N, 1, 13, 13], floats in 0..1, to their reconstructions"),
    ],
)
def test_the_command_exports_each_part_of_a_stack(name: str, says: str, tmp_path: Path, capsys: Any) -> None:
    whole, path = stack("conv"), tmp_path / "part.pt2"
    save_stack(whole, tmp_path / "stack.safetensors")
    assert main([str(tmp_path / "stack.safetensors"), str(path), "--part", name]) == 0
    assert capsys.readouterr() == (f"{path}: {says}\n", "")
    read = torch.rand(3, *part(whole, name).input_shape)
    torch.testing.assert_close(torch.export.load(path).module()(read), part(whole, name)(read), rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "images [N, 1, 8, 8], floats in 0..1, to logits of the classes a, b, c"),
        (["--part", "classifier"], "images [N, 1, 8, 8], floats in 0..1, to logits of the classes a, b, c"),
        (["--part", "encoder"], "images [N, 1, 8, 8], floats in 0..1, to codes"),
    ],
)
def test_the_command_exports_a_classifier_of_a_run(words: list[str], says: str, tmp_path: Path, capsys: Any) -> None:
    made, path = part(stack("dense"), "classifier"), tmp_path / "classifier-20.safetensors"
    assert isinstance(made, Classifier)
    save_classifier(path, made, STACKS["dense"][0])
    assert main([str(path), str(tmp_path / "c.pt2"), *words]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'c.pt2'}: {says}\n"
    images = torch.rand(3, 1, 8, 8)
    expected = made.encoder(images) if "encoder" in words else made(images)
    found = torch.export.load(tmp_path / "c.pt2").module()(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_other_modules_are_refused(tmp_path: Path) -> None:
    whole = stack("dense")
    for module in (torch.nn.Linear(3, 2), Regressor(whole, torch.zeros(1), torch.ones(1))):
        with pytest.raises(
            InputError, match=f"a {type(module).__name__} cannot be exported: give a StackedAutoencoder"
        ):
            export(module, tmp_path / "e.pt2")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_said_in_a_line(tmp_path: Path, capsys: Any) -> None:
    save_encoder(tmp_path / "encoder.safetensors", stack("dense"), STACKS["dense"][0])
    save_classifier(tmp_path / "classifier-1.safetensors", Classifier(stack("dense"), "ab"), STACKS["dense"][0])
    for words, says in (
        (
            ["classifier-1.safetensors", "e.onnx", "--part", "autoencoder"],
            "holds a classifier and no autoencoder: give a file that save_stack wrote, or --part classifier",
        ),
        (["encoder.safetensors", "e.onnx", "--part", "classifier"], "is not a classifier"),
        (
            ["encoder.safetensors", "e.onnx", "--part", "decoder"],
            "holds an encoder and no decoder: give a file that save_stack",
        ),
        (["none.safetensors", "e.onnx", "--part", "autoencoder"], "is not a stack"),
        (["encoder.safetensors", "e.h5"], "'e.h5' is not the name of an export: let it end in .pt2 or .onnx"),
        (["none.safetensors", "e.onnx"], "is not an encoder"),
        (["encoder.safetensors", "encoder.safetensors/e.pt2"], "cannot be written"),
    ):
        assert main([*(str(tmp_path / word) for word in words[:2]), *words[2:]]) == 2
        told = capsys.readouterr().err
        assert says in told
        assert told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classifier-1.safetensors", "encoder.safetensors"]


def test_without_onnx_its_extra_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else found(name, *rest))
    with pytest.raises(InputError, match=r"e.onnx needs the package onnx: pip install 'stacked\[onnx\]'"):
        export(stack("dense").encoder, tmp_path / "e.onnx")
    export(stack("dense").encoder, tmp_path / "e.pt2")
