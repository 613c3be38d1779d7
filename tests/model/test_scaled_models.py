"""Models of scaled floats: their files keep the scaling, damaged ones are refused, and models without one are as before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from stacked import InputError, StackedAutoencoder, StackSpec, load_classifier, load_encoder, load_stack, save_stack
from stacked.data.scaling import Scaling
from stacked.model.classifier import Classifier, save_classifier
from stacked.model.encoder import save_encoder
from stacked.model.export import described, export
from stacked.model.stack import build, laid_out
from stacked.model.tensor_file import read, to_bytes
from tests.helpers.floats import KINDS, examples

WIDE = 20_000
#: a table of more columns than fit the header of a file
GENES = Scaling(
    "standard", tuple(np.linspace(-1 / 3, 1e6, WIDE).tolist()), tuple(np.linspace(1e-9, 7 / 3, WIDE).tolist())
)


def scaled(kind: str) -> StackedAutoencoder:
    """A stack that was not trained, for one kind of data."""
    shape, spec = KINDS[kind]
    torch.manual_seed(0)
    stack = build(spec, shape)
    stack.scaling = Scaling.fit("standard", examples(*shape))
    laid_out(stack)  # as in training and in files: kernels for another layout can round differently
    return stack.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_files_keep_the_scaling_and_the_shape(kind: str, tmp_path: Path) -> None:
    stack, given = scaled(kind), examples(*KINDS[kind][0])[:5]
    spec = KINDS[kind][1]
    save_stack(stack, tmp_path / "stack")
    save_encoder(tmp_path / "encoder", stack, spec)
    classifier = Classifier(stack, ["a", "b"]).eval()
    save_classifier(tmp_path / "classifier", classifier, spec)
    again = load_stack(tmp_path / "stack")
    assert again.scaling == stack.scaling
    assert again.input_shape == stack.input_shape
    assert torch.equal(again.restored(given), stack.restored(given))
    assert torch.equal(load_encoder(tmp_path / "encoder").encode(given), stack.encoder.encode(given))
    assert torch.equal(load_classifier(tmp_path / "classifier").predict_proba(given), classifier.predict_proba(given))


def test_a_wide_table_fits_a_file(tmp_path: Path) -> None:
    stack = build(StackSpec.of("dense", 1, output="linear"), (WIDE,))
    stack.scaling = GENES
    save_stack(stack, tmp_path / "stack")
    assert load_stack(tmp_path / "stack").scaling == GENES


@pytest.mark.parametrize(
    ("changes", "header", "reason"),
    [
        ({"scaling.factor": torch.zeros(6).double()}, {}, "not all finite, with factors above 0"),
        ({"scaling.factor": -torch.ones(6).double()}, {}, "not all finite, with factors above 0"),
        ({"scaling.offset": torch.full((6,), torch.nan).double()}, {}, "not all finite"),
        ({"scaling.offset": torch.zeros(5).double()}, {}, "5 offsets and 6 factors do not fit"),
        (
            {"scaling.offset": torch.zeros(5).double(), "scaling.factor": torch.ones(5).double()},
            {},
            "a scaling of 5 columns",
        ),
        ({"scaling.offset": torch.zeros(6)}, {}, "its scaling is not of float64"),
        ({"scaling.offset": torch.zeros(1, 6).double()}, {}, "its scaling is not of float64"),
        ({"scaling.offset": None}, {}, "scaling.offset"),
        ({}, {"scaling": json.dumps("robust")}, "scale 'robust' is not known"),
        ({}, {"scaling": json.dumps(["standard"])}, "is not known"),
        ({}, {"scaling": None}, "Unexpected key"),
    ],
)
def test_damaged_scalings_are_refused(
    changes: dict[str, Any], header: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "encoder"
    save_encoder(path, scaled("vectors"), KINDS["vectors"][1])
    whole = read(path)
    tensors = {name: each for name, each in (whole.tensors | changes).items() if each is not None}
    texts = {name: each for name, each in (whole.texts | header).items() if each is not None}
    path.write_bytes(to_bytes(tensors, texts))
    with pytest.raises(InputError, match=reason):
        load_encoder(path)


def test_what_has_no_scaling_has_files_as_before(tmp_path: Path) -> None:
    stack = build(StackSpec.of("conv", 3), (1, 8, 8))
    save_encoder(tmp_path / "encoder", stack, StackSpec.of("conv", 3))
    content = read(tmp_path / "encoder")
    assert set(content.texts) == {"format", "stack", "input_shape"}
    assert set(content.tensors) == set(stack.encoder.state_dict())
    assert load_encoder(tmp_path / "encoder").scaling is None


def test_reconstructions_are_in_the_units_of_the_data_and_leave_the_mode_alone() -> None:
    stack, given = scaled("signals"), examples(2, 16)
    assert stack.scaling is not None
    read_as = stack.scaling.scaled(torch.from_numpy(given))
    for training in (False, True):
        stack.train(training)
        with torch.no_grad():
            wanted = {depth: stack.eval().reconstruct(read_as, depth) for depth in (1, None)}
        stack.train(training)
        for depth, value in wanted.items():
            torch.testing.assert_close(stack.restored(given, depth), stack.scaling.in_units(value))
        assert all(module.training == training for module in stack.modules())
    images = build(StackSpec.of("conv", 3), (1, 8, 8)).eval()
    pixels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(images.restored(pixels), images(pixels.float() / 255))


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        *((kind, lambda x: x[0], "cannot be encoded") for kind in KINDS),
        *((kind, lambda x: x * np.nan, "values that are not finite cannot be encoded") for kind in KINDS),
        ("vectors", lambda x: x[:, :5], r"shape \[90, 5\] cannot be encoded: give floats of shape \[N, 6\]"),
        ("signals", lambda x: x[:, :1], r"shape \[90, 1, 16\] cannot be encoded: give floats of shape \[N, 2, 16\]"),
        ("vectors", lambda x: x + 0j, "data of complex128 and shape"),
        ("vectors", lambda x: x.astype(str), "cannot be encoded"),
        ("vectors", lambda x: x.tolist(), "a list cannot be encoded"),
    ],
)
def test_other_data_are_refused(kind: str, change: Callable[[Any], Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        scaled(kind).encoder.encode(change(examples(*KINDS[kind][0])))


def test_whole_numbers_are_numbers_and_not_pixels() -> None:
    """To a stack of floats, bytes too are values in the units of the data."""
    stack = scaled("vectors")
    whole = examples(6).round().clip(0, 255)
    for dtype in (np.uint8, np.int64, np.float32):
        assert torch.equal(stack.encoder.encode(whole.astype(dtype)), stack.encoder.encode(whole))


def test_exports_say_what_their_floats_are() -> None:
    stack = scaled("vectors")
    assert described(stack.encoder).startswith(
        "examples [N, 6], floats less the mean and divided by the standard deviation"
    )
    standard = " less the mean and divided by the standard deviation of the training rows (the run's scaling.json)"
    assert described(stack.decoder) == f"codes [N, 3], floats, to examples{standard}"
    classifier = Classifier(stack, ("a", "b"))
    assert described(classifier) == f"examples [N, 6], floats{standard}, to logits of the classes a, b"
    stack.scaling = None  # of floats that were not scaled
    assert described(stack) == "examples [N, 6], floats, to their reconstructions"
    stack.scaling = Scaling()
    assert described(stack.encoder) == "examples [N, 6], floats, to codes"
    assert described(stack) == "examples [N, 6], floats, to their reconstructions"


def test_vectors_without_a_scaling_have_any_range() -> None:
    encoder = build(StackSpec.of("dense", 3, output="linear"), (6,)).encoder.eval()
    rows = torch.from_numpy(examples(6)).float()
    with torch.no_grad():
        assert torch.equal(encoder.encode(rows), encoder(rows))


@pytest.mark.parametrize("kind", ["vectors", "signals", "volumes"])
def test_exports_read_scaled_floats_of_every_rank(kind: str, tmp_path: Path) -> None:
    stack = scaled(kind)
    assert stack.scaling is not None
    x = stack.scaling.scaled(torch.from_numpy(examples(*KINDS[kind][0])[:3]))
    with torch.no_grad():
        wanted = stack.encoder(x)
    export(stack.encoder, tmp_path / "encoder.pt2")
    torch.testing.assert_close(torch.export.load(tmp_path / "encoder.pt2").module()(x), wanted)
    export(stack.encoder, tmp_path / "encoder.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-5)
