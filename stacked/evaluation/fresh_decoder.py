"""What a code keeps of its input, measured by a fresh linear decoder, whatever trained the stack and its own decoders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked.evaluation import evaluate
from stacked.evaluation.evaluate import PROBED, Reconstruction
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.training.codes import StoredInputs
from stacked.util.checks import need, whole

#: the most examples that a decoder is fitted to, and the penalty of its weights
FITTED, PENALTY = 2000, 1.0


class LinearDecoder:
    """Ridge regression from codes to inputs, which has an exact solution.

    Codes [N, D] are scaled: less their means over the examples that it is fitted to, and divided by the root of the mean variance
    of their values, one number, because a value that hardly varies in few examples would weigh too much if divided by its own.
    Inputs [N, V] keep their scale. The penalty, 0 or more, is that of scikit-learn's `Ridge`, which leaves out the intercept. All
    is computed in float64. It keeps V min(N, D) weights: of codes with more values than examples, the weights of these.
    """

    def __init__(self, codes: Tensor, inputs: Tensor, penalty: float) -> None:
        from sklearn.kernel_ridge import KernelRidge
        from sklearn.linear_model import Ridge

        evaluate.check_finite(codes)
        given = codes.double().numpy()
        self.mean, self.scale = given.mean(0), np.sqrt(given.var(0).mean()) or 1.0  # 1 if no value varies
        wanted = inputs.double().numpy()
        self.intercept = wanted.mean(0)  # of scaled codes, whose means are 0
        is_wide = given.shape[1] > len(given)
        model = KernelRidge(alpha=penalty) if is_wide else Ridge(alpha=penalty, fit_intercept=False)
        self.model = model.fit(self.scaled(given), wanted - self.intercept)

    def scaled(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Return scaled codes [N, D]."""
        return (codes - self.mean) / self.scale

    def restored(self, codes: Tensor) -> Tensor:
        """Return the reconstructions [N, V] of codes [N, D], in float64."""
        found = self.model.predict(self.scaled(codes.double().numpy())).reshape(len(codes), -1)
        return torch.from_numpy(found + self.intercept)


@own_settings()
def fresh_decoder_errors(
    stack: StackedAutoencoder,
    train: Tensor,
    judged: Tensor,
    depths: Iterable[int],
    *,
    examples: int = FITTED,
    penalty: float = PENALTY,
) -> list[Reconstruction]:
    """Return the errors of the `judged` inputs, restored from the code at each of the `depths` (0: the inputs).

    Each decoder is a `LinearDecoder` fitted to the frozen code of at most so many `examples` of `train`, evenly spread; codes of
    more values than probes read are averaged over neighbouring positions. Its error is what a linear map cannot find in the code:
    the stack's own decoders, which are not linear, can find more. train, judged: inputs [N, ...], as splits hold them. Raises
    Diverged if codes are not finite.
    """
    whole(examples, "examples", 2)
    need(penalty >= 0, f"penalty {penalty!r} is not allowed: give 0 or more")
    device = evaluate.device_of(stack)
    fitted = StoredInputs(train, rows=evaluate.spread(len(train), examples))
    wanted = fitted(torch.arange(len(fitted))).flatten(1)
    read, found = StoredInputs.of(judged, device), []
    for depth in depths:
        decoder = LinearDecoder(evaluate.Codes(stack, fitted, depth, PROBED).all(), wanted, penalty)

        def restored(x: Tensor, depth: int = depth, decoder: LinearDecoder = decoder) -> Tensor:
            code = evaluate.averaged(stack.encode(x, depth), PROBED).flatten(1).cpu()
            return decoder.restored(code).view(x.shape).to(x)

        with evaluate.evaluating(stack):
            found.append(evaluate.compared(read, restored, stack.widest(stack.input_shape), stack.scaling))
    return found
