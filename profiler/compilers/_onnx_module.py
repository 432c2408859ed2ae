"""An ONNX file as a torch module that `torch.export` takes: for converters that read exported programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def module_of(model: Path) -> tuple[Any, tuple[Any, ...]]:
    """A module that runs the nodes of a file as torch functions, and inputs for it.

    Args:
        model: an ONNX file with fixed shapes; weights are constants of what `torch.export` makes of the module.

    Returns:
        The module, in eval mode, and one tensor for each input, in order.

    Raises:
        InvalidModel: the file cannot be read.
        UnsupportedOperator: torch lacks an operator.
    """
    import torch

    from profiler.runtimes.torch import program

    with torch.no_grad():
        compiled, feed = program(model)

    class OnnxModule(torch.nn.Module):
        """The nodes of a file."""

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            """One inference."""
            values = compiled.values
            before = dict(values)
            try:
                values.update(zip(feed, inputs, strict=True))
                for step in compiled.steps:
                    step()
                return tuple(values[name] for name in compiled.outputs)
            finally:
                values.clear()
                values.update(before)

    return OnnxModule().eval(), tuple(feed.values())
