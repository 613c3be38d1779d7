"""Exports of models with the same layers: one is traced, and the others are saved with its graph and their own weights.

A run logs an encoder and a classifier for each number of labels, and a study makes many runs of one stack. Tracing a model by
torch.export takes most of the time of logging it.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

#: number of programs that a process keeps: that of an encoder and that of a classifier
KEPT = 2
_programs: OrderedDict[object, ExportedProgram] = OrderedDict()


@contextmanager
def kept_exports(model: nn.Module) -> Iterator[None]:
    """Context in which torch.export.export uses the program of an earlier model with the same layers for `model`, in eval mode.

    It gives programs without stack traces, which hold absolute paths. Other models are exported as without it.
    """
    import torch

    export = torch.export.export

    def exported(module: nn.Module, inputs: tuple[Tensor, ...], **options: Any) -> ExportedProgram:
        return program_of(export, module, inputs, options) if module is model else export(module, inputs, **options)

    torch.export.export = exported  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.export.export = export


def program_of(
    export: Callable[..., ExportedProgram], model: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]
) -> ExportedProgram:
    """Return a program with the weights of `model`: a kept one, if its output for `inputs` is that of the model, or a new one."""
    weights = model.state_dict()
    # a program holds its example inputs, by which it is called when it is loaded
    key = (
        type(model),
        str(model),
        tuple((name, value.shape, value.dtype, value.stride()) for name, value in weights.items()),
        tuple((x.shape, x.dtype, x.numpy().tobytes()) for x in inputs),
        str(options),
    )
    program = _programs.get(key)
    if program is None or not takes(program, model, weights, inputs):
        # a copy, because the weights of the program will be replaced by those of other models
        program = export(copy.deepcopy(model), inputs, **options)
        without_stack_traces(program)
        _programs[key] = program
    _programs.move_to_end(key)
    while len(_programs) > KEPT:
        _programs.popitem(last=False)
    return program


def takes(program: ExportedProgram, model: nn.Module, weights: dict[str, Tensor], inputs: tuple[Tensor, ...]) -> bool:
    """Replace the weights of a program, and return whether its output is then that of the model, to the bit."""
    import torch

    if program.state_dict.keys() != weights.keys():
        return False
    with torch.no_grad():
        for name, value in program.state_dict.items():
            value.copy_(weights[name])
        return torch.equal(program.module()(*inputs), model(*inputs))


def without_stack_traces(program: ExportedProgram) -> None:
    """Remove the stack trace of each operation of a program."""
    import torch

    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
