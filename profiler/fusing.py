"""A model's kernels: what the target's runtime makes of it."""

from __future__ import annotations

from pathlib import Path

from device_profiles.profile import Target
from profiler import runtimes
from profiler.onnx_graph import read_graph
from profiler.operators import OperatorGraph
from profiler.runtimes.protocol import RuntimeOptions


def runtime_options(target: Target) -> RuntimeOptions:
    """The options that a runtime is given for a target."""
    chosen = target.runtime
    return RuntimeOptions(chosen.threads, chosen.precision, chosen.optimisation, dict(chosen.options))


def fused_graph(model: Path, target: Target, *, captured: OperatorGraph | None = None) -> OperatorGraph:
    """The fused kernels of a model, from the runtime's own optimiser.

    Args:
        model: an ONNX file.
        target: whose runtime is asked; its options matter.
        captured: the model's own graph, if it was read before.

    Raises:
        InvalidModel: the file cannot be read.
        UnsupportedOperator: the runtime lacks an operator.
    """
    fused = runtimes.load(target.runtime.name).fuse(model, runtime_options(target))
    if fused is None:
        graph = captured or read_graph(model)
        return OperatorGraph(graph.nodes, graph.inputs, graph.outputs, runtime=target.runtime.name)
    return read_graph(fused, runtime=target.runtime.name)
