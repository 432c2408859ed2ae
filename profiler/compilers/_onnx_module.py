"""An ONNX file as a torch module that `torch.export` takes: for converters that read exported programs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def module_of(
    model: Path, inputs: Mapping[str, Any] | None = None, mark: Callable[[int], Any] | None = None
) -> tuple[Any, tuple[Any, ...]]:
    """A module that runs the nodes of a file as torch functions, and inputs for it.

    Args:
        model: an ONNX file with fixed shapes; weights are constants of what `torch.export` makes of the module.
        inputs: arrays by name, which may fill dimensions that the file leaves open; the others are drawn.
        mark: makes the context in which the node of that number is traced; none if None.

    Returns:
        The module, in eval mode, and one tensor for each input, in order. Each node is a submodule of the class
        `OnnxNode` under the node's name, with `:` for `.`: converters that name things after modules name them so.
        `node_types` has their operators; `nodes` the names of the file with these; `input_names` and `output_names` are
        those of the file.

    Raises:
        InvalidModel: the file cannot be read.
        UnsupportedOperator: torch lacks an operator.
    """
    import torch

    from profiler.runtimes.torch import program

    with torch.no_grad():
        compiled, feed = program(model, inputs)
    seen: dict[str, tuple[tuple[int, ...], str]] = {}  # a tracer puts attributes of modules back
    around = mark or (lambda number: contextlib.nullcontext())

    class OnnxNode(torch.nn.Module):
        """One node."""

        def __init__(self, number: int, step: Any) -> None:
            super().__init__()
            self.number, self.step = number, step

        def forward(self) -> None:
            """Run it; it reads and writes the values of the whole."""
            with around(self.number):
                self.step()

    class OnnxModule(torch.nn.Module):
        """The nodes of a file."""

        def __init__(self) -> None:
            super().__init__()
            self.nodes: Sequence[tuple[str, str]] = tuple(compiled.nodes)
            self.steps: list[Any] = []
            self.node_types: dict[str, str] = {}
            self.input_names, self.output_names = tuple(feed), tuple(compiled.outputs)
            for number, ((name, op_type), step) in enumerate(zip(compiled.nodes, compiled.steps, strict=True)):
                own = (name or f"{op_type}{number}").replace(".", ":")
                own = own if own not in self._modules and not hasattr(self, own) else f"{own}:{number}"
                self.add_module(own, OnnxNode(number, step))
                self.node_types[own] = op_type
                self.steps.append(self._modules[own])

        def seen(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
            """Shape and type of each value, by name, once it ran or was traced."""
            return seen

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            """One inference."""
            values = compiled.values
            before = dict(values)
            try:
                values.update(zip(feed, inputs, strict=True))
                for step in self.steps:
                    step()
                    for name in values.keys() - seen.keys():
                        if isinstance(value := values[name], torch.Tensor):
                            seen[name] = tuple(value.shape), str(value.dtype).removeprefix("torch.")
                return tuple(values[name] for name in compiled.outputs)
            finally:
                values.clear()
                values.update(before)

    return OnnxModule().eval(), tuple(feed.values())
