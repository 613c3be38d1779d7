"""What a code keeps of its input, measured by a fresh decoder for each depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked.data import Splits
from stacked.evaluation import evaluate
from stacked.evaluation.evaluate import PROBED, Reconstruction
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.training.codes import StoredInputs
from stacked.util.checks import need, whole


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
def information_kept(
    stack: StackedAutoencoder, splits: Splits, *, examples: int = 2000, penalty: float = 1.0
) -> list[Reconstruction]:
    """Return the errors of validation inputs, restored from the code at each depth, from 0 (the inputs) on, by a fresh decoder.

    Each decoder is a `LinearDecoder` fitted to the frozen code of at most so many training `examples`, evenly spread; codes of
    more values than probes read are averaged over neighbouring positions. Its error is what a linear map cannot find in the code:
    the stack's own decoders, which are not linear, can find more. Raises Diverged if codes are not finite.
    """
    whole(examples, "examples", 2)
    need(penalty >= 0, f"penalty {penalty!r} is not allowed: give 0 or more")
    device = evaluate.device_of(stack)
    train = StoredInputs(splits.train.inputs, rows=evaluate.spread(len(splits.train), examples))
    wanted = train(torch.arange(len(train))).flatten(1)
    valid, found = StoredInputs.of(splits.valid.inputs, device), []
    for depth in range(stack.depth + 1):
        decoder = LinearDecoder(evaluate.Codes(stack, train, depth, PROBED).all(), wanted, penalty)

        def restored(x: Tensor, depth: int = depth, decoder: LinearDecoder = decoder) -> Tensor:
            code = evaluate.averaged(stack.encode(x, depth), PROBED).flatten(1).cpu()
            return decoder.restored(code).view(x.shape).to(x)

        with evaluate.evaluating(stack):
            found.append(evaluate.compared(valid, restored, stack.widest(stack.input_shape), stack.scaling))
    return found
