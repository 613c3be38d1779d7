"""Anomaly detection: a stack trained only on normal examples scores how much an example differs from them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked.apps.calibration import SCORES, Calibration, Values, fewest, vary
from stacked.apps.own_data import Data, as_stages_read, check_spec, new_examples, output_for, read_examples
from stacked.evaluation.evaluate import varies
from stacked.model.model_file import ANY, kind_of, reading, write
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.progress import each
from stacked.runtime.rng import generator
from stacked.runtime.settings import own_settings
from stacked.runtime.unlogged import unlogged
from stacked.spec import Budget, Optimisation, RunSpec, StackSpec
from stacked.stages.stage import Shape
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from stacked.util.checks import choice, finite, need
from stacked.util.chunks import chunks

FORMAT = "stacked detector 2"
#: of files in which score "both" was another one
FORMER_FORMAT = "stacked detector 1"
#: the most images that are scored at a time
BATCH = 250
#: lower limit of the false-alarm rate and the held-out fraction: one image in a billion
LEAST = 1e-9
#: the most values of a code for which a covariance is estimated; larger maps are averaged over their positions
MOST_VALUES = 1024


def default_spec(shape: Shape | None = None, output: str = "sigmoid") -> RunSpec:
    """Return the default spec: two convolutional stages and a code of 32, with a fifth of the values masked.

    shape: that of an example (None: of an image); vectors [D] get dense stages of 64 and of at most D/2 and 32 units. output: the
    activation of the reconstruction. A code large enough to hold the example would reconstruct anomalies as well. The budget is
    in updates, so that few examples suffice.
    """
    is_vector = shape is not None and len(shape) == 1
    first = StackSpec.of("dense", 64) if is_vector else StackSpec.of("conv", 16, 32)
    code = min(32, max(1, math.prod(shape or ()) // 2)) if is_vector else 32
    stages = *first.stages, *StackSpec.of("dense", code, activation="linear").stages
    return RunSpec(
        stack=StackSpec(stages, output),
        budget=Budget((600.0,), 600.0, "updates"),
        optimisation=Optimisation(batch_size=64, corruption="masking", corruption_level=(0.2,)),
    )


def check_count(
    images: int, held_out: float, false_alarms: float, what: str = "images", is_own_rate: bool = False
) -> int:
    """Return how many normal images are held out for calibration; InputError if these, or the remaining ones, are too few.

    is_own_rate: whether the caller can choose another rate, which the message then names.
    """
    held, least = round(held_out * images), fewest(false_alarms)
    lowest = math.ceil(1000 / (held + 1)) / 1000
    other = f", or Detector(false_alarms={lowest:g}) or a larger held_out" if is_own_rate and 0 < held < least else ""
    need(
        least <= held < images,
        f"{held} held-out images are too few for a false-alarm rate of {false_alarms:g}: give at least {least} of them, which "
        f"takes {math.ceil(least / held_out)} {what} instead of {images}{other}",
    )
    return held


class Detector:
    """Detects examples that differ from those it was fitted to, with the interface of scikit-learn's detectors.

    Examples are images, uint8 [N, C, H, W], or bytes or floats in any units: vectors [N, D], signals [N, C, L], images or volumes
    [N, C, D, H, W], as tensors or NumPy arrays, or rows of a pandas DataFrame with numbers and categories. Below, an image stands
    for any example, and a pixel for any value. Errors of floats are in the scale in which the stack reads them.

    spec: the stack and its training (None: `default_spec` for the data). score: "reconstruction": mean squared error per pixel.
    "density": squared Mahalanobis distance of the code from those of the training images, divided by its number of values, with
    the shrunk covariance of Ledoit & Wolf 2004 (maps of more than 1,024 values are averaged over positions). "both": the larger
    of the two, after the logarithm of each was standardised by the median and the 90 % quantile of the calibration images, so
    that either alone can raise an alarm. false_alarms: fraction of normal images that `predict` may call anomalous, in (0, 1).
    held_out: fraction of the images of `fit` that calibrate p-values and are not trained on. device: device to train on.

    A detector that was fitted to uint8 images also scores floats on a scale of 0 to 1.

    Raises InputError for invalid parameters.
    """

    def __init__(
        self,
        spec: RunSpec | None = None,
        *,
        score: str = "both",
        false_alarms: float = 0.05,
        held_out: float = 0.2,
        device: str = "cpu",
    ) -> None:
        choice(score, SCORES, "score")
        for name, value in (("false_alarms", false_alarms), ("held_out", held_out)):
            need(
                finite(value) and LEAST < value < 1,
                f"{name} {value} is not allowed: give a number between {LEAST} and 1",
            )
        self._given, self.spec = spec, spec or default_spec()
        self.kind, self.device = score, device
        self.false_alarms, self.held_out = float(false_alarms), float(held_out)
        self.stack: StackedAutoencoder | None = None

    @own_settings()
    def fit(self, images: Data, *, scale: str | None = None, missing: str | None = None) -> Detector:
        """Train on normal images, and calibrate on a held-out fraction of them, drawn with the spec's seed.

        scale: how floats are scaled, and missing: how missing values of a DataFrame are filled in, both as in `Splits.of` and
        fitted to the images that are trained on; they are kept with the detector. Raises InputError if there are too few images
        for the false-alarm rate, or if scores of normal images are useless (as for copies of one image, or codes that do not
        vary), and Diverged if a loss is not finite.
        """
        images = read_examples(images)
        count = check_count(len(images), self.held_out, self.false_alarms, is_own_rate=True)
        order = torch.randperm(len(images), generator=generator(self.spec.seed, "calibration"))
        images, scaling = as_stages_read(images, order[count:], scale, missing)
        need(
            self.kind == "reconstruction" or varies(images),
            f"the {len(images)} normal images are all equal, so that their codes have no density: give images that differ, or "
            "score 'reconstruction'",
        )
        self.spec = self._given or default_spec(tuple(images.shape[1:]), output_for(images))
        check_spec(self.spec, images, scaling)
        normal, held = (StoredInputs(images, rows=rows) for rows in (order[count:], order[:count]))
        self.stack = pretrain(self.spec, normal, tuple(images.shape[1:]), device=self.device).cpu()
        self.stack.scaling = scaling
        self._fit_density(normal)
        self._calibrate(self._parts(held))
        return self

    @unlogged()
    def _fit_density(self, normal: StoredInputs) -> None:
        from sklearn.covariance import LedoitWolf

        codes = self._by_batch(normal, lambda x: summary(self._fitted.encode(x)))
        need(bool(np.isfinite(codes).all()), "codes of normal images are not all finite: give a lower learning rate")
        if vary(codes):
            shape = LedoitWolf().fit(codes.astype(np.float64))
            self.mean, self.precision = shape.location_, shape.precision_
        else:  # the covariance would consist of rounding errors
            self.mean, self.precision = codes.mean(0, dtype=np.float64), np.zeros((codes.shape[1],) * 2)

    def _calibrate(self, held: Values) -> None:
        """Keep errors and densities of the calibration images [2, n]; InputError if the score of normal images is useless."""
        need(
            self.kind == "reconstruction" or bool(self.precision.any() and np.isfinite(held[1]).all()),
            f"normal images all have the same code, so that score {self.kind!r} is not defined: give other images or another "
            "spec, or score 'reconstruction'",
        )
        self.calibration = Calibration(self.kind, held)

    @property
    def _fitted(self) -> StackedAutoencoder:
        need(self.stack is not None, "this detector is not fitted: call fit, or load one")
        assert self.stack is not None
        return self.stack

    @torch.no_grad()
    def _by_batch(self, images: Data | StoredInputs, function: Callable[[Tensor], Tensor]) -> NDArray[Any]:
        stack = self._fitted
        kind = "uint8 images" if stack.scaling is None else "numbers"
        wanted = f"{kind} of {list(stack.input_shape)}, like those that this detector was fitted to"
        floats = (
            images
            if isinstance(images, StoredInputs)
            else StoredInputs(new_examples(stack, images, "cannot be scored", wanted))
        )
        need(
            floats.shape == stack.input_shape,
            f"images of shape {list(floats.shape)} cannot be scored: give {wanted}",
        )
        indices = chunks(len(floats), stack.widest(floats.shape), BATCH)
        parts = [function(floats(index)) for index in each(indices, "scored", "batches of images")]
        return torch.cat(parts).numpy() if parts else np.zeros(0)

    @own_settings()
    def heat_map(self, images: Data) -> NDArray[np.float32]:
        """Return the squared error at each pixel, averaged over channels, [N, H, W]; of vectors that of each value, [N, D]."""
        is_map = len(self._fitted.input_shape) > 1

        def errors(x: Tensor) -> Tensor:
            found = (self._fitted.reconstruct(x) - x).square()
            return found.mean(1) if is_map else found

        return self._by_batch(images, errors)

    def _parts(self, images: Data | StoredInputs) -> Values:
        """Return reconstruction errors and densities [2, N], from one pass."""

        def both(x: Tensor) -> Tensor:
            code, switches = self._fitted.encode_with_switches(x)
            error = (self._fitted.decode(code, switches=switches) - x).square().flatten(1).mean(1, dtype=torch.float64)
            off = summary(code).double() - torch.from_numpy(self.mean)
            far = torch.einsum("ni,ij,nj->n", off, torch.from_numpy(self.precision), off) / len(self.mean)
            return torch.stack([error, far], 1)

        return self._by_batch(images, both).reshape(-1, 2).T

    @own_settings()
    def score(self, images: Data) -> Values:
        """Return anomaly scores, float64 [N]: the greater, the less like normal images; infinite where they are not finite.

        Raises InputError for images of another shape.
        """
        parts = self._parts(images)
        return self.calibration.score(parts)

    @own_settings()
    def scored_by(self, score: str) -> Detector:
        """Return the same detector with another of the three scores, calibrated for it."""
        choice(score, SCORES, "score")
        other = copy.copy(self)
        other.kind = score
        other._calibrate(self.calibration.held)
        return other

    @own_settings()
    def p_value(self, images: Data) -> Values:
        """Return the conformal p-values [N] in (0, 1]: the fraction of calibration images and the image that score as high.

        For a normal image that is exchangeable with the calibration images, the probability of a p-value of at most α is at most
        α, for every α (Vovk, Gammerman & Shafer 2005, section 2.2).
        """
        parts = self._parts(images)
        return self.calibration.p_value(parts)

    @own_settings()
    def score_and_p_value(self, images: Data) -> tuple[Values, Values]:
        """Return what `score` and `p_value` return, in one pass over the images."""
        parts = self._parts(images)
        return self.calibration.score_and_p_value(parts)

    @own_settings()
    def predict(self, images: Data) -> NDArray[np.bool_]:
        """Return which images [N] are anomalous; on average over calibrations at most `false_alarms` of normal ones."""
        return self.p_value(images) <= self.false_alarms

    @own_settings()
    def save(self, path: str | Path) -> None:
        """Write the detector to a file; InputError if it cannot be written."""
        tensors = {f"stack.{name}": tensor for name, tensor in self._fitted.state_dict().items()}
        arrays = {"mean": self.mean, "precision": self.precision, "held": self.calibration.held}
        tensors |= {name: torch.from_numpy(np.asarray(array, dtype=np.float64)) for name, array in arrays.items()}
        header = {"score": self.kind, "false_alarms": self.false_alarms, "held_out": self.held_out}
        write(Path(path), FORMAT, tensors, self.spec.stack, self._fitted.input_shape, header, self._fitted.scaling)

    @classmethod
    @own_settings()
    def load(cls, path: str | Path) -> Detector:
        """Return a detector that `save` wrote; the file need not be trusted.

        Raises InputError if it is invalid, and if an earlier version wrote it for score "both", which was another score then.
        """
        what = "a detector {reason}: give a file that Detector.save wrote"
        is_former = kind_of(Path(path)) == FORMER_FORMAT
        kind = FORMER_FORMAT if is_former else FORMAT
        with reading(path, kind, what, ("score", "false_alarms", "held_out"), ANY) as content:
            detector = cls(RunSpec(stack=content.spec), **content.header)
            content.tensors.pop("scale", None)  # of files written before scores were standardised
            mean, precision, held = (content.tensors.pop(name).numpy() for name in ("mean", "precision", "held"))
            stack = content.empty()
            content.fill(stack, "stack.")
            detector.stack = stack.eval()
            count = summary(torch.zeros(1, *stack.latent_shape, device="meta")).shape[1]
            arrays = mean, precision, held
            need(mean.shape == (count,) and precision.shape == (count, count), "its arrays do not fit its stack")
            need(held.shape == (2, held.size // 2), "its arrays do not fit its stack")
            need(all(array.dtype == np.float64 for array in arrays), "its arrays are not of float64")
            need(all(np.isfinite(array).all() for array in arrays), "its arrays are not finite")
            need(bool((held[0] >= 0).all()), "its errors are below 0")
            need(bool((precision.diagonal() >= 0).all()), "its precision is below 0")
            need(
                held.shape[1] >= fewest(detector.false_alarms),
                f"{held.shape[1]} calibration images are too few for its false-alarm rate",
            )
            detector.mean, detector.precision = mean, precision
            detector._calibrate(held)
        need(
            not is_former or detector.kind != "both",
            f"{path} has the score 'both' of an earlier version, which is computed in another way today: fit the detector again",
        )
        return detector


def summary(code: Tensor) -> Tensor:
    """Return the values [B, n] of a code whose density is estimated."""
    flat = code.flatten(1)
    return flat if flat.shape[1] <= MOST_VALUES or code.dim() == 2 else code.mean(tuple(range(2, code.dim())))
